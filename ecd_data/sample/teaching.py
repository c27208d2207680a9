"""What the training crystals of the sample show, and what another crystal would add to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from ecd_data.fixed_order import order_key
from ecd_data.release.formula import elements_of
from ecd_data.sample.additions import WANTED_FORMULAS
from ecd_data.sample.costs import VALENCE
from ecd_data.sample.substitutions import Candidate

SEED = 20261  # of the order of crystals that teach equally much
LIGHT = 20  # electrons that count for every cell, so that cells of light elements alone are not always the best


def count_elements(formulas: Iterable[str]) -> Counter[str]:
    """The number of formulas that have each element."""
    return Counter(element for formula in formulas for element in elements_of(formula))


@dataclass
class Knowledge:
    """What the training crystals show: their formulas, the formulas of each element, pairs, and crystals of a type."""

    formulas: set[str]
    counts: Counter[str]
    pairs: set[tuple[str, ...]]
    types: Counter[str]

    @classmethod
    def of_formulas(cls, formulas: Iterable[str]) -> Knowledge:
        """The Knowledge of some training formulas."""
        found = cls(set(), Counter(), set(), Counter())
        for formula in formulas:
            found.add(formula)
        return found

    def add(self, formula: str, prototype: str | None = None) -> None:
        """Count a crystal."""
        self.formulas.add(formula)
        self.counts.update(elements_of(formula))
        self.pairs.update(combinations(sorted(elements_of(formula)), 2))
        self.types[prototype or ""] += 1

    def find_few(self, elements: Iterable[str]) -> set[str]:
        """The elements that have too few training formulas."""
        return {element for element in elements if self.counts[element] < WANTED_FORMULAS}

    def rank(self, candidate: Candidate) -> tuple[float, str]:
        """What the candidates are sorted by: their gain, then an order that looks random."""
        return self.find_gain(candidate), order_key(f"{candidate.prototype} {candidate.crystal.formula}", SEED)

    def find_gain(self, candidate: Candidate) -> float:
        """What a crystal teaches, by the root of its electrons and 20: its rare elements, its new pairs, and its type.

        An element of n training formulas counts 1 / (1 + n), and 1 more if n is below 4; a pair that no crystal has
        counts 1/2; a type of n crystals counts 1 / (1 + n).
        """
        elements = sorted(candidate.crystal.elements)
        rare = sum(1 / (1 + self.counts[e]) + (self.counts[e] < WANTED_FORMULAS) for e in elements)
        pairs = sum(pair not in self.pairs for pair in combinations(elements, 2)) / 2
        electrons = LIGHT + sum(VALENCE[symbol] for symbol in candidate.crystal.symbols)
        return (rare + pairs + 1 / (1 + self.types[candidate.prototype])) / electrons**0.5
