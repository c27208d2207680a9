"""What crystals that are added to the sample must not show: formulas, pairs of elements and types of the tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.release.formula import elements_of, reduce_formula
from ecd_data.sample.cells import load_structures
from ecd_data.sample.split import split_three_editions
from ecd_data.symmetry import spacegroup

TYPE_SYMPREC = 1e-3  # Å; distance up to which positions count as symmetric
FORMULA_PARTS = {
    "pbe": ("validation_compositions", "test_compositions"),
    "ood": ("test_pairs", "test_rare_elements", "test_types"),
}


@dataclass(frozen=True)
class HeldOut:
    """What no added crystal may have.

    Attributes
    ----------
    formulas : reduced formulas of validation_compositions, test_compositions, test_pairs, test_rare_elements and
        test_types.
    pairs : sorted pairs of elements that stand together in test_pairs or test_rare_elements, and in no crystal of PBE.
    types : structure types of test_types, as `find_type` writes them.
    """

    formulas: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    types: frozenset[str]

    def find_conflict(self, crystal: Crystal) -> str | None:
        """The reason why a crystal must not be added; None if it may."""
        return self.find_composition_conflict(find_formula(crystal)) or (
            "structure type of test_types" if find_type(crystal) in self.types else None
        )

    def find_composition_conflict(self, formula: str) -> str | None:
        """The reason why no crystal of a reduced formula may be added; None if one may."""
        tested = self.pairs & set(combinations(sorted(elements_of(formula)), 2))
        if formula in self.formulas:
            return f"formula of a test or validation part: {formula}"
        return f"pair of elements of a test part: {'-'.join(min(tested))}" if tested else None


def find_held_out() -> HeldOut:
    """The HeldOut of the sample's split."""
    (cells, manifest), structures = split_three_editions(), load_structures()
    pbe, ood = manifest["pbe"], manifest["ood"]
    ids = [id for name, parts in FORMULA_PARTS.items() for part in parts for id in manifest[name][part]]
    inside = {pair for part in ("train", "validation", "test") for id in pbe[part] for pair in cells[id].pairs}
    tested = {pair for part in FORMULA_PARTS["ood"][:2] for id in ood[part] for pair in cells[id].pairs}
    return HeldOut(
        frozenset(cells[id].formula for id in ids),
        frozenset((a, b) for a, b in tested - inside),
        frozenset(find_type(to_crystal(structures[id])) for id in ood["test_types"]),
    )


def to_crystal(record: Mapping[str, Any]) -> Crystal:
    """The Crystal of a record."""
    return Crystal(record["lattice"], record["numbers"], record["frac_coords"])


def find_formula(crystal: Crystal) -> str:
    """The reduced formula as the split writes it, with the elements in the order of the alphabet."""
    return reduce_formula("".join(crystal.symbols))


def find_type(crystal: Crystal) -> str:
    """The structure type as space group, atoms of the primitive cell and how many of them each element has.

    "194:2:2" is hcp. Types that differ only in Wyckoff positions have one name, so a comparison by it is strict.
    """
    import spglib

    cell: Any = (crystal.lattice, crystal.frac_coords, crystal.numbers)  # spglib's types want lists, it takes arrays
    _, _, numbers = spglib.standardize_cell(cell, to_primitive=True, symprec=TYPE_SYMPREC) or cell
    counts = sorted(np.unique(numbers, return_counts=True)[1].tolist())
    return f"{spacegroup(crystal, TYPE_SYMPREC) or 1}:{len(numbers)}:{','.join(map(str, counts))}"
