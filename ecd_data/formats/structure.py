"""Crystals from structure files: CIF, POSCAR and every other file that pymatgen or ASE reads."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.errors import FormatError, missing_extra
from ecd_data.formats import read
from ecd_data.io.text_streams import read_pieces

CIF_CELL = re.compile(rb"^\s*_cell_length_a\s+['\"]?\d", re.MULTILINE | re.IGNORECASE)
NO_ELEMENTS = "Elements in POSCAR cannot be determined"  # pymatgen's warning before it calls them H, He, ...
MAX_PAIR_DISTANCE = 1.0  # Å: atoms farther apart than any fault are not searched for
MIN_DISTANCE = 0.3  # Å: atoms nearer to each other lie on top of each other; the shortest bond, H-H, has 0.74
# Å between opposite faces of a cell: a thinner one is a fault, and would have too many images to search
MIN_THICKNESS = 0.1


FOREIGN = "Unrecognized extension"  # in pymatgen's error for a file of a format that it does not know
OTHER_FORMATS = {".cif", ".json", ".yaml", ".yml", ".xsf", ".res"}  # of pymatgen, which have no scale


class UnusableError(FormatError):
    """The error for a structure that was read but cannot be used."""


def read_structure(path: str | Path) -> Crystal:
    """The crystal in a CIF, POSCAR, density file, or any other file that pymatgen or ASE reads.

    Raises
    ------
    FormatError : no reader can read the file, or it has partial occupancies, no cell, atoms on top of each other, or is
        a CIF of several structures.
    """
    return read_structure_with_density(path)[0]


def read_structure_with_density(path: str | Path) -> tuple[Crystal, Density | None]:
    """The crystal in a file as `read_structure` gives it, and the density of a CHGCAR, None for other files."""
    file = Path(path)
    if not file.is_file():
        raise FormatError(f"{path} does not exist: check the path")
    if "chgcar" in file.name.lower():
        rho = read(file)
        return _check_usable(rho.crystal, path), rho
    reasons: list[Exception] = []
    for reader in (_read_with_pymatgen, _read_with_ase, _read_density_file):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.filterwarnings("error", message=NO_ELEMENTS)
                crystal = reader(file)
        except UnusableError:
            raise
        except Exception as error:  # each parser raises errors of its own kinds
            reasons.append(error)
        else:
            return _check_usable(crystal, path), None
    without = [
        str(missing_extra(error)) for error in reasons if isinstance(error, ImportError) and missing_extra(error)
    ]
    more = f", or let ASE read it ({without[0]})" if without else ""
    raise FormatError(
        f"{path} is not a structure file that can be read ({_choose_reason(reasons)}): give a CIF or POSCAR{more}"
    )


def _choose_reason(reasons: list[Exception]) -> str:
    """The reason of the first reader that knows the format."""
    for error in reasons:
        if symbol := _find_symbol(error):
            return f"{symbol!r} is no element symbol"
        if FOREIGN not in str(error):
            return _shorten(error)
    return _shorten(reasons[0])


def _find_symbol(error: Exception) -> str | None:
    """The symbol that a parser does not know; ASE's error is the symbol alone."""
    if isinstance(error, KeyError) and error.args and re.fullmatch(r"[A-Za-z]{1,3}", str(error.args[0])):
        return str(error.args[0])
    found = re.match(r"Can't parse Element or Species from '([^']*)'", str(error))
    return found[1] if found else None


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _read_density_file(file: Path) -> Crystal:
    return read(file).crystal


def _read_with_pymatgen(file: Path) -> Crystal:
    from pymatgen.core import DummySpecies, Structure

    if (count := _count_cells(file)) > 1:
        raise UnusableError(f"{file} has {count} structures: write the one that you want into a file of its own")
    try:
        structure = Structure.from_file(file)
    except UserWarning as warning:
        raise UnusableError(
            f"{file} does not name its elements: write the symbols in a line above the numbers of atoms, as VASP 5 does"
        ) from warning
    if file.suffix.lower() not in OTHER_FORMATS and _has_volume_for_scale(file):
        raise ValueError("pymatgen multiplies Cartesian coordinates of a POSCAR by its volume")  # ASE reads it right
    if dummies := [kind.symbol for kind in structure.elements if isinstance(kind, DummySpecies)]:
        raise UnusableError(f"{file} has atoms of {', '.join(dummies)}, which is no element symbol: correct the symbol")
    try:
        return Crystal.from_pymatgen(structure)
    except ValueError as error:
        raise UnusableError(f"{file}: {error}") from error


