"""Chemical formulas, and those in the ids of the release, such as icsd-237213-Li2H4N2."""

from __future__ import annotations

import re
from functools import cache
from math import gcd

TERM = re.compile(r"([A-Z][a-z]?)(\d*)")
NAME = re.compile(r"(?:icsd|cod|oqmd)-\d+-((?:[A-Z][a-z]?\d*)+)")


@cache
def reduce_formula(formula: str) -> str:
    """The reduced formula with elements in alphabetical order: "H2LiN" for "Li2H4N2"."""
    counts: dict[str, int] = {}
    for element, number in TERM.findall(formula):
        counts[element] = counts.get(element, 0) + int(number or 1)
    divisor = gcd(*counts.values())
    terms = sorted((element, n // divisor) for element, n in counts.items())
    return "".join(element if n == 1 else f"{element}{n}" for element, n in terms)


@cache
def elements_of(formula: str) -> frozenset[str]:
    """The elements of a formula."""
    return frozenset(element for element, _ in TERM.findall(formula))


@cache
def formula_in_id(id: str) -> str | None:
    """The reduced formula in a material id; None for ids without a formula (hmat, mp, GNoME)."""
    match = NAME.fullmatch(id)
    return reduce_formula(match[1]) if match else None
