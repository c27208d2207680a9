"""The verification crystals: every element bare and as an oxide, with the equations of state of all-electron codes.

verification.json holds 72 elements in four elemental structures and six oxides (Bosoni et al., Nature Reviews Physics
6, 45 (2024); aiidateam/acwf-verification-scripts, MIT).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from ecd_data.crystal import ATOMIC_NUMBERS

Record = dict[str, Any]
OXIDES = {"X2O": 1, "XO": 2, "X2O3": 3, "XO2": 4, "X2O5": 5, "XO3": 6}  # with the oxidation state of X
# Structure types by the names that the sample uses
TYPE_NAMES = {
    "FCC": "fcc", "BCC": "bcc", "SC": "sc", "Diamond": "diamond", "X2O": "fluorite", "XO": "rs", "XO2": "fluorite",
    "X2O3": "X2O3", "X2O5": "X2O5", "XO3": "ReO3",
}  # fmt: skip
# The elemental structure that is nearest to that of the element itself; close-packed for all elements not named here
NEAREST_BARE = {
    **dict.fromkeys("Li Na K Rb Cs Ba V Nb Ta Cr Mo W Mn Fe".split(), "BCC"),
    **dict.fromkeys("C Si Ge Sn".split(), "Diamond"),
    **dict.fromkeys("H N O F P S Cl As Se Br Sb Te I Po Bi".split(), "SC"),
}
NOBLE_GASES = {"He", "Ne", "Ar", "Kr", "Xe", "Rn"}
OXIDISED_NOBLE_GASES = {"Xe"}  # the others have no oxide


@dataclass(frozen=True)
class EquationOfState:
    """A Birch-Murnaghan equation of state: volume in Å^3 and bulk modulus in eV/Å^3 of the cell, and its derivative."""

    v0: float
    b0: float
    b1: float


@cache
def load_verification() -> dict[str, Any]:
    """The contents of verification.json: source, licence, cells by kind, and numbers by element and kind."""
    return json.loads(files("ecd_data.sample").joinpath("verification.json").read_text())


def list_elements() -> list[str]:
    """The symbols of the 72 elements."""
    return list(load_verification()["crystals"])


def make_verification_cell(element: str, kind: str, scale: float = 1.0) -> Record:
    """The record of a verification crystal: lattice, numbers, frac_coords and prototype.

    Parameters
    ----------
    element, kind : the element X, and one of "FCC", "BCC", "SC", "Diamond", "X2O", "XO", "XO2", "X2O3", "X2O5", "XO3".
    scale : volume in units of that of the list, which is within 1 % of the equilibrium.

    Raises
    ------
    KeyError : the list has no such crystal.
    """
    facts = load_verification()
    cell, volume = facts["kinds"][kind], facts["crystals"][element][kind][0]
    lattice = np.array(cell["lattice"], dtype=float)
    lattice *= np.cbrt(scale * volume / abs(np.linalg.det(lattice)))
    symbols = [element if site == "X" else site for site in cell["sites"]]
    return {
        "prototype": TYPE_NAMES[kind],
        "lattice": lattice.round(8).tolist(),
        "numbers": [ATOMIC_NUMBERS[symbol] for symbol in symbols],
        "frac_coords": cell["frac_coords"],
    }


def read_reference(element: str, kind: str) -> EquationOfState:
    """The average of the all-electron equations of state (PBE without spin) of a verification crystal."""
    return EquationOfState(*load_verification()["crystals"][element][kind][1:])


def choose_bare(element: str) -> str:
    """The kind in which an element is computed bare: the nearest to its own structure, else close-packed."""
    return NEAREST_BARE.get(element, "FCC")


def list_oxides(element: str) -> list[str]:
    """The kinds of oxide in which an element has an oxidation state that it is known for.

    States that pymatgen calls common come first, high ones before low ones, then those of crystals in the ICSD.
    """
    from pymatgen.core import Element

    facts = Element(element)
    if element == "O" or element in NOBLE_GASES - OXIDISED_NOBLE_GASES:
        return []
    if element == "F":
        return ["X2O"]  # F2O, in which oxygen has the positive charge
    common, rare = set(facts.common_oxidation_states), set(facts.icsd_oxidation_states)
    kinds = sorted(OXIDES, key=lambda kind: -OXIDES[kind])
    return [k for k in kinds if OXIDES[k] in common] + [k for k in kinds if OXIDES[k] in rare - common]
