"""The crystals that are added to the sample: their cells from additions.json, their settings, and which are there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from ecd_data.crystal import SYMBOLS
from ecd_data.dft.open_shells import list_magnetic_elements
from ecd_data.dft.settings import ECUTWFC, START_MAGNETIZATION
from ecd_data.sample.cells import displace, load_structures, parent_of
from ecd_data.sample.costs import count_electrons, estimate_seconds
from ecd_data.sample.meshes import converged_kmesh
from ecd_data.sample.verification import NOBLE_GASES

ADDITIONS = "additions.json"
JOINED = "joined.json"
EDITION = 4  # of the sample's split, in which added crystals join it
WANTED_FORMULAS = 4  # training formulas that every element of the sample should have
ESTIMATE_CUTOFF = 110.0  # Ry
NONMETALS = set("H He B C N O F Ne Si P S Cl Ar Ge As Se Br Kr Sb Te I Xe Po Rn".split())

Record = dict[str, Any]


def load_additions() -> dict[str, Record]:
    """The records of the added crystals by id: cell, class, prototype, source, and whether a displaced cell is made."""
    return json.loads(files("ecd_data.sample").joinpath(ADDITIONS).read_text())["crystals"]


def load_joined() -> dict[str, bool]:
    """Whether the mesh is that for narrow gaps, by id of each added cell that is in the sample."""
    return json.loads(files("ecd_data.sample").joinpath(JOINED).read_text())


def make_addition_cells() -> dict[str, Record]:
    """The records of all added cells by id, with the settings of their first run: crystals, then displaced cells."""
    crystals = load_additions()
    return {id: add_settings(record) for id, record in (crystals | make_displaced_additions(crystals)).items()}


def load_crystals() -> dict[str, Record]:
    """The records of all pristine crystals of the sample by id: those of structures.json, and added ones."""
    joined = make_joined_cells()
    return load_structures() | {id: cell for id, cell in joined.items() if parent_of(id) == id}


def make_joined_cells() -> dict[str, Record]:
    """The records of the added cells that are in the sample by id, with the settings of their densities."""
    crystals, joined = load_additions(), load_joined()
    cells = crystals | make_displaced_additions({id: crystals[id] for id in crystals if id in joined})
    return {id: add_settings(cells[id], narrow) for id, narrow in joined.items()}


def make_displaced_additions(crystals: Mapping[str, Record]) -> dict[str, Record]:
    """The records of the displaced cells `<name>-d1` by id, of the crystals that are marked for one."""
    return {
        f"{name}-d1": displace(record | {"metal": True}, f"{name}-d1")
        for name, record in crystals.items()
        if record["displaced"]
    }


def add_settings(record: Record, narrow_gap: bool | None = None) -> Record:
    """The record with the settings of its run.

    Cold smearing is used for all, since gaps are not known before the first run; above 1 eV it changes nothing. The
    cutoff is the largest of the elements' own. The k mesh is that of `meshes`; spin is on where an element may have a
    moment, and only its atoms start with one.

    Parameters
    ----------
    record : lattice, numbers and frac_coords.
    narrow_gap : whether the crystal is a metal or has a gap below 1 eV; by default whether `may_have_gap` denies a gap.
    """
    symbols = [SYMBOLS[number] for number in record["numbers"]]
    magnetic = list_magnetic_elements(Counter(symbols))
    narrow = not may_have_gap(record) if narrow_gap is None else narrow_gap
    return {
        **record,
        "edition": EDITION,
        "metal": narrow,
        "smearing": True,
        "ecutwfc_Ry": float(max(ECUTWFC[symbol] for symbol in symbols)),
        "start_magnetisation": START_MAGNETIZATION if magnetic else 0.0,
        "magnetic_elements": magnetic,
        "kmesh": converged_kmesh(record["lattice"], narrow),
        "narrow_gap": narrow,
    }


def estimate_at_one_cutoff(record: Record, narrow_gap: bool | None = None) -> float:
    """The CPU seconds of a run with one cutoff for all elements, so that a choice by it does not depend on theirs."""
    return estimate_seconds(add_settings(record, narrow_gap) | {"ecutwfc_Ry": ESTIMATE_CUTOFF})


def may_have_gap(record: Mapping[str, Any]) -> bool:
    """Whether a crystal may be an insulator without spin: an even number of electrons, and an element that is no metal.

    Of bare elements only noble gases may: the cubic structures of the verification crystals make metals of nearly all
    others.
    """
    symbols = {SYMBOLS[number] for number in record["numbers"]}
    if len(symbols) == 1:
        return bool(symbols & NOBLE_GASES)
    return bool(symbols & NONMETALS) and count_electrons(record) % 2 == 0
