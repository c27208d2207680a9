"""VASP's CHGCAR, CHG and AECCAR: text of rho * V, the first axis fastest, and back to the last printed digit."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import ATOMIC_NUMBERS, Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import FormatError
from ecd_data.formats.fortran import format_block, parse_grid
from ecd_data.formats.numbers import to_floats
from ecd_data.formats.text import Lines, Text, grid_points

DIMENSIONS = re.compile(rb"^[ \t]*(\d+)[ \t]+(\d+)[ \t]+(\d+)[ \t]*\r?$", re.MULTILINE)
AUGMENTATION = re.compile(r"augmentation occupancies[ \t]*(?:\(imaginary part\))?[ \t]*\d+[ \t]+(\d+)[ \t]*\r?\n")


def parse(data: Text, name: str) -> Density:
    """The Density of a CHGCAR's bytes; `name` is what errors call the file.

    One block is a density, two add the magnetization, four the non-collinear one [3, a, b, c]. A header without symbols
    (VASP 4) gives numbers 0. Raises FormatError.
    """
    if b"\0" in data[:4096]:
        raise FormatError(f"{name} is binary, not a CHGCAR: give VASP's text file")
    try:
        crystal, position, comment = _header(data, name)
        grids, tails = _blocks(data, position, crystal.volume, name)
    except OSError as error:
        raise FormatError(f"{name} cannot be read to its end ({error}): check the disk, copy it again") from error
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(
            f"{name} is not a CHGCAR or is cut in its header ({error}): check or copy it again"
        ) from error
    if len(grids) not in (1, 2, 4):
        raise FormatError(f"{name} has {len(grids)} grids where a CHGCAR has 1, 2 or 4: it is cut or glued")
    for tail in tails:
        _check_tail(tail, len(crystal), name)
    if data[len(data) - 1 :].strip():
        raise FormatError(
            f"{name} is cut inside its last line: copy it again, or end it with a line end if it is whole"
        )
    spin = None if len(grids) == 1 else grids[1] if len(grids) == 2 else _vector(grids[1:])
    if spin is not None:
        spin.flags.writeable = False  # so that the Density takes it as it is
    augmentation = tuple(tails) if any(tail.strip() for tail in tails) else None
    return Density(crystal, grids[0], spin, augmentation, {"comment": comment})


def _check_tail(tail: str, natoms: int, name: str) -> None:
    """Raises FormatError where augmentation occupancies, or the moments of the atoms after them, are cut or glued."""
    before, *sections = AUGMENTATION.split(tail)
    due = [0, *map(int, sections[::2])]
    for number, (count, text) in enumerate(zip(due, [before, *sections[1::2]], strict=True)):
        numbers = to_floats(text.encode())
        extra = -1 if numbers is None else len(numbers) - count
        if extra not in ((0, natoms, 3 * natoms) if number == len(due) - 1 else (0,)):
            what = (
                f"augmentation occupancies {number}"
                if number
                else "what follows a grid, which has more numbers than due,"
            )
            raise FormatError(f"{name}: {what} cannot be read or ends too early: it is cut, damaged or glued")


def _header(data: Text, name: str) -> tuple[Crystal, int, str]:
    lines = Lines(data)
    comment = lines.next().strip()
    scale = [float(x) for x in lines.next().split()]
    lattice = np.array([lines.floats(3) for _ in range(3)])
    factor = _scale_factor(scale, lattice)
    counts = lines.next().split()
    symbols: list[str] = []
    if not counts[0].isdigit():
        symbols, counts = counts, lines.next().split()
    amounts = [int(c) for c in counts]
    if symbols and len(symbols) != len(amounts):
        raise FormatError(f"{name} names {len(symbols)} elements but {len(amounts)} counts: repair its lines 6 and 7")
    if min(amounts) < 0 or 6 * sum(amounts) > len(data):
        raise FormatError(f"{name} states {sum(amounts)} atoms, more than it can hold: repair the counts in its header")
    numbers = [z for z, n in zip(_atomic_numbers(symbols, amounts, name), amounts, strict=True) for _ in range(n)]
    mode = lines.next().strip().lower()
    if mode.startswith("s"):
        mode = lines.next().strip().lower()
    coords = np.array([lines.floats(3) for _ in numbers]).reshape(-1, 3)
    if mode[:1] in ("c", "k"):
        coords = np.linalg.solve((lattice * factor).T, (coords * factor).T).T
    elif not mode.startswith("d"):
        raise FormatError(f"{name} has {mode!r} where Direct or Cartesian is due: its header is damaged")
    return Crystal(lattice * factor, np.array(numbers), coords), lines.position, comment


def _scale_factor(scale: list[float], lattice: Floats) -> Any:
    if len(scale) == 3:
        return np.array(scale)
    if scale[0] < 0:  # VASP: minus the cell volume
        return (-scale[0] / abs(np.linalg.det(lattice))) ** (1 / 3)
    if scale[0] == 0:
        raise ValueError("the scale factor is 0")
    return scale[0]


def _atomic_numbers(symbols: list[str], amounts: list[int], name: str) -> list[int]:
    if not symbols:
        return [0] * len(amounts)
    bare = [re.split(r"[_/.]", s)[0] for s in symbols]  # VASP 6 may write Ti_sv/1a2b3c
    unknown = [s for s in bare if s not in ATOMIC_NUMBERS]
    if unknown:
        raise FormatError(f"{name} names the element {unknown[0]!r}, which does not exist: repair its line 6")
    return [ATOMIC_NUMBERS[s] for s in bare]


def _blocks(data: Text, position: int, volume: float, name: str) -> tuple[list[Floats], list[str]]:
    """The grids [a, b, c], divided by the volume, and what follows each; three vectors are one array's."""
    found = DIMENSIONS.search(data, position)
    if found is None or data[position : found.start()].strip():
        raise FormatError(f"{name} has no line of three grid dimensions after its atoms: it is cut or not a CHGCAR")
    shape: tuple[int, int, int] = tuple(int(n) for n in found.groups())  # type: ignore[assignment]
    grid_points(shape, len(data), name)
    again = re.compile(rb"\n[ \t]*%d[ \t]+%d[ \t]+%d[ \t]*\r?$" % shape, re.MULTILINE)
    grids: list[Floats] = []
    tails: list[str] = []
    vector: list[Floats] | NDArray = []
    while found is not None:
        start = data.find(b"\n", found.end() - 1) + 1 or len(data)
        out = vector[len(grids) - 1] if 0 < len(grids) <= len(vector) else None
        grid, end = parse_grid(data, start, shape, volume, f"{name}, grid {len(grids) + 1}", out)
        found = again.search(data, end - 1)
        if not grids and 2 * (len(data) - end) > 5 * (end - start):
            vector = np.empty((3, *shape))
        grids.append(grid)
        tails.append(data[end : found.start() + 1 if found else len(data)].decode())
    return grids, tails


