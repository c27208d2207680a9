"""Added crystals whose densities are computed join the sample: `python -m ecd_data.sample.recipe --join DIR`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ecd_data.sample.addition_runs import FINAL
from ecd_data.sample.additions import JOINED, add_settings, load_joined, make_addition_cells
from ecd_data.sample.cells import parent_of
from ecd_data.sample.meshes import NARROW_GAP
from ecd_data.sample.split import (
    MIN_OTHERS,
    describe_additions,
    describe_cells,
    find_rare_elements,
    make_manifest,
    plan_additions,
    write_manifest,
)
from ecd_data.sample.table import SAMPLE_FOLDER
from ecd_data.store import open_store
from ecd_data.store.copy import copy_crystals
from ecd_data.store.reader import Store

Record = dict[str, Any]


@dataclass(frozen=True)
class JoinReport:
    """The crystals that joined, and those that are computed but have to wait, with the reason.

    Attributes
    ----------
    joined : the ids of the crystals that joined now.
    waiting : the reason by id.
    cells : the number of cells of the joined crystals.
    """

    joined: list[str]
    waiting: dict[str, str]
    cells: int

    def __str__(self) -> str:
        lines = [f"{len(self.joined)} crystals with {self.cells} cells, {len(self.waiting)} wait"]
        return "\n".join([*lines, *(f"{id} waits: {reason}" for id, reason in self.waiting.items())])


def join_additions(folder: Path, sample: Path = SAMPLE_FOLDER) -> JoinReport:
    """A JoinReport, after the computed crystals of a folder joined the sample with all their cells.

    Their densities are appended to pbe.ecd, joined.json lists them, and splits.json is written anew. A crystal waits
    while one of its cells is not computed, or has a narrow gap on the mesh for wider ones; one for
    validation_compositions waits while one of its elements trains in too few formulas.

    Parameters
    ----------
    folder : the folder of `run_additions`.
    sample : the folder of the sample's stores and lists.
    """
    computed, joined = open_store(folder / FINAL), load_joined()
    groups: dict[str, dict[str, Record]] = {}
    for id, cell in make_addition_cells().items():
        groups.setdefault(parent_of(id), {})[id] = cell
    new, waiting = dict[str, bool](), dict[str, str]()
    for parent, cells in groups.items():
        if parent in joined or not any(id in computed for id in cells):
            continue
        reason = find_hindrance(computed, cells)
        if reason:
            waiting[parent] = reason
        else:
            new[parent] = has_narrow_mesh(computed.meta(parent), cells[parent])
    for parent, reason in find_early_validation(new).items():
        waiting[parent] = reason
        del new[parent]
    ids = [id for parent in new for id in groups[parent]]
    # byte for byte, as errors of encoding again would add up
    rows = [computed.ids.index(id) for id in ids]
    copy_crystals([(computed, pa.array(rows, pa.int64()))], sample / "pbe.ecd", what="joining")
    lines = [f" {json.dumps(id)}: {json.dumps(narrow)}" for id, narrow in (joined | new).items()]
    (sample / JOINED).write_text("{\n" + ",\n".join(lines) + "\n}\n")
    write_manifest(sample / "splits.json")
    return JoinReport(list(new), waiting, len(ids))


def find_hindrance(computed: Store, cells: Mapping[str, Record]) -> str | None:
    """The reason why a crystal cannot join, whose cells are given by id with the settings of a first run; or None."""
    missing = [id for id in cells if id not in computed]
    if missing:
        return f"not computed: {', '.join(missing)}"
    for id, cell in cells.items():
        meta = computed.meta(id)
        gap = meta["properties"]["gap_eV"]
        if gap < NARROW_GAP and not has_narrow_mesh(meta, cell):
            return f"{id} has a gap of {gap:.2f} eV on the mesh for wider ones: compute its crystal again"
    return None


def find_early_validation(crystals: Iterable[str]) -> dict[str, str]:
    """The reason why a crystal cannot validate yet by id, of those that are to join together.

    Each element of a crystal in validation_compositions must train in two or more formulas, as the part promises.
    """
    planned, cells, added = plan_additions(), describe_cells(), describe_additions()
    train = {cells[id].formula for id in make_manifest()["pbe"]["train"]}
    train |= {added[id].formula for id in crystals if planned[id] == "train"}
    rare = {
        id: find_rare_elements(added[id].formula, train) for id in crystals if planned[id] == "validation_compositions"
    }
    return {
        id: f"it validates, and fewer than {MIN_OTHERS} formulas with {', '.join(sorted(elements))} train yet"
        for id, elements in rare.items()
        if elements
    }


def has_narrow_mesh(meta: Mapping[str, Any], cell: Record) -> bool:
    """Whether a cell with this metadata was computed on the mesh for metals and narrow gaps."""
    return list(meta["settings"]["kmesh"]) == add_settings(cell, narrow_gap=True)["kmesh"]
