"""The filters of the ECD paper (section 2.2, appendix A) for hypothetical structures, one function each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from ecd_data.crystal import Crystal
from ecd_data.errors import MissingDependencyError
from ecd_data.symmetry import spacegroup

if TYPE_CHECKING:
    from pymatgen.core import Structure

MOST_ELEMENTS = 10
SYMPREC = 0.01  # Å


def too_many_elements(crystal: Crystal, most: int = MOST_ELEMENTS) -> str | None:
    """Why a crystal has too many elements; None where it has at most `most`."""
    count = len(crystal.elements)
    return f"more than {most} elements: {count}" if count > most else None


def charged(crystal: Crystal, oxidation_states: str = "icsd24", alloys: bool = False) -> str | None:
    """Why a composition cannot be neutral by SMACT's oxidation states; None where it can, and for one element alone.

    oxidation_states: the set that `smact` looks in, such as "icsd24", "icsd16", "smact14", "wiki"; alloys: metals
    alone pass, too. Raises MissingDependencyError without smact.
    """
    if len(crystal.elements) == 1 or _neutral(crystal.reduced_formula, oxidation_states, alloys):
        return None
    return f"not neutral: no oxidation states of {crystal.reduced_formula} add up to zero"


@lru_cache(maxsize=65536)
def _neutral(formula: str, oxidation_states: str, alloys: bool) -> bool:
    try:
        from smact.screening import smact_validity
    except ImportError as error:
        raise MissingDependencyError(
            "charge neutrality needs the package smact: pip install 'ecd-data[dft]', or leave the filter out"
        ) from error
    return smact_validity(
        formula,
        use_pauling_test=False,
        include_alloys=alloys,
        oxidation_states_set=oxidation_states,
        mixed_valence=True,
    )


def asymmetric(crystal: Crystal, symprec: float = SYMPREC) -> str | None:
    """Why a crystal is left out for want of symmetry: its space group is P1, or none is found; None otherwise."""
    number = spacegroup(crystal, symprec)
    return None if number is not None and number > 1 else "the space group is P1"


def duplicates(crystals: Mapping[str, Crystal]) -> dict[str, str]:
    """id -> the earlier id whose structure it repeats, by pymatgen's StructureMatcher with its default tolerances.

    Only crystals of one reduced formula are compared; the matcher scales volumes and reduces to primitive cells.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(primitive_cell=True, scale=True)
    kept: dict[str, list[tuple[str, Structure]]] = {}
    repeated: dict[str, str] = {}
    for id, crystal in crystals.items():
        group = kept.setdefault(crystal.reduced_formula, [])
        structure = crystal.to_pymatgen().get_primitive_structure()
        same = next((other for other, known in group if matcher.fit(structure, known)), None)
        if same is None:
            group.append((id, structure))
        else:
            repeated[id] = same
    return repeated
