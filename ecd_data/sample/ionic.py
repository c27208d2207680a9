"""New compounds of a metal and a nonmetal in the simplest structure types, whose runs take less than two minutes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np

from ecd_data.crystal import ATOMIC_NUMBERS, Crystal
from ecd_data.sample.additions import NONMETALS
from ecd_data.sample.substitutions import CLEAR_DIFFERENCE, Candidate
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


def make_ionic_candidates(elements: Iterable[str]) -> Iterator[Candidate]:
    """Every neutral compound of a metal and a more electronegative nonmetal among some elements, in every type."""
    symbols = sorted(set(elements) - NOBLE_GASES)
    pairs = product((s for s in symbols if s not in NONMETALS), (s for s in symbols if s in NONMETALS))
    for (metal, nonmetal), (name, (lattice, *sites)) in product(pairs, TYPES.items()):
        if is_ionic(metal, len(sites[0]), nonmetal, len(sites[1])):
            numbers = [ATOMIC_NUMBERS[metal]] * len(sites[0]) + [ATOMIC_NUMBERS[nonmetal]] * len(sites[1])
            positions = np.repeat(np.concatenate(sites)[:, None], 3, axis=1)
            yield Candidate("ionic", name, Crystal(START_SIZE * lattice, np.array(numbers), positions))


def is_ionic(metal: str, metals: int, nonmetal: str, nonmetals: int) -> bool:
    """Whether the nonmetal is clearly more electronegative, and its charge as an anion balances a common one.

    Parameters
    ----------
    metal, nonmetal : symbols.
    metals, nonmetals : the number of atoms of each in the formula.
    """
    from pymatgen.core import Element

    cation, anion = Element(metal), Element(nonmetal)
    charge = min(anion.common_oxidation_states, default=0)
    balanced = any(metals * one == -nonmetals * charge for one in cation.common_oxidation_states if one > 0)
    return balanced and bool(anion.X > cation.X + CLEAR_DIFFERENCE)