def _count_cells(file: Path) -> int:
    """The number of cells in a CIF, which may have several structures; 0 for other files."""
    if not re.search(r"\.cif\b", file.name, re.IGNORECASE):
        return 0
    return sum(len(CIF_CELL.findall(piece)) for piece in read_pieces(file))


def _has_volume_for_scale(file: Path) -> bool:
    """Whether the second line of a file is a negative number, by which a POSCAR gives the volume of its cell."""
    with open(file, errors="replace") as lines:
        next(lines, "")
        try:
            return float(next(lines, "").split()[0]) < 0
        except (ValueError, IndexError):
            return False


def _read_with_ase(file: Path) -> Crystal:
    from ase.io import read as read_atoms

    atoms = read_atoms(file)
    assert not isinstance(atoms, list)
    if atoms.cell.rank < 3:
        raise UnusableError(f"{file} has no periodic cell: give a crystal")
    return Crystal.from_ase(atoms)


def _check_usable(crystal: Crystal, path: str | Path) -> Crystal:
    if unknown := int((crystal.numbers == 0).sum()):
        raise FormatError(
            f"{path} names no element for {unknown} of its {len(crystal)} atoms: write the symbols in a line above the"
            " numbers of atoms, as VASP 5 does"
        )
    if reason := find_structure_fault(crystal):
        raise FormatError(f"{path}: {reason}")
    return crystal


def find_structure_fault(crystal: Crystal) -> str | None:
    """A sentence where a crystal has no atoms, atoms nearer than 0.3 Å, or too thin a cell for a density; else None."""
    if not len(crystal):
        return "it has no atoms: give a structure with atoms"
    thickness = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    if thickness.min() < MIN_THICKNESS:
        return f"the cell is {thickness.min():.2g} Å thick: give the reduced cell, with its lattice in Å"
    pair = closest_pair(crystal)
    if pair is None or pair[2] >= MIN_DISTANCE:
        return None
    i, j, distance = pair
    if i == j:
        return f"the atom {crystal.symbols[i]}{i + 1} lies on its own image ({distance:.2f} Å): repair the lattice"
    return (
        f"the atoms {crystal.symbols[i]}{i + 1} and {crystal.symbols[j]}{j + 1} lie on top of each other"
        f" ({distance:.2f} Å): repair the structure"
    )


def closest_pair(crystal: Crystal) -> tuple[int, int, float] | None:
    """The indices of the two nearest atoms and their distance in Å; None where all are more than 1 Å apart."""
    from scipy.spatial import cKDTree

    home = crystal.wrap_atoms().frac_coords
    thickness = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    margin = MAX_PAIR_DISTANCE / thickness  # images that can come within reach lie in this shell around the cell
    shifts = np.stack(np.meshgrid(*(np.arange(-np.ceil(m), np.ceil(m) + 1) for m in margin)), axis=-1).reshape(-1, 3)
    images = (home[None] + shifts[:, None]).reshape(-1, 3)
    owner = np.tile(np.arange(len(home)), len(shifts))
    near = ((images > -margin) & (images < 1 + margin)).all(axis=1)
    images, owner = images[near], owner[near]
    tree = cKDTree(images @ crystal.lattice)
    distances, found = tree.query(home @ crystal.lattice, k=2, distance_upper_bound=MAX_PAIR_DISTANCE)
    atom = int(np.argmin(distances[:, 1]))
    if not np.isfinite(distances[atom, 1]):
        return None
    partners = [int(owner[k]) for k in found[atom] if k < len(owner) and owner[k] != atom]
    return atom, partners[0] if partners else atom, float(distances[atom, 1])
