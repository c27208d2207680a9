"""VASP's CHGCAR, CHG and AECCAR, which hold rho * V as text with the first axis fastest: reading and writing."""

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
from ecd_data.formats.fortran import is_last_number_whole, parse_grid
from ecd_data.formats.vasp.header import read_header
from ecd_data.formats.vasp.number_text import format_block
from ecd_data.formats.vasp.occupancies import check_tail
from ecd_data.io.file_bytes import Text, comment_line, count_grid_points

DIMENSIONS = re.compile(rb"^[ \t]*(\d+)[ \t]+(\d+)[ \t]+(\d+)[ \t]*\r?$", re.MULTILINE)
COORDINATES = re.compile(rb"\s*[DdCcKkSs]")  # the line after the counts of a header, which look like dimensions


def parse(data: Text, name: str, step: int = -1) -> Density:
    """The density in a CHGCAR, in e/Å^3.

    One grid is a density, a second one the magnetization, four are a density and a non-collinear magnetization
    [3, a, b, c]. A header that names no elements (VASP 4) gives the atomic numbers 0.

    Parameters
    ----------
    data : the content of the file.
    name : what errors call the file.
    step : the step of a CHG with several of a relaxation or molecular dynamics, counted as Python counts. meta then has
        "step" and the number of "steps".

    Raises
    ------
    FormatError : the file is cut, damaged or not a CHGCAR.
    UsageError : the file has no such step.
    """
    if b"\0" in data[:4096]:
        raise FormatError(f"{name} is binary, not a CHGCAR: give VASP's text file")
    try:
        first = _read_step(data, 0, name)
        starts = [0] if first.following is None else _find_step_starts(data, first, name)
        number = _check_step(step, len(starts), name)
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
    """One step: its density, where the next header begins (None at the end), and how later headers are found.

    header_lines: lines of a header; dimensions: the pattern of the line above each grid.
    """

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
        found = next(_find_dimension_lines(data, end - 1, again), None)
        if not grids and 2 * (len(data) - end) > 5 * (end - begin):
            vector = np.empty((3, *shape))
        following = None if found is None else _find_header_above(data, found.start() + 1, header_lines, end, name)
        after = len(data) if found is None else following or found.start() + 1
        grids.append(grid)
        tails.append(data[end:after].decode())
    if following is None and data[len(data) - 1 :].strip() and not is_last_number_whole(data):
        raise FormatError(
            f"{name} is cut inside its last line: copy it again, or end it with a line end if it is whole"
        )
    return _Step(_make_density(header.crystal, grids, tails, header.meta, name), following, header_lines, again)


def _make_density(
    crystal: Crystal, grids: list[Floats], tails: list[str], meta: dict[str, object], name: str
) -> Density:
    if len(grids) not in (1, 2, 4):
        raise FormatError(f"{name} has {len(grids)} grids where a CHGCAR has 1, 2 or 4: it is cut or glued")
    for number, tail in enumerate(tails, 1):
        check_tail(tail, len(crystal), name, last=number == len(tails))
    spin = None if len(grids) == 1 else grids[1] if len(grids) == 2 else _stack_magnetization(grids[1:])
    if spin is not None:
        spin.flags.writeable = False  # so that the Density takes it without a copy
    augmentation = tuple(tails) if any(tail.strip() for tail in tails) else None
    return Density(crystal, grids[0], spin, augmentation, meta)


def _find_dimension_lines(data: Text, start: int, dimensions: re.Pattern[bytes]) -> Iterator[re.Match[bytes]]:
    """The lines of grid dimensions from `start` on, without lines of atom counts that happen to be equal."""
    return (found for found in dimensions.finditer(data, start) if not COORDINATES.match(data, found.end()))


def _find_header_above(data: Text, place: int, lines: int, lowest: int, name: str) -> int | None:
    """The position of the header of `lines` lines above `place`; None where there is none after `lowest`."""
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


def _find_step_starts(data: Text, first: _Step, name: str) -> list[int]:
    """Where the header of each step begins."""
    starts, lowest = [0], first.following or 0
    for found in _find_dimension_lines(data, lowest - 1, first.dimensions):
        start = _find_header_above(data, found.start() + 1, first.header_lines, lowest, name)
        starts += [] if start is None else [start]
        lowest = found.end()
    return starts


def _check_step(step: int, count: int, name: str) -> int:
    if not -count <= step < count:
        raise UsageError(f"{name} has no step {step}: it holds {count}, so give 0 to {count - 1}, or -1 for the last")
    return step % count


def _stack_magnetization(grids: list[Floats]) -> Floats:
    """Three grids as one array [3, a, b, c], without a copy where they are views of one."""
    whole = grids[0].base
    return whole if whole is not None and whole.shape == (3, *grids[0].shape) else np.stack(grids)


def render(rho: Density) -> bytes:
    """The content of a CHGCAR: header, grids with 11 digits, and the augmentation occupancies as they were read.

    Raises
    ------
    FormatError : there are no atoms, or the number of blocks of augmentation occupancies is not that of the grids.
    """
    if not len(rho.crystal):
        raise FormatError("a CHGCAR has at least one atom, and this density has none: write a cube")
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
    chunks = [render_header(rho)]
    for grid, tail in zip(grids, tails, strict=True):
        chunks.append(b"%5d%5d%5d\n" % rho.shape)
        chunks.append(format_block(_to_vasp_order(grid) * volume))
        chunks.append(tail.encode() if tail.endswith("\n") or not tail else tail.encode() + b"\n")
    return b"".join(chunks)


def _to_vasp_order(grid: Floats) -> NDArray[np.float64]:
    return grid.transpose(2, 1, 0).ravel()


def render_header(rho: Density) -> bytes:
    """The bytes above the grids of a CHGCAR, a POSCAR and a blank line."""
    crystal = rho.crystal
    symbols, counts = _group_species(rho)
    lines = ["   1.00000000000000     "]
    lines += [" " + _format_coordinates(row, 12) for row in crystal.lattice]
    if symbols:
        lines.append("".join(f"   {s:<2}" for s in symbols))
    lines.append("".join(f"{n:>6}" for n in counts))
    lines.append("Direct")
    lines += [_format_coordinates(row, 10) for row in crystal.frac_coords]
    return comment_line(rho.meta, "unknown system").ljust(40) + ("\n".join(["", *lines]) + "\n \n").encode()


def _group_species(rho: Density) -> tuple[list[str], list[int]]:
    """The symbol and the count of each group of equal elements; no symbols where the header that was read has none."""
    runs = [(symbol, len(list(run))) for symbol, run in groupby(rho.crystal.symbols)]
    symbols, counts = [symbol for symbol, _ in runs], [count for _, count in runs]
    if set(symbols) != {"X"}:
        return symbols, counts
    read = list(rho.meta.get("type_counts", ()))
    return [], read if sum(read) == len(rho.crystal) else counts


def _format_coordinates(row: Floats, width: int) -> str:
    """A line of numbers with VASP's six decimals where these are exact, else with sixteen."""
    exact = np.abs(row - np.round(row, 6)).max() < 1e-12
    return "".join(f"{x:{width}.6f}" if exact else f" {x:{width + 8}.16f}" for x in row)
