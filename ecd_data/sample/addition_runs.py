"""The computation of the added crystals: their order, and runs into a store that can be continued.

A crystal that may have a gap runs first on the mesh for gaps above 1 eV; if its gap is smaller, it runs again on the
mesh for narrow gaps. `python -m ecd_data.sample.recipe --add DIR` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecd_data.dft import RunReport, run
from ecd_data.sample.additions import add_settings, make_addition_cells, make_joined_cells
from ecd_data.sample.cells import parent_of
from ecd_data.sample.costs import estimate_seconds
from ecd_data.sample.meshes import NARROW_GAP
from ecd_data.sample.table import read_column
from ecd_data.store import open_store

FINAL = "pbe.ecd"
FIRST = "gaps.ecd"  # the first runs, which only tell the gaps
BATCH = 10  # cells between the first and the second run of the same cells

Record = dict[str, Any]


def order_cells(cells: Mapping[str, Record]) -> list[str]:
    """The ids of the cells in the order of their runs: the cheapest first, displaced cells not before their crystals.

    Estimated are the CPU seconds on the mesh for narrow gaps, which most crystals turn out to want.
    """
    seconds = {id: estimate_seconds(add_settings(cell, narrow_gap=True)) for id, cell in cells.items()}
    return sorted(cells, key=lambda id: (max(seconds[id], seconds[parent_of(id)]), id != parent_of(id), id))


def run_additions(
    out: Path,
    work: Path,
    processes: int = 1,
    pseudo: Path | None = None,
    cells: Mapping[str, Record] | None = None,
) -> RunReport:
    """A report of the computation of the added cells into `pbe.ecd` in a folder; a second call continues.

    Parameters
    ----------
    out : folder for the stores.
    work : folder that keeps the engine's files; the second runs read there what the first ones computed.
    processes : number of engine runs at the same time.
    pseudo : folder of the pseudopotentials, as in `ecd_data.dft.setup`.
    cells : the cells by id, by default all.
    """
    cells = make_addition_cells() if cells is None else cells
    done = list_finished(out / FINAL) | make_joined_cells().keys()
    order = [id for id in order_cells(cells) if id not in done]
    hours = sum(estimate_seconds(cells[id]) for id in order) / 3600
    print(f"{len(order)} of {len(cells)} cells to compute, about {hours:.1f} CPU hours, more where gaps are below 1 eV")
    options: dict[str, Any] = {"processes": processes, "pseudo": pseudo, "work": work}
    report = RunReport(present=[id for id in cells if id not in set(order)])
    for start in range(0, len(order), BATCH):
        _run_batch({id: cells[id] for id in order[start : start + BATCH]}, out, report, options)
    return report


def _run_batch(cells: Mapping[str, Record], out: Path, report: RunReport, options: dict[str, Any]) -> None:
    """Compute some cells: first those whose gap is not known, then all on the meshes that their gaps want."""
    first = {id: cell for id, cell in cells.items() if parent_of(id) == id and not cell["narrow_gap"]}
    if first:
        _count(report, run(first, out / FIRST, **options), kept=False)
    narrow = dict.fromkeys(list_finished(out / FIRST), 0.0)  # unless there is a gap: levels may not have converged
    final = choose_final_meshes(cells, narrow | read_column(out / FIRST, "gap_eV"))
    for id in cells.keys() - final.keys() - report.failures.keys():
        report.failures[id] = f"{id}: the gap of {parent_of(id)} is not known, since its run failed"
    if final:
        _count(report, run(final, out / FINAL, **options), kept=True)


def choose_final_meshes(cells: Mapping[str, Record], gaps: Mapping[str, float]) -> dict[str, Record]:
    """The cells with the meshes that the gaps of their crystals want; those of crystals without a gap are left out.

    Parameters
    ----------
    cells : cells by id, with the settings of their first run.
    gaps : PBE gaps in eV of the crystals that may have one, by id.
    """
    final = {}
    for id, cell in cells.items():
        parent = parent_of(id)
        if cell["narrow_gap"]:
            final[id] = cell
        elif parent in gaps:
            final[id] = add_settings(cell, narrow_gap=gaps[parent] < NARROW_GAP)
    return final


def list_finished(store: Path) -> set[str]:
    """The ids in a store; none if it does not exist yet."""
    return set(open_store(store).ids) if (store / "index.parquet").exists() else set()


def _count(report: RunReport, part: RunReport, kept: bool) -> None:
    """Add what a part of the runs did to the report; the ids count as done only if their densities are kept."""
    report.cpu_seconds += part.cpu_seconds
    report.failures |= part.failures
    report.retried |= part.retried
    if kept:
        report.done += part.done
