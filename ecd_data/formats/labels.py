"""The element that an atom's label means. Programs add numbers, spins and potentials to symbols, or name isotopes."""

from __future__ import annotations

import re

from ecd_data.crystal import ATOMIC_NUMBERS

WORD = re.compile(r"\s*([A-Za-z]+)")
ELEMENTS = {**ATOMIC_NUMBERS, "D": 1, "T": 1}
SPIN_SUFFIXES = ("up", "dn", "dw", "down")  # spins that some programs write without a separator
GHOST_LABELS = {"Bq", "Va", "Vc"}  # ghost atoms and vacancies, which else would be read as B and V with a letter


def element_of_label(label: str) -> int:
    """The atomic number of the element that a label means: Fe, FE, Fe1, Fe2+, O_s, Ti_sv/1a2b, H1.33, D, T; 0 for X.

    The letters at its beginning are the symbol. Where no element has this symbol, they are a symbol and a letter
    (Quantum ESPRESSO allows Oa and Feb) or a symbol and a spin (Oup).

    Raises
    ------
    ValueError : the label means no element, or perhaps two: Ndn is N down or Nd n.
    """
    match = WORD.match(label)
    word = match[1].capitalize() if match else ""
    if word in ELEMENTS:
        return ELEMENTS[word]
    symbols = {word[: -len(mark)] for mark in SPIN_SUFFIXES if word.endswith(mark)} | {word[:-1]}
    symbols = {s for s in symbols if s in ATOMIC_NUMBERS and s != "X"} if word not in GHOST_LABELS else set()
    if len(symbols) != 1:
        why = f"it could be {' or '.join(sorted(symbols))}" if symbols else "no element is called so"
        raise ValueError(f"{label.strip()[:40]!r} names no element: {why}")
    return ATOMIC_NUMBERS[symbols.pop()]
