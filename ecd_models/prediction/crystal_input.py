"""Crystals from ASE Atoms and pymatgen Structures, which are recognised without importing their packages."""

from __future__ import annotations

import logging
from typing import Any

from ecd_data.crystal import Crystal
from ecd_data.errors import UsageError
from ecd_data.formats.structure import find_structure_fault

log = logging.getLogger("ecd_models")


def as_crystal(structure: Any) -> Crystal:
    """The Crystal of an ASE Atoms, of a pymatgen Structure, or a Crystal itself.

    Raises
    ------
    UsageError : the structure has no cell or partial occupancies, or is something else.
    """
    if isinstance(structure, Crystal):
        return structure
    kind = type(structure).__name__
    try:
        if hasattr(structure, "get_scaled_positions"):
            if structure.cell.rank < 3:
                raise UsageError(f"{structure.get_chemical_formula()} has no cell of three vectors: give the atoms one")
            return Crystal.from_ase(structure)
        if hasattr(structure, "is_ordered") and hasattr(structure, "lattice"):
            return Crystal.from_pymatgen(structure)
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"no density can be predicted for this {kind}: {error}") from error
    hint = ": its .crystal is one" if hasattr(structure, "crystal") else ""
    raise UsageError(f"a prediction wants a Crystal, an ASE Atoms or a pymatgen Structure, not a {kind}{hint}")


def refuse_coincident(crystal: Crystal, *, warn: bool = False) -> None:
    """Raises UsageError if a crystal has no atoms, or atoms on top of each other, which with `warn` is a warning."""
    if (reason := find_structure_fault(crystal)) is None:
        return
    if not warn or not len(crystal):
        raise UsageError(f"no density can be predicted for {crystal.formula or 'an empty cell'}: {reason}")
    log.warning("the density of %s is not to be trusted: %s", crystal.formula, reason)
