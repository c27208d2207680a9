"""The element behind a label: programs add numbers, spins and potentials to the symbol, or name an isotope."""

from __future__ import annotations

import re

from ecd_data.crystal import ATOMIC_NUMBERS

WORD = re.compile(r"\s*([A-Za-z]+)")
ELEMENTS = {**ATOMIC_NUMBERS, "D": 1, "T": 1}
MARKS = ("up", "dn", "dw", "down")  # spins that some write without a separator
NO_ATOMS = {"Bq", "Va", "Vc"}  # ghost atoms and vacancies, which would pass for B and V with a letter


def element_of_label(label: str) -> int:
    """The atomic number of a label such as Fe, FE, Fe1, Fe2+, O_s, Fe_pv, Ti_sv/1a2b, H1.33, D or T; 0 for X.

    The letters at its beginning are the symbol, or, where no element has this name, a symbol and a letter (Quantum
    ESPRESSO allows Oa and Feb) or spin (Oup). Raises ValueError where that names no element, or two: Ndn is N down or
    Nd n.
    """
    found = WORD.match(label)
    word = found[1].capitalize() if found else ""
    if word in ELEMENTS:
        return ELEMENTS[word]
    symbols = {word[: -len(mark)] for mark in MARKS if word.endswith(mark)} | {word[:-1]}
    symbols = {s for s in symbols if s in ATOMIC_NUMBERS and s != "X"} if word not in NO_ATOMS else set()
    if len(symbols) != 1:
        why = f"it could be {' or '.join(sorted(symbols))}" if symbols else "no element is called so"
        raise ValueError(f"{label.strip()[:40]!r} names no element: {why}")
    return ATOMIC_NUMBERS[symbols.pop()]
