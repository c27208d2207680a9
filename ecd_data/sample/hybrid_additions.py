"""The crystals that join those with HSE06: which ones, their settings, and their computation.

`python -m ecd_data.sample.recipe --add-hybrids DIR` calls it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecd_data.crystal import SYMBOLS
from ecd_data.dft import RunReport, run
from ecd_data.dft.settings import ECUTWFC
from ecd_data.sample.addition_runs import FINAL, list_finished
from ecd_data.sample.additions import WANTED_FORMULAS, add_settings, load_additions, may_have_gap
from ecd_data.sample.cells import load_structures, select_hybrids
from ecd_data.sample.costs import estimate_hybrid_seconds
from ecd_data.sample.meshes import NARROW_GAP, has_narrow_gap, hybrid_mesh
from ecd_data.sample.split import describe_cells, make_manifest
from ecd_data.sample.table import SAMPLE_FOLDER, read_column

TOTAL = 110  # crystals with HSE06 that the sample shall have
SMALLEST_GAP = 0.3  # eV, PBE; below it HSE06 with fixed occupations may start from a metal
HYBRID_STORE = "hse.ecd"

Record = dict[str, Any]


def choose_hybrids(gaps: Mapping[str, float]) -> dict[str, Record]:
    """The records by id of the crystals that join HSE06 so that it has 110, with the settings of the run.

    Candidates are compounds without spin that are in no test part of PBE: crystals of the sample with a PBE gap of at
    least 0.3 eV, and added ones that may have a gap, unless `gaps` has a smaller one. The first are those with the
    smallest estimated CPU seconds, divided by 1 + the number of elements with fewer than 4 training formulas in HSE06.

    Parameters
    ----------
    gaps : PBE gaps in eV by id, as far as they are known.
    """
    candidates = {
        id: record for id, record in _list_candidates(gaps).items() if gaps.get(id, SMALLEST_GAP) >= SMALLEST_GAP
    }
    counts = _count_hybrid_formulas()

    def rank(id: str) -> float:
        few = sum(counts[SYMBOLS[number]] < WANTED_FORMULAS for number in set(candidates[id]["numbers"]))
        return estimate_hybrid_seconds(candidates[id]) / (1 + few)

    order = sorted(candidates, key=lambda id: (rank(id), id))
    return {id: candidates[id] for id in order[: TOTAL - len(select_hybrids())]}


def _list_candidates(gaps: Mapping[str, float]) -> dict[str, Record]:
    """The records of the crystals that may join; of added ones without a known gap it counts as wide."""
    manifest = make_manifest()
    tested = {id for name in ("pbe", "ood") for id in manifest[name]["test"]}
    old = {id: record for id, record in load_structures().items() if not record["hse"] and id not in tested}
    new = {
        id: add_settings(record, narrow_gap=gaps.get(id, NARROW_GAP) < NARROW_GAP)
        for id, record in load_additions().items()
        if may_have_gap(record)
    }
    compounds = {id: record for id, record in (old | new).items() if len(set(record["numbers"])) > 1}
    return {id: make_hybrid_record(one) for id, one in compounds.items() if not one["start_magnetisation"]}


def make_hybrid_record(record: Mapping[str, Any]) -> Record:
    """The record with the settings of HSE06: fixed occupations, `hybrid_mesh`, the cutoff that its elements want."""
    cutoff = max(ECUTWFC[SYMBOLS[number]] for number in record["numbers"])
    mesh = hybrid_mesh(record["lattice"], has_narrow_gap(record))
    return {**record, "metal": False, "smearing": False, "ecutwfc_Ry": float(cutoff), "qmesh_hse": mesh}


def _count_hybrid_formulas() -> Counter[str]:
    facts, parts = describe_cells(), make_manifest()["hse"]["train"]
    formulas = {facts[id].formula: facts[id].elements for id in parts}
    return Counter(element for elements in formulas.values() for element in elements)


def read_known_gaps(additions: Path) -> dict[str, float]:
    """The PBE gaps in eV by id of the sample's crystals, and of added ones that are computed in a folder."""
    folders = (SAMPLE_FOLDER / "pbe.ecd", SAMPLE_FOLDER / "ood.ecd", additions / FINAL)
    return {id: gap for folder in folders for id, gap in read_column(folder, "gap_eV").items()}


def run_hybrids(out: Path, work: Path, processes: int = 1, pseudo: Path | None = None) -> RunReport:
    """A report of the computation of the joining crystals into `hse.ecd` in the folder of the added PBE densities.

    Added crystals whose PBE density is not there yet are left for a later call. The arguments are those of
    `run_additions`.
    """
    gaps = read_known_gaps(out)
    ready = {id: record for id, record in choose_hybrids(gaps).items() if id in gaps}
    order = {id: record for id, record in ready.items() if id not in list_finished(out / HYBRID_STORE)}
    hours = sum(map(estimate_hybrid_seconds, order.values())) / 3600
    print(f"{len(order)} crystals to compute with HSE06, about {hours:.1f} CPU hours")
    return run(ready, out / HYBRID_STORE, "hse", processes=processes, pseudo=pseudo, work=work)
