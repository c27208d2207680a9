"""The choice of the crystals that are added to the sample: `python -m ecd_data.sample.choose_additions` writes them.

additions.json is the result: the crystals with their cells, where they come from, and which have displaced cells.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Composition, Element

from ecd_data.dft.selection import find_charge, select_crystals
from ecd_data.release.formula import elements_of
from ecd_data.sample.additions import ADDITIONS, WANTED_FORMULAS, add_settings, estimate_at_one_cutoff
from ecd_data.sample.cells import displace
from ecd_data.sample.costs import VALENCE, estimate_seconds
from ecd_data.sample.held_out import HeldOut, find_formula, find_held_out, to_crystal
from ecd_data.sample.ionic import choose_ionic, complete_elements
from ecd_data.sample.split import split_three_editions
from ecd_data.sample.substitutions import (
    TYPE_NAMES,
    Candidate,
    has_usual_distances,
    make_candidates,
    predict_volume,
)
from ecd_data.sample.teaching import SEED, Knowledge, count_elements
from ecd_data.sample.verification import choose_bare, list_elements, list_oxides, make_verification_cell

COUNTS = {"layered": 24, "low symmetry": 36, "intermetallic": 36}  # crystals of each class of structure types
MOST_OF_A_TYPE = 3  # crystals of one structure type, so that many types are taken
MOST_SECONDS = 900.0  # estimated CPU seconds of one run; what costs more is left out
MOST_OXIDE_SECONDS = 300.0  # the same for oxides, of which an element has several
# CPU seconds of a run on the mesh for narrow gaps; of what is chosen, that with a longer one is left out in the end
MOST_FINAL_SECONDS = {"oxide": 320.0, "layered": 460.0, "low symmetry": 460.0, "intermetallic": 320.0}
DISPLACED = 40  # compounds with a displaced cell
# Compounds whose first run found a gap above 1 eV, so that their displaced cells are cheaper
WIDE_GAPS = set(
    "BeF2_fluorite CaH2_oP6_58 CdH2_hP3_164 Cs2O_antifl CsF_zb H2O_antifl K2O_antifl LiI_rs LuP_zb NaBC_hP6_194"
    " PbF2_fluorite PoO2_fluorite Rb2O_antifl RbF_cscl RbH_zb".split()
)
OXIDE_NAMES = {"X2O": "antifl", "XO": "rs", "XO2": "fluorite", "X2O3": "X2O3", "X2O5": "X2O5", "XO3": "ReO3"}

Record = dict[str, Any]


def choose_additions() -> dict[str, Record]:
    """The records of the added crystals by id.

    They are bare elements, oxides, substitutions into known structure types, and ionic compounds in simple types.
    """
    held_out, trained = find_held_out(), _find_training_formulas()
    chosen = _choose_verification(held_out, trained)
    chosen |= _choose_substitutions(held_out, trained | _list_formulas(chosen))
    chosen |= _name_records(choose_ionic(held_out, _learn(trained, chosen), list_elements()))
    chosen = _leave_out_costly(chosen, trained)
    chosen |= _name_records(complete_elements(held_out, _learn(trained, chosen), list_elements()))
    kept = set(select_crystals({id: to_crystal(record) for id, record in chosen.items()}, neutral=False).kept)
    return _mark_displaced({id: record for id, record in chosen.items() if id in kept})


def _list_formulas(crystals: dict[str, Record]) -> set[str]:
    return {find_formula(to_crystal(record)) for record in crystals.values()}


def _learn(trained: set[str], chosen: dict[str, Record]) -> Knowledge:
    return Knowledge.of_formulas(trained | _list_formulas(chosen))


def _find_training_formulas() -> set[str]:
    cells, splits = split_three_editions()
    return {cells[id].formula for id in splits["pbe"]["train"]}


def _choose_verification(held_out: HeldOut, formulas: set[str]) -> dict[str, Record]:
    """Every element bare and as an oxide, where no test forbids it; a second oxide for elements of few formulas."""
    counts = count_elements(formulas)
    chosen: dict[str, Record] = {}
    for element in list_elements():
        bare = _make_verification_record(element, choose_bare(element))
        oxides = [_make_verification_record(element, kind) for kind in list_oxides(element)]
        oxides = [one for one in oxides if one["estimate"] <= MOST_OXIDE_SECONDS]
        taken = [one for one in [bare, *oxides] if _is_usable(one, held_out, formulas)]
        few = counts[element] < WANTED_FORMULAS
        taken = taken[: (bare in taken) + (2 if few else 1)]
        chosen |= {_name_record(record): record for record in taken}
    return {id: _strip(record) for id, record in chosen.items()}


def _make_verification_record(element: str, kind: str) -> Record:
    record = {
        "class": "oxide" if kind in OXIDE_NAMES else "bare element",
        "source": f"{element}_{kind} of the verification crystals",
        "suffix": OXIDE_NAMES.get(kind, f"{kind.lower()}_acwf"),  # not the name of a measured crystal
        **make_verification_cell(element, kind),
    }
    return record | {"estimate": estimate_at_one_cutoff(record)}


def _is_usable(record: Record, held_out: HeldOut, formulas: set[str]) -> bool:
    crystal = to_crystal(record)
    return find_formula(crystal) not in formulas and held_out.find_conflict(crystal) is None


def _name_records(records: Iterable[Record]) -> dict[str, Record]:
    return {_name_record(record): _strip(record) for record in records}


def _name_record(record: Record) -> str:
    """The id of a crystal: its formula as chemists write it, and its structure type."""
    reduced = Composition("".join(to_crystal(record).symbols)).element_composition.reduced_composition
    counts = reduced.get_el_amt_dict() if len(reduced) > 1 else {str(reduced.elements[0]): 1}
    order = sorted(counts, key=lambda symbol: Element(symbol).X)
    return "".join(f"{s}{int(counts[s]) if counts[s] > 1 else ''}" for s in order) + f"_{record['suffix']}"


def _strip(record: Record) -> Record:
    return {key: value for key, value in record.items() if key not in ("suffix", "estimate")}


def _choose_substitutions(held_out: HeldOut, formulas: set[str]) -> dict[str, Record]:
    """Substitutions by class: again and again the one that teaches most, until there are enough of each class.

    Then further ones for each element that still has too few formulas.
    """
    candidates, known = _filter_candidates(held_out, formulas), Knowledge.of_formulas(formulas)
    chosen: dict[str, Record] = {}
    left = Counter(COUNTS)
    while candidates:
        free = {id: one for id, one in candidates.items() if known.types[one.prototype] < MOST_OF_A_TYPE}
        wanted = {id: one for id, one in free.items() if left[one.kind] > 0}
        if not wanted:
            wanted = {id: one for id, one in candidates.items() if known.find_few(one.crystal.elements)}
        if not wanted:
            break
        best = max(wanted, key=lambda id: known.rank(wanted[id]))
        candidate = candidates.pop(best)
        formula = find_formula(candidate.crystal)
        record = _make_substituted_record(candidate)
        if formula in known.formulas or record is None or held_out.find_conflict(to_crystal(record)):
            continue
        chosen[_name_record(record)] = _strip(record)
        left[candidate.kind] -= 1
        known.add(formula, candidate.prototype)
    return chosen


def _filter_candidates(held_out: HeldOut, formulas: set[str]) -> dict[str, Candidate]:
    """The candidates whose formula is new, is neutral (without alloys), and is forbidden by no test."""
    found: dict[str, Candidate] = {}
    for candidate in make_candidates():
        crystal, formula = candidate.crystal, find_formula(candidate.crystal)
        if formula in formulas or not set(crystal.elements) <= set(VALENCE):
            continue
        charge = find_charge(crystal, alloys=candidate.kind == "intermetallic")
        if charge is None and held_out.find_composition_conflict(formula) is None:
            found[f"{candidate.prototype} {crystal.formula}"] = candidate
    return found


def _make_substituted_record(candidate: Candidate) -> Record | None:
    """The record of a candidate at its predicted volume; None with odd distances, or if its run costs too much."""
    crystal = predict_volume(candidate.crystal)
    if crystal is None or not has_usual_distances(crystal):
        return None
    label = candidate.prototype.split()[1]
    record = {
        "class": candidate.kind,
        "source": f"substitution into {candidate.prototype}, volume by DLSVolumePredictor",
        "suffix": "_".join(label.split("_")[1:3]),
        "prototype": TYPE_NAMES.get(label, label),
        **crystal.to_record(),
    }
    return record if estimate_at_one_cutoff(record) <= MOST_SECONDS else None


def _leave_out_costly(crystals: dict[str, Record], trained: set[str]) -> dict[str, Record]:
    """The records without those whose run would take long; the only oxide of an element stays."""
    seconds = {id: estimate_seconds(add_settings(record, narrow_gap=True)) for id, record in crystals.items()}
    oxidised = {element for formula in trained for element in elements_of(formula) if "O" in elements_of(formula)}
    kept = set()
    for id in sorted(crystals, key=lambda id: (seconds[id], id)):
        kind, elements = crystals[id]["class"], set(to_crystal(crystals[id]).elements)
        if seconds[id] <= MOST_FINAL_SECONDS.get(kind, np.inf) or (kind == "oxide" and not elements <= oxidised):
            kept.add(id)
            oxidised |= elements if kind == "oxide" else set()
    return {id: record for id, record in crystals.items() if id in kept}


def _mark_displaced(crystals: dict[str, Record]) -> dict[str, Record]:
    """The records, of which the compounds with the cheapest displaced cells are marked."""
    costs = {id: _estimate_displaced(id, record) for id, record in crystals.items() if len(set(record["numbers"])) > 1}
    marked = sorted(costs, key=lambda id: (costs[id], id))[:DISPLACED]
    return {id: record | {"displaced": id in marked} for id, record in crystals.items()}


def _estimate_displaced(id: str, record: Record) -> float:
    cell = displace(record | {"metal": True}, f"{id}-d1")
    return estimate_seconds(add_settings(cell, narrow_gap=id not in WIDE_GAPS))


def write_additions(path: Path) -> dict[str, Record]:
    """The added crystals, after writing them to additions.json with a line for each."""
    crystals = choose_additions()
    lines = [f"  {json.dumps(id)}: {json.dumps(record)}" for id, record in crystals.items()]
    source = json.dumps("verification.json (MIT) and substitutions into the AFLOW prototypes that pymatgen ships (MIT)")
    path.write_text(f'{{\n "source": {source},\n "seed": {SEED},\n "crystals": {{\n' + ",\n".join(lines) + "\n }\n}\n")
    return crystals


if __name__ == "__main__":
    print(Counter(record["class"] for record in write_additions(Path(__file__).with_name(ADDITIONS)).values()))
