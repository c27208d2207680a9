"""The rule for spin: which crystals the ECD release computed with spin, as its OUTCARs show; it states no rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# The oxidation state in which a metal of the d or f block has empty or full shells, and so no moment.
CLOSED_STATES = {
    "Sc": 3, "Ti": 4, "V": 5, "Cr": 6, "Mn": 7, "Cu": 1, "Zn": 2,
    "Y": 3, "Zr": 4, "Nb": 5, "Mo": 6, "Tc": 7, "Ru": 8, "Ag": 1, "Cd": 2,
    "La": 3, "Ce": 4, "Lu": 3, "Hf": 4, "Ta": 5, "W": 6, "Re": 7, "Os": 8, "Au": 1, "Hg": 2,
    "Ac": 3, "Th": 4, "Pa": 5, "U": 6, "Np": 7,
}  # fmt: skip


def may_have_moment(counts: Mapping[str, int], datasets: Mapping[str, str] | None = None) -> bool:
    """Whether a crystal may have open d or f shells, and so a magnetic moment.

    True if it has an element of the d or f block, unless all charges balance with closed shells, as in ZnO or PbTiO3.
    Crystals whose charges do not balance, such as metals, count as open.

    Parameters
    ----------
    counts
        The number of atoms of each element.
    datasets
        The PAW dataset of each element; "Pr_3", for example, keeps the f shell in the core, so that Pr3+ is closed.
    """
    from pymatgen.core import Element

    if not any(Element(symbol).block in "df" for symbol in counts):
        return False
    charges = {0}
    for symbol, count in counts.items():
        element = Element(symbol)
        states: Iterable[float] = element.common_oxidation_states
        if element.block in "df":
            states = _closed_states(symbol, (datasets or {}).get(symbol, symbol))
        charges = {charge + count * int(state) for charge in charges for state in states}
    return 0 not in charges


def _closed_states(symbol: str, dataset: str) -> tuple[int, ...]:
    """The oxidation state with closed shells, if there is one; datasets such as Pr_3 have it in their names."""
    valence = dataset.partition("_")[2]
    if valence.isdigit():
        return (int(valence),)
    return (CLOSED_STATES[symbol],) if symbol in CLOSED_STATES else ()
