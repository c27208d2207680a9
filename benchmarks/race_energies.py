"""Errors of total energies at fixed density for the entries of the race, with pw.x: what `ecd scf energies` measures.

A crystal is the unit of work: its self-consistent reference is computed once, then every entry that lacks the crystal
has its turn. Runs of pw.x that are done stay in the work folder, and what an entry is off by in its energies.json, a
file that `ecd scf table` reads.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch
from race_training import Entry, silence_warnings

from ecd_data.dft.settings import Job
from ecd_data.errors import UsageError
from ecd_data.io.atomic_write import write_json
from ecd_data.release.formula import reduce_formula
from ecd_models import load_model
from ecd_models.scf.bench import ATOMS, ORACLE
from ecd_models.scf.crystal_loop import Report
from ecd_models.scf.energies import CrystalEnergies, run_energies
from ecd_models.scf.energy_table import read_energy_report
from ecd_models.scf.jobs import make_scf_jobs
from ecd_models.scf.starts import model_start
from ecd_models.task_data import TaskData

COST = "cpu_seconds"  # in the index of a store: what pw.x took for the density


def choose_crystals(data: TaskData, part: str, count: int) -> list[str]:
    """The first `count` ids of a part: the cheapest cell of each compound, cheapest first; then their second cells.

    The cost is the processor time that the stored density took. Raises UsageError where the store has no such times.
    """
    rows = data.store.index.set_index("id").loc[data.ids(part)]
    if COST not in rows or rows[COST].isna().any():
        raise UsageError(f"{data.store.root} has no times of pw.x for {part}: --energies is for such densities")
    cells: dict[str, int] = {}
    order = []
    for cost, id in sorted(zip(rows[COST].tolist(), rows.index, strict=True)):
        compound = reduce_formula(rows["formula"][id])
        cells[compound] = cells.get(compound, -1) + 1
        order.append((cells[compound], cost, id))
    return [id for _, _, id in sorted(order)[:count]]


def read_energies(entry: Entry) -> dict[str, CrystalEnergies]:
    """The energies that an entry has, by id."""
    file = entry.folder / "energies.json"
    return {c.id: c for c in read_energy_report(json.loads(file.read_text()))} if file.exists() else {}


def energy_error(entry: Entry, crystal: CrystalEnergies) -> float:
    """The absolute error of the energy that an entry's density gives, in meV an atom."""
    return 1000 * abs(crystal.errors[entry.folder.name].energy_eV_atom)


def add_energies(
    entries: Sequence[Entry], chosen: Sequence[tuple[str, str]], work: Path, processes: int, until: float
) -> None:
    """Compute the energies that trained entries lack, of the given tasks and ids, and keep them with the entry.

    What fails is printed, and tried again by the next call.
    """
    trained = [entry for entry in entries if entry.record.exists()]
    kept = {entry.folder: read_energies(entry).keys() for entry in trained}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        todo = []
        for task, id in chosen:
            if missing := [entry for entry in trained if id not in kept[entry.folder]]:
                (job,) = make_scf_jobs([task], ids=[id])
                todo.append(pool.submit(measure_crystal, job, missing, work, until))
        for done in as_completed(todo):
            keep_energies(trained, done.result())


def measure_crystal(job: Job, entries: Sequence[Entry], work: Path, until: float) -> Report[CrystalEnergies]:
    """The energies of a crystal from the density of each entry; nothing after the end of the time."""
    if time.time() > until:
        return Report()
    torch.set_num_threads(1)
    silence_warnings()
    starts = {entry.folder.name: model_start(entry.folder.name, load_model(entry.checkpoint)) for entry in entries}
    return run_energies([job], starts, work=work)


def keep_energies(entries: Sequence[Entry], report: Report[CrystalEnergies]) -> None:
    """Add the crystals of a report to the file of each entry that has its part in them, and print what failed."""
    for id, reason in report.failed.items():
        print(f"no energy of {id}: {reason}", file=sys.stderr)
    for crystal in report.crystals:
        for name, reason in crystal.failed.items():
            print(f"no energy of {crystal.id} from {name}: {reason}", file=sys.stderr)
        for entry in entries:
            name = entry.folder.name
            if name in crystal.errors:
                shown = {key: error for key, error in crystal.errors.items() if key in (ATOMS, ORACLE, name)}
                own = read_energies(entry) | {crystal.id: replace(crystal, errors=shown, failed={})}
                kept = [of_id.to_dict() for of_id in own.values()]
                write_json(entry.folder / "energies.json", {"crystals": kept, "failed": {}})
        print(f"energies of {crystal.id}: {', '.join(crystal.errors)}", flush=True)
