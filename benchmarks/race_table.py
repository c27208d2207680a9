"""The table of the race as Markdown, from the results that its entries have so far."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from race_energies import energy_error, read_energies
from race_evaluation import TASKS, Parts, read_results
from race_training import Entry

from ecd_models.scf.energies import CrystalEnergies
from ecd_models.training.choose_atoms import PAIR_MODEL

Errors = Mapping[str, float]  # of one entry by id


def format_table(entries: Sequence[Entry], parts: Parts, energies: Sequence[str] = ()) -> str:
    """A row for each model; energies: the ids of the crystals whose energies are in the table, none for no columns."""
    head = ["model", *parts, "steps", "points/s", "MB"]
    if energies:
        head += ["energy, meV/atom", "of metals with semicore states"]
    rows = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for model in dict.fromkeys(entry.model for entry in entries):
        trained = [entry for entry in entries if entry.model == model and entry.record.exists()]
        cells = _row(model, trained, parts, energies) if trained else [f"{model} | not trained yet"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _row(model: str, entries: Sequence[Entry], parts: Parts, energies: Sequence[str]) -> list[str]:
    """The cells of a model from the entries of its seeds."""
    records = [json.loads(entry.record.read_text()) for entry in entries]
    results = [{task: read_results(entry, task) for task in TASKS} for entry in entries]
    seeds = f"{len(entries)} seed{'s' * (len(entries) > 1)}"
    cells = [model if model == PAIR_MODEL else f"{model}, {seeds}"]
    for task, ids in parts.values():
        errors = [{id: result.eps_mae_percent for id, result in of_entry[task].items()} for of_entry in results]
        cells.append(format_errors(errors, ids, missing=True))
    cells += _costs(model, records)
    if energies:
        found = [read_energies(entry) for entry in entries]
        apart = {c.id for of_entry in found for c in of_entry.values() if has_semicore_states(c)}
        errors = [
            {id: energy_error(entry, c) for id, c in of_entry.items()}
            for entry, of_entry in zip(entries, found, strict=True)
        ]
        for ids in ([id for id in energies if id not in apart], [id for id in energies if id in apart]):
            cells.append(format_errors(errors, ids, missing=False))
    return cells


def _costs(model: str, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Steps with their times, points a second and memory; a pair model that was given has no times of a fit."""
    speed = f"{np.mean([record['points_per_second'] for record in records]):,.0f}"
    if "seconds_in_all" not in records[0]:
        return ["given", speed, ""]
    times = [record["seconds_in_all"] for record in records]
    memory = f"{np.max([record['memory_MB'] for record in records]):,.0f}"
    steps = f"{np.mean([record['steps'] for record in records]):,.0f}"
    if model == PAIR_MODEL:
        return [f"fit of {steps} passes; {times[0]:.0f} s", speed, memory]
    ms = np.mean([record["ms"] for record in records])
    return [f"{steps} of {ms:.0f} ms; {min(times):.0f} to {max(times):.0f} s", speed, memory]


def has_semicore_states(crystal: CrystalEnergies) -> bool:
    """Whether a crystal has no gap and a pseudopotential with more than 8 electrons: the group of docs/scf.md."""
    return crystal.metal and bool(crystal.semicore)


def format_errors(errors: Sequence[Errors], ids: Sequence[str], missing: bool) -> str:
    """Mean over crystals with its spread over seeds, median and 90th percentile, of the crystals that all seeds have.

    missing: say how many crystals these are only where some are missing; else always.
    """
    common = [id for id in ids if all(id in of_entry for of_entry in errors)]
    if not common:
        return ""
    values = np.array([[of_entry[id] for id in common] for of_entry in errors])
    means = values.mean(axis=1)
    spread = f" ± {means.std():.2f}" if len(means) > 1 else ""
    text = f"{means.mean():.2f}{spread} ({np.median(values):.2f}, {np.percentile(values, 90):.2f})"
    if missing:
        return text if len(common) == len(ids) else f"{text}, {len(common)} of {len(ids)}"
    return f"{text}, {len(common)} crystals"
