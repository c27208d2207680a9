"""New compounds of a metal and a nonmetal in the simplest structure types, whose runs are the shortest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import numpy as np

from ecd_data.crystal import ATOMIC_NUMBERS, Crystal
from ecd_data.sample.additions import NONMETALS, estimate_at_one_cutoff, may_have_gap
from ecd_data.sample.held_out import HeldOut, find_formula, to_crystal
from ecd_data.sample.substitutions import CLEAR_DIFFERENCE, Candidate, has_usual_distances, predict_volume
from ecd_data.sample.teaching import Knowledge
from ecd_data.sample.verification import NOBLE_GASES

CUBIC, FCC = np.eye(3), np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
QUARTERS = (0.25, 0.75)  # along each axis of the primitive cell: the two sites of four neighbours
# The cell in units of the cubic one, and the coordinates of the metal's sites and of the nonmetal's, equal along the
# three axes
TYPES = {
    "rs": (FCC, (0.0,), (0.5,)),
    "zb": (FCC, (0.0,), (0.25,)),
    "cscl": (CUBIC, (0.0,), (0.5,)),
    "fluorite": (FCC, (0.0,), QUARTERS),
    "antifl": (FCC, QUARTERS, (0.0,)),
}
TYPE_NAMES = {"antifl": "fluorite"}  # as the sample names a type whose sites are exchanged
START_SIZE = 5.0  # Å; volumes are predicted afterwards
SECONDS, FEW_SECONDS = 100.0, 400.0  # of the longest run; the second for elements of few formulas

Record = dict[str, Any]


def choose_ionic(held_out: HeldOut, known: Knowledge, elements: Iterable[str]) -> list[Record]:
    """All ionic compounds of new formulas that may have a gap, each in the type that teaches most when its turn comes.

    What they show is added to `known`.
    """
    candidates = _list_candidates(held_out, known, make_ionic_candidates(elements))
    candidates = [one for one in candidates if may_have_gap(one.crystal.to_record())]
    chosen = []
    while candidates:
        record = _take_best(candidates, held_out, known, SECONDS)
        chosen += [record] if record else []
    return chosen


def complete_elements(held_out: HeldOut, known: Knowledge, elements: Iterable[str]) -> list[Record]:
    """Ionic compounds until each element has enough training formulas: also metals, magnets and less common charges.

    What they show is added to `known`.
    """
    candidates = _list_candidates(held_out, known, make_ionic_candidates(elements, rare_charges=True))
    chosen = []
    while candidates := [one for one in candidates if known.find_few(one.crystal.elements)]:
        record = _take_best(candidates, held_out, known, FEW_SECONDS)
        chosen += [record] if record else []
    return chosen


def _list_candidates(held_out: HeldOut, known: Knowledge, candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates whose formula is new, and that no test forbids."""
    new = (one for one in candidates if find_formula(one.crystal) not in known.formulas)
    return [one for one in new if held_out.find_conflict(one.crystal) is None]


def _take_best(candidates: list[Candidate], held_out: HeldOut, known: Knowledge, seconds: float) -> Record | None:
    """The record of the candidate that teaches most, which leaves the list; None if it cannot be used.

    It is at its predicted volume. It cannot be used with a formula that is known, with odd distances, if a test forbids
    it, or if its run takes longer.
    """
    best = max(candidates, key=known.rank)
    candidates.remove(best)
    crystal, formula, name = predict_volume(best.crystal), find_formula(best.crystal), best.prototype
    if crystal is None or not has_usual_distances(crystal) or formula in known.formulas:
        return None
    record = {
        "class": best.kind,
        "source": f"metal and nonmetal in {name}, volume by DLSVolumePredictor",
        "suffix": name,
        "prototype": TYPE_NAMES.get(name, name),
        **crystal.to_record(),
    }
    if estimate_at_one_cutoff(record, narrow_gap=True) > seconds or held_out.find_conflict(to_crystal(record)):
        return None
    known.add(formula, name)
    return record


def make_ionic_candidates(elements: Iterable[str], rare_charges: bool = False) -> Iterator[Candidate]:
    """Every neutral compound of a metal and a more electronegative nonmetal among some elements, in every type.

    rare_charges: whether the metal may have any charge that ICSD's crystals show, not only its common ones.
    """
    symbols = sorted(set(elements) - NOBLE_GASES)
    pairs = product((s for s in symbols if s not in NONMETALS), (s for s in symbols if s in NONMETALS))
    for (metal, nonmetal), (name, (lattice, *sites)) in product(pairs, TYPES.items()):
        if is_ionic(metal, len(sites[0]), nonmetal, len(sites[1]), rare_charges):
            numbers = [ATOMIC_NUMBERS[metal]] * len(sites[0]) + [ATOMIC_NUMBERS[nonmetal]] * len(sites[1])
            positions = np.repeat(np.concatenate(sites)[:, None], 3, axis=1)
            yield Candidate("ionic", name, Crystal(START_SIZE * lattice, np.array(numbers), positions))


def is_ionic(metal: str, metals: int, nonmetal: str, nonmetals: int, rare_charges: bool = False) -> bool:
    """Whether the nonmetal is clearly more electronegative, and its charge as an anion balances the metal's.

    Parameters
    ----------
    metal, nonmetal : symbols.
    metals, nonmetals : the number of atoms of each in the formula.
    rare_charges : see `make_ionic_candidates`.
    """
    from pymatgen.core import Element

    cation, anion = Element(metal), Element(nonmetal)
    charge = min(anion.common_oxidation_states, default=0)
    charges = {*cation.common_oxidation_states, *(cation.icsd_oxidation_states if rare_charges else ())}
    balanced = any(metals * one == -nonmetals * charge for one in charges if one > 0)
    return balanced and bool(anion.X > cation.X + CLEAR_DIFFERENCE)
