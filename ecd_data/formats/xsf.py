"""XCrySDen's XSF: a crystal and a DATAGRID_3D, the first axis fastest, its last point a repetition of the first."""

from __future__ import annotations

import re

import numpy as np

from ecd_data.crystal import ATOMIC_NUMBERS, Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import FormatError
from ecd_data.formats.fixed import c_order
from ecd_data.formats.numbers import to_floats
from ecd_data.formats.text import Lines, Text, floats, grid_points
from ecd_data.formats.units import BOHR, PER_BOHR3, density_unit

KEYWORD = re.compile(rb"^\s*(?:#[^\n]*\n\s*)*(?:CRYSTAL|PRIMVEC|BEGIN_BLOCK_DATAGRID_3D|SLAB|MOLECULE|ATOMS)\b")
GRID = re.compile(rb"^[ \t]*(?:BEGIN_)?DATAGRID_3D[^\n]*\n", re.MULTILINE)
END = re.compile(rb"^[ \t]*END_DATAGRID_3D", re.MULTILINE)
SAME = 1e-4  # of the largest value; the repeated points of a grid agree to the digits printed


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is an XSF."""
    return KEYWORD.match(head) is not None


def parse(data: Text, name: str) -> Density:
    """The Density of the first DATAGRID_3D of a periodic XSF.

    A grid that spans the cell repeats its first planes at the end, which are dropped; one that spans (n-1)/n of it, or
    (n+1)/n as ASE writes, does not. A shifted origin is undone by shifting the atoms. XSF states no unit: the one that
    makes the more plausible electron count is taken and kept in meta["unit"]. Raises FormatError.
    """
    start = GRID.search(data)
    if start is None:
        raise FormatError(f"{name} has no DATAGRID_3D: it is a structure without a density, or cut")
    crystal = _crystal(data[: start.start()].decode(), name)
    lines = Lines(data, start.end())
    shape = (0, 0, 0)
    words = [int(w) for w in lines.next().split()]
    if len(words) != 3:
        raise FormatError(f"{name} has no three grid dimensions after DATAGRID_3D: it is damaged")
    shape = (words[0], words[1], words[2])
    points = grid_points(shape, len(data), name)
    origin = np.array(lines.floats(3))
    span = np.array([lines.floats(3) for _ in range(3)])
    end = END.search(data, lines.position)
    if end is None:
        raise FormatError(f"{name} is cut: its grid has no END_DATAGRID_3D; copy or download it again")
    numbers = to_floats(data[lines.position : end.start()])
    if numbers is None or len(numbers) != points or not np.isfinite(numbers).all():
        found = "something that is no number" if numbers is None else f"{len(numbers)} numbers, all finite or not,"
        raise FormatError(f"{name} has {found} where {points} are due: it is damaged, copy or download it again")
    values = _periodic(c_order(numbers, shape, 1.0), span, crystal, name)
    crystal = Crystal(
        crystal.lattice, crystal.numbers, crystal.frac_coords - np.linalg.solve(crystal.lattice.T, origin)
    )
    unit = density_unit(values, crystal.volume, crystal.numbers)
    return Density(crystal, values / BOHR**3 if unit == PER_BOHR3 else values, meta={"unit": unit})


def _periodic(grid: Floats, span: Floats, crystal: Crystal, name: str) -> Floats:
    """The grid without the points that repeat others."""
    n = np.array(grid.shape)[:, None]
    for factor in ((n - 1) / n, (n + 1) / n):
        if np.allclose(span, crystal.lattice * factor, atol=1e-4):
            return grid
    if not np.allclose(span, crystal.lattice, atol=1e-4):
        raise FormatError(f"{name} has a grid that does not span the cell: write it on the whole unit cell")
    tolerance = SAME * float(np.abs(grid).max())
    for axis, count in enumerate(grid.shape):
        first, last = np.take(grid, 0, axis), np.take(grid, count - 1, axis)
        if count < 2 or np.abs(first - last).max() > tolerance:
            raise FormatError(f"{name} is not periodic: the last points along axis {axis + 1} do not repeat the first")
    return grid[:-1, :-1, :-1]


def _crystal(text: str, name: str) -> Crystal:
    lines = [line.split("#")[0] for line in text.splitlines()]
    places = {line.strip().split()[0]: number for number, line in enumerate(lines) if line.strip()}
    if not {"PRIMVEC", "PRIMCOORD"} <= set(places):
        raise FormatError(f"{name} has no PRIMVEC and PRIMCOORD: only periodic crystals are read, write it as CRYSTAL")
    start = places["PRIMVEC"] + 1
    lattice = np.array([floats(line, 3) for line in lines[start : start + 3]])
    start = places["PRIMCOORD"] + 1
    count = int(lines[start].split()[0])
    atoms = [line.split() for line in lines[start + 1 : start + 1 + max(count, 0)]]
    if not 0 < count == len(atoms):
        raise FormatError(f"{name} states {count} atoms and lists {len(atoms)}: it is cut or damaged")
    numbers = [int(a[0]) if a[0].isdigit() else ATOMIC_NUMBERS.get(a[0].capitalize(), -1) for a in atoms]
    if min(numbers) < 0:
        raise FormatError(f"{name} names an element that does not exist: repair its PRIMCOORD")
    positions = np.array([floats(" ".join(a[1:]), 3) for a in atoms])
    return Crystal(lattice, np.array(numbers), np.linalg.solve(lattice.T, positions.T).T)
