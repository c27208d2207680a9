"""XSF files of XCrySDen: a crystal and grids (DATAGRID_3D) on its cell, whose first axis runs fastest."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ecd_data.crystal import SYMBOLS, Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import FormatError
from ecd_data.formats.fortran import to_c_order
from ecd_data.formats.labels import element_of_label
from ecd_data.formats.numbers import to_floats
from ecd_data.formats.spin_channels import SPIN_GUESSED, combine_spin_grids
from ecd_data.formats.units import TO_PER_ANGSTROM3, UNIT_GUESSED, guess_unit
from ecd_data.formats.xsf_ends import ENDS_GUESSED, decide_ends, drop_ends
from ecd_data.io.file_bytes import Lines, Text, count_grid_points, parse_floats

KEYWORD = re.compile(rb"^\s*(?:#[^\n]*\n\s*)*(?:CRYSTAL|PRIMVEC|BEGIN_BLOCK_DATAGRID_3D|SLAB|MOLECULE|ATOMS)\b")
GRID_START = re.compile(rb"^[ \t]*(?:BEGIN_)?DATAGRID_3D_?([^\n]*)\n", re.MULTILINE)
GRID_END = re.compile(rb"^[ \t]*END_DATAGRID_3D", re.MULTILINE)


@dataclass(frozen=True)
class Grid:
    """One DATAGRID_3D: its label, its values [a, b, c] as printed, its origin [3] and its three edges [3, 3] in Å."""

    label: str
    values: Floats
    origin: Floats
    span: Floats


def looks_like(head: bytes) -> bool:
    """Whether the first bytes of a file are of an XSF."""
    return KEYWORD.match(head) is not None


def parse(data: Text, name: str, unit: str | None = None) -> Density:
    """The density in a periodic XSF, in e/Å^3, from its DATAGRID_3D or from two that are labelled as spin channels.

    A grid that spans (n-1)/n of the cell, or (n+1)/n as ASE writes, is taken whole. Where a grid spans the cell, its
    last planes are dropped if they repeat the first, see `decide_ends`. Atoms are shifted against a shifted origin.
    meta has "unit", and under "guesses" a sentence for each decision that is not certain.

    Parameters
    ----------
    data : the content of the file.
    name : what errors call the file.
    unit : the unit of the values, which XSF does not state. Without it the unit with the more plausible electron count.

    Raises
    ------
    FormatError : the file is damaged, or holds no density of a periodic crystal.
    """
    grids = _read_grids(data, name)
    first = grids[0]
    if any(not np.allclose([g.origin, *g.span], [first.origin, *first.span], atol=1e-4) for g in grids):
        raise FormatError(f"{name} has grids on different parts of the cell: write the density alone")
    values, spin, doubt = combine_spin_grids([(g.label, g.values) for g in grids], name)
    guesses = {SPIN_GUESSED: doubt}
    crystal = _read_crystal(data, name)
    shift = np.linalg.solve(crystal.lattice.T, first.origin)
    crystal = Crystal(crystal.lattice, crystal.numbers, crystal.frac_coords - shift)
    if _spans_cell(first, crystal, name):
        repeat, guesses[ENDS_GUESSED] = decide_ends(values, crystal, [unit] if unit else TO_PER_ANGSTROM3, name)
        if repeat:
            values, spin = drop_ends(values), None if spin is None else drop_ends(spin)
    if unit is None:
        unit, guesses[UNIT_GUESSED] = guess_unit(float(values.mean()) * crystal.volume, crystal.numbers)
    factor = TO_PER_ANGSTROM3[unit]
    doubts = {flag: sentence for flag, sentence in guesses.items() if sentence}
    meta = {"unit": unit, "guesses": doubts} if doubts else {"unit": unit}
    return Density(crystal, values * factor, None if spin is None else spin * factor, meta=meta)


def _spans_cell(grid: Grid, crystal: Crystal, name: str) -> bool:
    """Whether the edges of a grid are the whole cell, not that from its first point to its last; else FormatError."""
    n = np.array(grid.values.shape)[:, None]
    if any(np.allclose(grid.span, crystal.lattice * factor, atol=1e-4) for factor in ((n - 1) / n, (n + 1) / n)):
        return False
    if not np.allclose(grid.span, crystal.lattice, atol=1e-4):
        raise FormatError(f"{name} has a grid that does not span the cell: write it on the whole unit cell")
    return True


def _read_grids(data: Text, name: str) -> list[Grid]:
    """All grids of the file, at least one."""
    grids: list[Grid] = []
    start = GRID_START.search(data)
    while start is not None:
        end = GRID_END.search(data, start.end())
        if end is None:
            raise FormatError(f"{name} is cut: its grid has no END_DATAGRID_3D; copy or download it again")
        grids.append(_read_grid(data, start, end.start(), name))
        start = GRID_START.search(data, end.end())
    if not grids:
        raise FormatError(f"{name} has no DATAGRID_3D: it is a structure without a density, or cut")
    return grids


def _read_grid(data: Text, start: re.Match[bytes], end: int, name: str) -> Grid:
    lines = Lines(data, start.end())
    words = [int(w) for w in lines.next().split()]
    if len(words) != 3:
        raise FormatError(f"{name} has no three grid dimensions after DATAGRID_3D: it is damaged")
    shape = (words[0], words[1], words[2])
    points = count_grid_points(shape, len(data), name)
    origin = np.array(lines.floats(3))
    span = np.array([lines.floats(3) for _ in range(3)])
    numbers = to_floats(data[lines.position : end])
    if numbers is not None and len(numbers) == points and not np.isfinite(numbers).all():
        raise FormatError(f"{name} has values that are not finite in its grid: the run failed, or it is damaged")
    if numbers is None or len(numbers) != points:
        found = "something that is no number" if numbers is None else f"{len(numbers)} numbers"
        raise FormatError(f"{name} has {found} where {points} are due: it is damaged, copy or download it again")
    return Grid(start[1].decode(errors="replace").strip(), to_c_order(numbers, shape, 1.0), origin, span)


def _read_crystal(data: Text, name: str) -> Crystal:
    """The crystal in front of the grids."""
    start = GRID_START.search(data)
    text = data[: start.start() if start else len(data)].decode(errors="replace")
    lines = [line for line in (line.split("#")[0].strip() for line in text.splitlines()) if line]
    keys = ("PRIMVEC", "PRIMCOORD")
    positions_of = {key: [n for n, line in enumerate(lines) if line.split()[0] == key] for key in keys}
    if not all(positions_of.values()):
        raise FormatError(f"{name} has no PRIMVEC and PRIMCOORD: only periodic crystals are read, write it as CRYSTAL")
    if max(map(len, positions_of.values())) > 1:
        raise FormatError(f"{name} has several structures: write the one whose density this is")
    start_vectors, start_atoms = positions_of["PRIMVEC"][0] + 1, positions_of["PRIMCOORD"][0] + 1
    lattice = np.array([parse_floats(line, 3) for line in lines[start_vectors : start_vectors + 3]])
    count = int(lines[start_atoms].split()[0])
    atoms = [line.split() for line in lines[start_atoms + 1 : start_atoms + 1 + max(count, 0)]]
    if not 0 < count == len(atoms):
        raise FormatError(f"{name} states {count} atoms and lists {len(atoms)}: it is cut or damaged")
    if _is_atom_line(lines[start_atoms + 1 + count : start_atoms + 2 + count]):
        raise FormatError(f"{name} states {count} atoms and lists more: repair the number below its PRIMCOORD")
    numbers = [_atomic_number(atom[0], name) for atom in atoms]
    positions = np.array([parse_floats(" ".join(atom[1:]), 3) for atom in atoms])
    return Crystal(lattice, np.array(numbers), np.linalg.solve(lattice.T, positions.T).T)


def _is_atom_line(lines: list[str]) -> bool:
    """Whether the first of these lines, if there is one, is a label or atomic number and three coordinates."""
    words = lines[0].split() if lines else []
    try:
        return len(words) >= 4 and len([float(word) for word in words[1:4]]) == 3
    except ValueError:
        return False


def _atomic_number(word: str, name: str) -> int:
    """The atomic number in a word that is a number or a label such as Fe1."""
    try:
        number = int(word) if word.isdigit() else element_of_label(word)
    except ValueError as error:
        raise FormatError(f"{name}: {error}; repair its PRIMCOORD") from error
    if number >= len(SYMBOLS):
        raise FormatError(f"{name} has an atom of the atomic number {number}, which does not exist: it is damaged")
    return number