def _vector(grids: list[Floats]) -> Floats:
    """Three grids as one array [3, a, b, c]: the one that they are the rows of, or a new one."""
    whole = grids[0].base
    return whole if whole is not None and whole.shape == (3, *grids[0].shape) else np.stack(grids)


def render(rho: Density) -> bytes:
    """The bytes of a CHGCAR: header, grids with 11 digits, augmentation as it was read."""
    volume = rho.crystal.volume
    grids: list[Floats] = [rho.values]
    if rho.magnetization is not None:
        grids += [rho.magnetization] if rho.magnetization.ndim == 3 else list(rho.magnetization)
    tails = rho.augmentation or ("",) * len(grids)
    chunks = [_render_header(rho).encode()]
    for grid, tail in zip(grids, tails, strict=True):
        chunks.append(b"%5d%5d%5d\n" % rho.shape)
        chunks.append(format_block(_vasp_order(grid) * volume))
        chunks.append(tail.encode())
    return b"".join(chunks)


def _vasp_order(grid: Floats) -> NDArray[np.float64]:
    return grid.transpose(2, 1, 0).ravel()


def _render_header(rho: Density) -> str:
    crystal = rho.crystal
    order, symbols, counts = _species_runs(crystal)
    lines = [f"{rho.meta.get('comment') or 'unknown system':<40}", "   1.00000000000000     "]
    lines += [" " + _coordinates(row, 12) for row in crystal.lattice]
    if symbols:
        lines.append("".join(f"   {s:<2}" for s in symbols))
    lines.append("".join(f"{n:>6}" for n in counts))
    lines.append("Direct")
    lines += [_coordinates(row, 10) for row in crystal.frac_coords[order]]
    return "\n".join(lines) + "\n \n"


def _species_runs(crystal: Crystal) -> tuple[list[int], list[str], list[int]]:
    """Atom order, symbols and counts as VASP lists them: runs of one element, in the given order."""
    runs: list[tuple[str, int]] = []
    for symbol in crystal.symbols:
        if runs and runs[-1][0] == symbol:
            runs[-1] = (symbol, runs[-1][1] + 1)
        else:
            runs.append((symbol, 1))
    symbols = [] if set(crystal.symbols) == {"X"} else [s for s, _ in runs]
    return list(range(len(crystal))), symbols, [n for _, n in runs]


def _coordinates(row: Floats, width: int) -> str:
    """VASP's six decimals where they hold the numbers exactly, sixteen otherwise."""
    exact = np.abs(row - np.round(row, 6)).max() < 1e-12
    return "".join(f"{x:{width}.6f}" if exact else f" {x:{width + 8}.16f}" for x in row)
