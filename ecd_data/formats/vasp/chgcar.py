"""VASP's CHGCAR, CHG and AECCAR: text of rho * V, the first axis fastest, and back to the last printed digit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import FormatError, UsageError
from ecd_data.formats.fortran import last_is_whole, parse_grid
from ecd_data.formats.vasp.header import read_header
from ecd_data.formats.vasp.number_text import format_block
from ecd_data.formats.vasp.occupancies import check_tail
from ecd_data.io.file_bytes import Text, comment_line, count_grid_points

DIMENSIONS = re.compile(rb"^[ \t]*(\d+)[ \t]+(\d+)[ \t]+(\d+)[ \t]*\r?$", re.MULTILINE)
COORDINATES = re.compile(rb"\s*[DdCcKkSs]")  # what stands behind the counts of a header, which can look like dimensions


def parse(data: Text, name: str, step: int = -1) -> Density:
    """The Density of a CHGCAR's bytes; `name` is what errors call the file.

    One block is a density, two add the magnetization, four the non-collinear one [3, a, b, c]. Of several steps of a
    relaxation or molecular dynamics in a CHG, `step` is read, as Python counts them; meta then has "steps", how many
    there are, and "step". A header that names no elements (VASP 4) gives numbers 0. Raises FormatError, and UsageError
    where there is no such step.
    """
    if b"\0" in data[:4096]:
        raise FormatError(f"{name} is binary, not a CHGCAR: give VASP's text file")
    try:
        first = _read_step(data, 0, name)
        starts = [0] if first.following is None else _step_starts(data, first, name)
        number = _step_number(step, len(starts), name)
        rho = first.rho
        if number > 0:
            rho = _read_step(data, starts[number], f"{name}, step {number} of 0 to {len(starts) - 1}").rho
            if (rho.magnetization is None) != (first.rho.magnetization is None):
                raise FormatError(f"{name}: step {number} has other grids than the first step: it is cut, or glued")
    except OSError as error:
        raise FormatError(f"{name} cannot be read to its end ({error}): check the disk, copy it again") from error
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(
            f"{name} is not a CHGCAR or is cut in its header ({error}): check or copy it again"
        ) from error
    return rho if len(starts) == 1 else replace(rho, meta={**rho.meta, "steps": len(starts), "step": number})


class _Step(NamedTuple):
    """A header and the grids under it; where the next header begins, None at the end; what marks the grids of all."""

    rho: Density
    following: int | None
    header_lines: int
    dimensions: re.Pattern[bytes]


def _read_step(data: Text, start: int, name: str) -> _Step:
    header = read_header(data, start, name)
    place = DIMENSIONS.search(data, header.end)
    if place is None or data[header.end : place.start()].strip():
        raise FormatError(f"{name} has no line of three grid dimensions after its atoms: it is cut or not a CHGCAR")
    shape: tuple[int, int, int] = tuple(int(n) for n in place.groups())  # type: ignore[assignment]
    count_grid_points(shape, len(data), name)
    again = re.compile(rb"\n[ \t]*%d[ \t]+%d[ \t]+%d[ \t]*\r?$" % shape, re.MULTILINE)
    header_lines = data[start : place.start()].count(b"\n")
    grids: list[Floats] = []
    tails: list[str] = []
    vector: list[Floats] | NDArray = []
    found: re.Match[bytes] | None = place
    following = None
    while found is not None and following is None:
        begin = data.find(b"\n", found.end() - 1) + 1 or len(data)
        out = vector[len(grids) - 1] if 0 < len(grids) <= len(vector) else None
        grid, end = parse_grid(data, begin, shape, header.crystal.volume, f"{name}, grid {len(grids) + 1}", out)
        found = next(_dimension_lines(data, end - 1, again), None)
        if not grids and 2 * (len(data) - end) > 5 * (end - begin):
            vector = np.empty((3, *shape))
        following = None if found is None else _header_above(data, found.start() + 1, header_lines, end, name)
        after = len(data) if found is None else following or found.start() + 1
        grids.append(grid)
        tails.append(data[end:after].decode())
    if following is None and data[len(data) - 1 :].strip() and not last_is_whole(data):
        raise FormatError(
            f"{name} is cut inside its last line: copy it again, or end it with a line end if it is whole"
        )
    return _Step(_density(header.crystal, grids, tails, header.meta, name), following, header_lines, again)


def _density(crystal: Crystal, grids: list[Floats], tails: list[str], meta: dict[str, object], name: str) -> Density:
    if len(grids) not in (1, 2, 4):
        raise FormatError(f"{name} has {len(grids)} grids where a CHGCAR has 1, 2 or 4: it is cut or glued")
    for number, tail in enumerate(tails, 1):
        check_tail(tail, len(crystal), name, last=number == len(tails))
    spin = None if len(grids) == 1 else grids[1] if len(grids) == 2 else _vector(grids[1:])
    if spin is not None:
        spin.flags.writeable = False  # so that the Density takes it as it is
    augmentation = tuple(tails) if any(tail.strip() for tail in tails) else None
    return Density(crystal, grids[0], spin, augmentation, meta)


def _dimension_lines(data: Text, start: int, dimensions: re.Pattern[bytes]) -> Iterator[re.Match[bytes]]:
    """The lines of grid dimensions from `start` on, without counts of atoms that happen to be the same."""
    return (found for found in dimensions.finditer(data, start) if not COORDINATES.match(data, found.end()))


def _header_above(data: Text, place: int, lines: int, lowest: int, name: str) -> int | None:
    """Where the header of so many lines above `place` begins; None where there is none between `lowest` and it."""
    start = place
    for number in range(lines):
        before = data.rfind(b"\n", lowest - 1, start - 1)
        if before < 0:
            return None
        if number == 0 and data[before:place].strip():  # each header ends in a blank line
            return None
        start = before + 1
    try:
        end = read_header(data, start, name).end
    except ValueError:
        return None
    return start if not data[end:place].strip() else None


def _step_starts(data: Text, first: _Step, name: str) -> list[int]:
    """Where the header of each step begins."""
    starts, lowest = [0], first.following or 0
    for found in _dimension_lines(data, lowest - 1, first.dimensions):
        start = _header_above(data, found.start() + 1, first.header_lines, lowest, name)
        starts += [] if start is None else [start]
        lowest = found.end()
    return starts


def _step_number(step: int, count: int, name: str) -> int:
    if not -count <= step < count:
        raise UsageError(f"{name} has no step {step}: it holds {count}, so give 0 to {count - 1}, or -1 for the last")
    return step % count


def _vector(grids: list[Floats]) -> Floats:
    """Three grids as one array [3, a, b, c]: the one that they are the rows of, or a new one."""
    whole = grids[0].base
    return whole if whole is not None and whole.shape == (3, *grids[0].shape) else np.stack(grids)


def render(rho: Density) -> bytes:
    """The bytes of a CHGCAR: header, grids with 11 digits, augmentation as it was read.

    Raises FormatError where the augmentation is that of another number of grids.
    """
    volume = rho.crystal.volume
    grids: list[Floats] = [rho.values]
    if rho.magnetization is not None:
        grids += [rho.magnetization] if rho.magnetization.ndim == 3 else list(rho.magnetization)
    tails = rho.augmentation or ("",) * len(grids)
    if len(tails) != len(grids):
        raise FormatError(
            f"the density has {len(tails)} blocks of augmentation occupancies for {len(grids)} grids: read it anew, or"
            " leave them out with dataclasses.replace(rho, augmentation=None)"
        )
    chunks = [_render_header(rho)]
    for grid, tail in zip(grids, tails, strict=True):
        chunks.append(b"%5d%5d%5d\n" % rho.shape)
        chunks.append(format_block(_vasp_order(grid) * volume))
        chunks.append(tail.encode() if tail.endswith("\n") or not tail else tail.encode() + b"\n")
    return b"".join(chunks)


def _vasp_order(grid: Floats) -> NDArray[np.float64]:
    return grid.transpose(2, 1, 0).ravel()


def _render_header(rho: Density) -> bytes:
    crystal = rho.crystal
    symbols, counts = _species_runs(rho)
    lines = ["   1.00000000000000     "]
    lines += [" " + _coordinates(row, 12) for row in crystal.lattice]
    if symbols:
        lines.append("".join(f"   {s:<2}" for s in symbols))
    lines.append("".join(f"{n:>6}" for n in counts))
    lines.append("Direct")
    lines += [_coordinates(row, 10) for row in crystal.frac_coords]
    return comment_line(rho.meta, "unknown system").ljust(40) + ("\n".join(["", *lines]) + "\n \n").encode()


def _species_runs(rho: Density) -> tuple[list[str], list[int]]:
    """Symbols and counts as VASP lists them: runs of one element; no symbols where a header without them was read."""
    runs = [(symbol, len(list(run))) for symbol, run in groupby(rho.crystal.symbols)]
    symbols, counts = [symbol for symbol, _ in runs], [count for _, count in runs]
    if set(symbols) != {"X"}:
        return symbols, counts
    read = list(rho.meta.get("type_counts", ()))
    return [], read if sum(read) == len(rho.crystal) else counts


def _coordinates(row: Floats, width: int) -> str:
    """VASP's six decimals where they hold the numbers exactly, sixteen otherwise."""
    exact = np.abs(row - np.round(row, 6)).max() < 1e-12
    return "".join(f"{x:{width}.6f}" if exact else f" {x:{width + 8}.16f}" for x in row)
