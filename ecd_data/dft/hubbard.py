"""Hubbard U: the values of the ECD release by element, the shell that each acts on, and the user's own values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ecd_data.crystal import ATOMIC_NUMBERS
from ecd_data.errors import UsageError

# U in eV. The release's OUTCARs show those of Ti, Fe, Co, Zn, Mo, Cd, La, Pr and W, which are AFLOW's (Calderon et al.,
# Comput. Mater. Sci. 108, 233, 2015, table 3). The others are AFLOW's too, for the 3d and 4f shells named in the paper.
HUBBARD_U = {
    "Sc": 2.9, "Ti": 4.4, "V": 2.7, "Cr": 3.5, "Mn": 4.0, "Fe": 4.6, "Co": 5.0, "Ni": 5.1, "Cu": 4.0, "Zn": 7.5,
    "Mo": 2.4, "Cd": 2.1, "W": 2.2,
    "La": 7.5, "Ce": 6.3, "Pr": 5.5, "Nd": 6.2, "Sm": 6.4, "Eu": 5.4, "Gd": 6.0, "Tm": 6.0, "Yb": 6.3, "Lu": 3.8,
}  # fmt: skip
WITH_D_ELECTRONS = {"Ga", "Ge", "In", "Sn", "Tl", "Pb", "Bi"}  # p-block elements whose datasets have a d shell


def load_hubbard_u(text: str) -> dict[str, float]:
    """U in eV by element, from a text such as "Fe=4.6,Zn=7.5", the path of a JSON file, or "none".

    Raises UsageError for any other text.
    """
    if text == "none":
        return {}
    try:
        if text.endswith(".json"):
            pairs = list(json.loads(Path(text).read_text()).items())
        else:
            pairs = [pair.split("=") for pair in text.split(",")]
        table = {symbol.strip(): float(u) for symbol, u in pairs}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{text!r} is no list of U values ({error}): write Fe=4.6,Zn=7.5 or none") from error
    if len(table) < len(pairs):
        raise UsageError(f"{text!r} names an element twice: give one U for each")
    for symbol, u in table.items():
        if symbol not in ATOMIC_NUMBERS or not np.isfinite(u):
            raise UsageError(f"{symbol}={u} in {text!r} is no element with its U in eV: write pairs such as Fe=4.6")
    return table


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
