"""Gaussian cube files: a grid whose voxel axes, times their counts, are the cell; the last axis runs fastest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ecd_data.crystal import SYMBOLS, Crystal
from ecd_data.density import Density
from ecd_data.errors import FormatError
from ecd_data.formats.fortran import parse_block
from ecd_data.formats.units import BOHR, PER_ANGSTROM3, PER_BOHR3, UNIT_GUESSED, doubt_unit, guess_unit
from ecd_data.io.density_names import DERIVED_COMMENTS
from ecd_data.io.file_bytes import MAX_POINTS, Lines, Text, comment_line, count_grid_points, parse_floats

NUMBER = rb"[ \t]+[-+.\dEe]+"
HEADER = re.compile(rb"[^\n]*\n[^\n]*\n(?:[ \t]*-?\d+(?:%s){3,4}[ \t]*\r?\n){4}" % NUMBER)
PER_LINE = 6  # numbers in a line, as Gaussian writes them


def looks_like(head: bytes) -> bool:
    """Whether the first bytes of a file are of a cube: two comments, then four lines of a count and three numbers."""
    return HEADER.match(head) is not None


def parse(data: Text, name: str, unit: str | None = None) -> Density:
    """The density in a cube file, in e/Å^3.

    Lengths are in bohr, or in Å where the voxel counts are negative. Atoms are shifted against a shifted origin. meta
    has "comment", "unit", and under "guesses" a sentence where the unit is not certain.

    Parameters
    ----------
    data : the content of the file.
    name : what errors call the file.
    unit : the unit of the values. Without it they are in e/bohr^3, or in a file in Å, where programs differ, in the
        unit with the more plausible electron count.

    Raises
    ------
    FormatError : the file is damaged or holds another thing than one density.
    """
    lines = Lines(data)
    comment = lines.comment()
    lines.comment()
    crystal, counts = _read_header(lines, len(data), name)
    shape = (abs(int(counts[0])), abs(int(counts[1])), abs(int(counts[2])))
    points = int(np.prod(shape))
    numbers, end = parse_block(data, lines.position, points, name)
    if not data[len(data) - 1 :].isspace() and _is_last_number_short(data[-200:]):
        raise FormatError(f"{name} is cut inside its last number: copy it again")
    if data[end:].strip():
        raise FormatError(f"{name} has more numbers than its grid of {points}: it is damaged or glued")
    meta = {**comment, **_find_unit(unit, counts[0] > 0, float(numbers.mean()) * crystal.volume, crystal)}
    values = numbers if meta["unit"] == PER_ANGSTROM3 else numbers / BOHR**3
    return Density(crystal, values.reshape(shape), meta=meta)


def _read_header(lines: Lines, size: int, name: str) -> tuple[Crystal, np.ndarray]:
    """The crystal and the voxel counts [3], which are negative in a file in Å; size: bytes of the file."""
    first = lines.next()
    natoms, *origin = parse_floats(first, 4)
    if natoms < 0 or parse_floats(first + " 1", 5)[4] != 1:
        raise FormatError(f"{name} holds orbitals or several fields: write the density alone into a cube")
    axes = np.array([lines.floats(4) for _ in range(3)])
    if np.abs(axes[:, 0]).max() > MAX_POINTS:
        raise FormatError(f"{name} states an impossible grid: it is damaged")
    counts = axes[:, 0].astype(np.int64)
    if len(set(np.sign(counts))) != 1:
        raise FormatError(f"{name} has voxel counts of both signs: make them all positive (bohr) or negative (Å)")
    count_grid_points(tuple(map(abs, counts.tolist())), size, name)  # raises where the file cannot hold them
    if not 0 <= natoms <= size or natoms % 1:
        raise FormatError(f"{name} states {natoms:g} atoms: repair its third line")
    atoms = np.array([lines.floats(5) for _ in range(int(natoms))]).reshape(-1, 5)
    if len(atoms) and np.abs(atoms[:, 0]).max() > len(SYMBOLS):
        raise FormatError(f"{name} has an atomic number that does not exist: it is damaged")
    length = BOHR if counts[0] > 0 else 1.0
    lattice = axes[:, 1:] * np.abs(counts)[:, None] * length
    coords = (atoms[:, 2:] - origin) * length @ np.asarray(np.linalg.inv(lattice), np.float64)
    return Crystal(lattice, atoms[:, 0], coords), counts


def _find_unit(stated: str | None, in_bohr: bool, electrons: float, crystal: Crystal) -> dict[str, Any]:
    """The unit for meta, with "guesses" where it is not certain; electrons: the integral of the values as e/Å^3."""
    if stated is not None:
        return {"unit": stated}
    if in_bohr:
        unit, doubt = PER_BOHR3, doubt_unit(PER_BOHR3, electrons, crystal.numbers)
    else:
        unit, doubt = guess_unit(electrons, crystal.numbers)
    return {"unit": unit, "guesses": {UNIT_GUESSED: doubt}} if doubt else {"unit": unit}


def _is_last_number_short(end: bytes) -> bool:
    """Whether the last number has fewer characters than the one before it, so that it was probably cut."""
    words = end.split()
    return len(words) > 1 and len(words[-1].lstrip(b"-")) < len(words[-2].lstrip(b"-"))


def render(rho: Density) -> bytes:
    """The bytes of a cube file in bohr with eleven digits; it has no room for magnetization and augmentation."""
    rows = (rho.values * BOHR**3).reshape(-1, rho.shape[2])
    full, rest = divmod(rho.shape[2], PER_LINE)
    layout = (" %17.10E" * PER_LINE + "\n") * full + (" %17.10E" * rest + "\n" if rest else "")
    return render_header(rho.crystal, rho.shape, rho.meta) + "".join([layout % tuple(row) for row in rows]).encode()


def render_header(crystal: Crystal, shape: tuple[int, int, int], meta: Mapping[str, Any]) -> bytes:
    """The bytes above the values of a cube file: two comments, the grid and the atoms."""
    comment = b" ".join(comment_line(meta, crystal.formula).split()) + b"\n"
    derived = comment.decode(errors="replace").startswith(DERIVED_COMMENTS[0])
    header = [
        f"{'difference of electron densities' if derived else 'electron density'} in e/bohr^3, the last axis fastest",
        _row(len(crystal), [0, 0, 0]),
    ]
    header += [_row(n, row / n / BOHR) for n, row in zip(shape, crystal.lattice, strict=True)]
    header += [_row(z, [z, *xyz]) for z, xyz in zip(crystal.numbers, crystal.cart_coords / BOHR, strict=True)]
    return comment + ("\n".join(header) + "\n").encode()


def _row(count: int, values: object) -> str:
    return f"{count:5d}" + "".join(f" {x:18.12f}" for x in np.asarray(values, dtype=np.float64))
