"""Crystals from what others make them with: ASE Atoms and pymatgen Structures, told by what they can do."""

from __future__ import annotations

import logging
from typing import Any

from ecd_data.crystal import Crystal
from ecd_data.errors import UsageError
from ecd_data.formats.structure import find_structure_fault

log = logging.getLogger("ecd_models")


def as_crystal(given: Any) -> Crystal:
    """The Crystal of an ASE Atoms, a pymatgen Structure or a Crystal itself; neither package is loaded for it.

    Raises UsageError for what has no cell, has partial occupancies, or is something else.
    """
    if isinstance(given, Crystal):
        return given
    kind = type(given).__name__
    try:
        if hasattr(given, "get_scaled_positions"):
            if given.cell.rank < 3:
                raise UsageError(f"{given.get_chemical_formula()} has no cell of three vectors: give the atoms one")
            return Crystal.from_ase(given)
        if hasattr(given, "is_ordered") and hasattr(given, "lattice"):
            return Crystal.from_pymatgen(given)
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"no density can be predicted for this {kind}: {error}") from error
    hint = ": its .crystal is one" if hasattr(given, "crystal") else ""
    raise UsageError(f"a prediction wants a Crystal, an ASE Atoms or a pymatgen Structure, not a {kind}{hint}")


def refuse_coincident(crystal: Crystal, *, warn: bool = False) -> None:
    """Raises UsageError for a crystal without atoms or with atoms on top of each other; logs it with `warn`."""
    if (reason := find_structure_fault(crystal)) is None:
        return
    if not warn or not len(crystal):
        raise UsageError(f"no density can be predicted for {crystal.formula or 'an empty cell'}: {reason}")
    log.warning("the density of %s is not to be trusted: %s", crystal.formula, reason)
