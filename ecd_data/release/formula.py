"""Chemical formulas as the release's names carry them, as in icsd-237213-Li2H4N2."""

from __future__ import annotations

import re
from functools import cache
from math import gcd

TERM = re.compile(r"([A-Z][a-z]?)(\d*)")
NAME = re.compile(r"(?:icsd|cod|oqmd)-\d+-((?:[A-Z][a-z]?\d*)+)")


@cache
def reduced(formula: str) -> str:
    """The smallest whole-number formula with elements in alphabetical order: "Li2H4N2" gives "H2LiN"."""
    counts: dict[str, int] = {}
    for element, number in TERM.findall(formula):
        counts[element] = counts.get(element, 0) + int(number or 1)
    divisor = gcd(*counts.values())
    terms = sorted((element, n // divisor) for element, n in counts.items())
    return "".join(element if n == 1 else f"{element}{n}" for element, n in terms)


@cache
def formula_in(id: str) -> str | None:
    """The reduced formula in a material id, None where the name carries none (hmat, mp, GNoME)."""
    match = NAME.fullmatch(id)
    return reduced(match[1]) if match else None
