"""The rules of the ECD release for open d and f shells: which crystals have spin, and Hubbard U by element."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ecd_data.crystal import ATOMIC_NUMBERS
from ecd_data.errors import UsageError

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
    counts : the number of atoms of each element.
    datasets : the PAW dataset of each element; "Pr_3", for example, keeps the f shell in the core, so that Pr3+ is
        closed.
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


# Elements that may have a moment in a crystal: 3d metals, and lanthanides with an open f shell
MAGNETIC = {"V", "Cr", "Mn", "Fe", "Co", "Ni", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm"}


def list_magnetic_elements(counts: Mapping[str, int]) -> list[str]:
    """The elements of a crystal whose atoms start a calculation with a moment; none if the shells are closed.

    These are V, Cr, Mn, Fe, Co, Ni and lanthanides with an open f shell where `may_have_moment` sees open shells, and
    oxygen in crystals and molecules of nothing else.

    Parameters
    ----------
    counts : the number of atoms of each element.
    """
    if set(counts) == {"O"}:
        return ["O"]
    present = sorted(MAGNETIC & set(counts))
    return present if present and may_have_moment(counts) else []


def _closed_states(symbol: str, dataset: str) -> tuple[int, ...]:
    """The oxidation state with closed shells, if there is one; datasets such as Pr_3 have it in their names."""
    valence = dataset.partition("_")[2]
    if valence.isdigit():
        return (int(valence),)
    return (CLOSED_STATES[symbol],) if symbol in CLOSED_STATES else ()


# U in eV. The release's OUTCARs show those of Ti, Fe, Co, Zn, Mo, Cd, La, Pr and W, which are AFLOW's (Calderon et al.,
# Comput. Mater. Sci. 108, 233, 2015, table 3). The others are AFLOW's too, for the 3d and 4f shells named in the paper.
HUBBARD_U = {
    "Sc": 2.9, "Ti": 4.4, "V": 2.7, "Cr": 3.5, "Mn": 4.0, "Fe": 4.6, "Co": 5.0, "Ni": 5.1, "Cu": 4.0, "Zn": 7.5,
    "Mo": 2.4, "Cd": 2.1, "W": 2.2,
    "La": 7.5, "Ce": 6.3, "Pr": 5.5, "Nd": 6.2, "Sm": 6.4, "Eu": 5.4, "Gd": 6.0, "Tm": 6.0, "Yb": 6.3, "Lu": 3.8,
}  # fmt: skip
LARGEST_U = 20.0  # eV; a larger one has its decimal point in a wrong place
WITH_D_ELECTRONS = {"Ga", "Ge", "In", "Sn", "Tl", "Pb", "Bi"}  # p-block elements whose datasets have a d shell


def load_hubbard_u(text: str) -> dict[str, float]:
    """U in eV by element, from a text such as "Fe=4.6,Zn=7.5", the path of a JSON file, or "none".

    Raises UsageError for any other text.
    """
    if text == "none":
        return {}
    pairs = _read_pairs_of_file(text) if text.endswith(".json") else [_split_pair(pair) for pair in text.split(",")]
    table: dict[str, float] = {}
    for symbol, value in pairs:
        if symbol not in ATOMIC_NUMBERS or symbol == "X":
            meant = f"did you mean {symbol.title()}?" if symbol.title() in ATOMIC_NUMBERS else "write Fe=4.6"
            raise UsageError(f"the U values {text!r} name {symbol!r}, which is no element symbol: {meant}")
        if symbol in table:
            raise UsageError(f"{text!r} names {symbol} twice: give one U for each element")
        table[symbol] = _read_u(symbol, value)
    return table


def _split_pair(pair: str) -> tuple[str, str]:
    symbol, equals, value = (part.strip() for part in pair.partition("="))
    if not (symbol and equals and value):
        raise UsageError(f"{pair!r} is no element with its U in eV: write Fe=4.6,Zn=7.5, a JSON file, or none")
    return symbol, value


def _read_pairs_of_file(path: str) -> list[tuple[str, Any]]:
    try:
        table = json.loads(Path(path).read_text())
    except OSError as error:
        raise UsageError(f"{path} with the U values cannot be read ({error.strerror}): check the path") from error
    except ValueError as error:
        raise UsageError(f'{path} is no JSON ({error}): write {{"Fe": 4.6, "Zn": 7.5}}') from error
    if not isinstance(table, dict):
        raise UsageError(f'{path} is no object with the U of each element: write {{"Fe": 4.6, "Zn": 7.5}}')
    return list(table.items())


def _read_u(symbol: str, value: Any) -> float:
    """U in eV; raises UsageError where it is no number, or one that no published U is near."""
    try:
        u = float(value)
    except (TypeError, ValueError):
        u = float("nan")
    if not 0 <= u <= LARGEST_U:
        raise UsageError(f"the U of {symbol} must be a number from 0 to {LARGEST_U:g} eV, such as 4.6, not {value}")
    return u


def shell_of_u(symbol: str) -> int:
    """The angular momentum of the shell that a U acts on: 3 for f, 2 for d, 1 for p in elements without d and f.

    Raises UsageError for elements without p, d and f electrons, such as Na.
    """
    from pymatgen.core import Element

    if Element(symbol).block == "f" or symbol == "Lu":
        return 3
    if Element(symbol).block == "d" or symbol in WITH_D_ELECTRONS:
        return 2
    if Element(symbol).block == "p":
        return 1
    raise UsageError(f"{symbol} has no p, d or f electrons that a U could act on: take it out of --u")
