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
    """The cells that joined, and the crystals whose computed cells have to wait, with the reason.

    Attributes
    ----------
    joined : the ids of the cells that joined now.
    waiting : the reason by id of the crystal.
    """

    joined: list[str]
    waiting: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{len(self.joined)} cells, {len(self.waiting)} crystals wait"]
        return "\n".join([*lines, *(f"{id} waits: {reason}" for id, reason in self.waiting.items())])


def join_additions(folder: Path, sample: Path = SAMPLE_FOLDER) -> JoinReport:
    """A JoinReport, after the computed cells of a folder joined the sample.

    Their densities are appended to pbe.ecd, joined.json lists them, and splits.json is written anew. Displaced cells
    may join after their crystal. The cells of a crystal wait while it is not computed itself, or while one of them has
    a narrow gap on the mesh for wider ones; those of a crystal for validation_compositions wait while one of its
    elements trains in too few formulas.

    Parameters
    ----------
    folder : the folder of `run_additions`.
    sample : the folder of the sample's stores and lists.
    """
    computed, joined = open_store(folder / FINAL), load_joined()
    groups: dict[str, dict[str, Record]] = {}
    for id, cell in make_addition_cells().items():
        if id in computed and id not in joined:
            groups.setdefault(parent_of(id), {})[id] = cell
    waiting = {parent: find_hindrance(computed, parent, cells, joined) for parent, cells in groups.items()}
    waiting = {parent: reason for parent, reason in waiting.items() if reason}
    waiting |= find_early_validation(groups.keys() - waiting.keys() - joined.keys())
    cells = {id: parent for parent, one in groups.items() if parent not in waiting for id in one}
    new = {id: joined.get(parent, wants_narrow_mesh(computed, groups[parent])) for id, parent in cells.items()}
    # byte for byte, as errors of encoding again would add up
    rows = [computed.ids.index(id) for id in new]
    copy_crystals([(computed, pa.array(rows, pa.int64()))], sample / "pbe.ecd", what="joining")
    lines = [f" {json.dumps(id)}: {json.dumps(narrow)}" for id, narrow in (joined | new).items()]
    (sample / JOINED).write_text("{\n" + ",\n".join(lines) + "\n}\n")
    write_manifest(sample / "splits.json")
    return JoinReport(list(new), waiting)


def find_hindrance(computed: Store, parent: str, cells: Mapping[str, Record], joined: Mapping[str, bool]) -> str:
    """The reason why computed cells of the crystal `parent` cannot join, or "".

    Parameters
    ----------
    computed : their store.
    cells : the cells by id, with the settings of a first run.
    joined : whether the mesh is that for narrow gaps, by id of the cells that have joined.
    """
    if parent not in joined and parent not in cells:
        return f"not computed, as its {', '.join(cells)}"
    gaps = {id: read_gap(computed, id) for id in cells}
    smallest = min(gaps, key=lambda id: gaps[id])
    narrow = joined.get(parent, wants_narrow_mesh(computed, cells))
    if gaps[smallest] < NARROW_GAP and not (narrow and have_mesh(computed, cells, narrow)):
        return f"{smallest} has a gap of {gaps[smallest]:.2f} eV on the mesh for wider ones: compute its crystal again"
    if not have_mesh(computed, cells, narrow):
        return f"{', '.join(cells)} and {parent} have meshes of two rules: compute them again"
    return ""


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


def wants_narrow_mesh(computed: Store, cells: Mapping[str, Record]) -> bool:
    """Whether cells by id belong on the mesh for narrow gaps: one of them has such a gap, or they are on no other."""
    narrow_gap = any(read_gap(computed, id) < NARROW_GAP for id in cells)
    return narrow_gap or not have_mesh(computed, cells, narrow=False)


def read_gap(computed: Store, id: str) -> float:
    """The PBE gap of a cell in eV; 0 where its levels did not converge, so that it gets the mesh for narrow gaps."""
    return float(computed.meta(id)["properties"].get("gap_eV", 0.0))


def have_mesh(computed: Store, cells: Mapping[str, Record], narrow: bool) -> bool:
    """Whether all these cells by id were computed on the mesh for narrow gaps, or on that for wider ones."""
    wanted = {id: add_settings(cell, narrow)["kmesh"] for id, cell in cells.items()}
    return all(list(computed.meta(id)["settings"]["kmesh"]) == kmesh for id, kmesh in wanted.items())
