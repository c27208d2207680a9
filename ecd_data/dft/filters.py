"""The filters of the ECD paper (section 2.2, appendix A) for hypothetical structures, one function each.

A filter returns the reason why a crystal is left out, or None.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from ecd_data.crystal import Crystal
from ecd_data.errors import MissingDependencyError
from ecd_data.symmetry import spacegroup

if TYPE_CHECKING:
    from pymatgen.core import Structure

MOST_ELEMENTS = 10  # the paper's limit
SYMPREC = 0.01  # Å; distance up to which positions count as symmetric


def find_element_excess(crystal: Crystal, most: int = MOST_ELEMENTS) -> str | None:
    """The reason to leave out a crystal of more than `most` elements; None for others."""
    count = len(crystal.elements)
    return f"more than {most} elements: {count}" if count > most else None


def find_charge(crystal: Crystal, oxidation_states: str = "icsd24", alloys: bool = False) -> str | None:
    """The reason to leave out a composition whose charges cannot add up to zero; None if they can, and for elements.

    Parameters
    ----------
    crystal : the crystal to test.
    oxidation_states : the table of `smact` to look in, such as "icsd24", "icsd16", "smact14" or "wiki".
    alloys : let compositions of metals alone pass.

    Raises
    ------
    MissingDependencyError : smact is not installed.
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


def find_asymmetry(crystal: Crystal, symprec: float = SYMPREC) -> str | None:
    """The reason to leave out a crystal whose space group is P1 or is not found; None for others."""
    number = spacegroup(crystal, symprec)
    return None if number is not None and number > 1 else "the space group is P1"


def find_duplicates(crystals: Mapping[str, Crystal]) -> dict[str, str]:
    """The ids of repeated structures, each with the earlier id of the same structure.

    Crystals of one reduced formula are compared by pymatgen's StructureMatcher with its default tolerances; it scales
    volumes and reduces cells to primitive ones.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(primitive_cell=True, scale=True)
    distinct: dict[str, list[tuple[str, Structure]]] = {}
    repeated: dict[str, str] = {}
    for id, crystal in crystals.items():
        group = distinct.setdefault(crystal.reduced_formula, [])
        structure = crystal.to_pymatgen().get_primitive_structure()
        same = next((other for other, earlier in group if matcher.fit(structure, earlier)), None)
        if same is None:
            group.append((id, structure))
        else:
            repeated[id] = same
    return repeated
