"""Crystal structures from the files that hold no density: CIF, POSCAR and what pymatgen or ASE reads."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.errors import FormatError
from ecd_data.formats import read
from ecd_data.optional_packages import missing_extra

REACH = 1.0  # Å
MIN_DISTANCE = 0.3  # Å; the shortest bond there is, H-H, has 0.74
THINNEST = 0.1  # Å between opposite faces of a cell, below which its images are not worth counting


class UnusableError(FormatError):
    """A structure that was read and cannot be used."""


def read_structure(path: str | Path) -> Crystal:
    """The Crystal of a CIF, POSCAR, density or any other file that pymatgen or ASE reads.

    Raises FormatError where neither can, and for partial occupancies, missing cells and atoms on top of each other.
    """
    file = Path(path)
    if not file.is_file():
        raise FormatError(f"{path} does not exist: check the path")
    if "chgcar" in file.name.lower():
        return _checked(_of_density(file), path)
    reasons: list[Exception] = []
    for reader in (_by_pymatgen, _by_ase, _of_density):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                crystal = reader(file)
        except UnusableError:
            raise
        except Exception as error:  # each parser raises whatever it met
            reasons.append(error)
        else:
            return _checked(crystal, path)
    without = [
        str(missing_extra(error)) for error in reasons if isinstance(error, ImportError) and missing_extra(error)
    ]
    more = f", or let ASE read it ({without[0]})" if without else ""
    raise FormatError(
        f"{path} is not a structure file that can be read ({_short(reasons[0])}): give a CIF or POSCAR{more}"
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _of_density(file: Path) -> Crystal:
    return read(file).crystal


def _by_pymatgen(file: Path) -> Crystal:
    from pymatgen.core import Structure

    structure = Structure.from_file(file)
    try:
        return Crystal.from_pymatgen(structure)
    except ValueError as error:
        raise UnusableError(f"{file}: {error}") from error


def _by_ase(file: Path) -> Crystal:
    from ase.io import read as read_atoms

    atoms = read_atoms(file)
    assert not isinstance(atoms, list)
    if atoms.cell.rank < 3:
        raise UnusableError(f"{file} has no periodic cell: give a crystal")
    return Crystal.from_ase(atoms)


def _checked(crystal: Crystal, path: str | Path) -> Crystal:
    if reason := unusable(crystal):
        raise FormatError(f"{path}: {reason}")
    return crystal


def unusable(crystal: Crystal) -> str | None:
    """Why no density can be that of a crystal, in words: it has no atoms, or two nearer than 0.3 Å; else None."""
    if not len(crystal):
        return "it has no atoms: give a structure with atoms"
    thickness = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    if thickness.min() < THINNEST:
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
    """The two atoms nearest to each other and their distance in Å, up to 1 Å; None where all are farther apart."""
    from scipy.spatial import cKDTree

    home = crystal.wrap_atoms().frac_coords
    thickness = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    margin = REACH / thickness  # images that can come within reach lie in this shell around the cell
    shifts = np.stack(np.meshgrid(*(np.arange(-np.ceil(m), np.ceil(m) + 1) for m in margin)), axis=-1).reshape(-1, 3)
    images = (home[None] + shifts[:, None]).reshape(-1, 3)
    owner = np.tile(np.arange(len(home)), len(shifts))
    near = ((images > -margin) & (images < 1 + margin)).all(axis=1)
    images, owner = images[near], owner[near]
    tree = cKDTree(images @ crystal.lattice)
    distances, found = tree.query(home @ crystal.lattice, k=2, distance_upper_bound=REACH)
    atom = int(np.argmin(distances[:, 1]))
    if not np.isfinite(distances[atom, 1]):
        return None
    partners = [int(owner[k]) for k in found[atom] if k < len(owner) and owner[k] != atom]
    return atom, partners[0] if partners else atom, float(distances[atom, 1])
