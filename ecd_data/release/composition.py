"""The compositions of the official lists, as far as the names of their crystals tell them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from ecd_data.release.formula import NAME, TERM, reduce_formula
from ecd_data.release.tasks import set_of


@dataclass(frozen=True)
class Composition:
    """The compositions of a set of crystals.

    Attributes
    ----------
    crystals : the number of crystals in the lists.
    named : how many of them have a formula in their names; everything else counts these alone.
    elements : the number of crystals that have an element, by symbol.
    components : the number of crystals by their number of different elements.
    sizes : the number of crystals by the number of atoms in the formula of the name, which is that of the cell.
    compounds : the number of different reduced formulas.
    """

    crystals: int
    named: int
    elements: Mapping[str, int]
    components: Mapping[int, int]
    sizes: Mapping[int, int]
    compounds: int


@cache
def count_compositions(name: str) -> Composition:
    """The Composition of a set of the release: "pbe", "hse", "mp" or "ood".

    Raises UnknownTaskError for another name.
    """
    return count_formulas({id for ids in set_of(name).values() for id in ids})


def count_formulas(ids: Iterable[str]) -> Composition:
    """The Composition of crystals by their ids, such as icsd-237213-Li2H4N2."""

    names = list(ids)
    formulas = [match[1] for name in names if (match := NAME.fullmatch(name))]
    elements: Counter[str] = Counter()
    components: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    for formula in formulas:
        terms = TERM.findall(formula)
        symbols = {symbol for symbol, _ in terms}
        elements.update(symbols)
        components[len(symbols)] += 1
        sizes[sum(int(number or 1) for _, number in terms)] += 1
    compounds = len({reduce_formula(formula) for formula in formulas})
    return Composition(
        len(names),
        len(formulas),
        dict(elements),
        dict(sorted(components.items())),
        dict(sorted(sizes.items())),
        compounds,
    )
