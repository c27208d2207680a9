"""The same budget of processor time for each network: errors on the parts of the sample, points a second, memory.

    python benchmarks/race.py [--minutes 20] [--models fourier_density charge3net ...] [--seeds 42 43 44]
                              [--atoms pair_density] [--processes 1] [--wall SECONDS] [--out runs/race] [--table]

Every network trains on one core on the sample's training crystals, as the difference to the same superposed atoms,
with errors relative to a crystal's mean density, element descriptors, a cosine schedule, clipping and an average of
weights. The steps are those that fit the budget: the processor time of a step is measured first; decoding the
densities, which every network needs once, is not part of the budget, validations are not either.

The training of each model and seed is a process of its own, which then predicts all test crystals on their full grids.
Trainings and crystals that are done are kept in --out, and the same command goes on with the others, also on another
machine. --wall ends everything after so many seconds: steps are then also bounded by the time that is left, and the
evaluation goes crystal by crystal through all parts in turn. --table only prints what is there.

A percentage is a mean over crystals of eps_mae with its spread over seeds; median and 90th percentile of all crystals
and seeds stand in brackets, and how many crystals were predicted where these are not all. Behind the steps stand the
seconds of a processor that the trainings took, decoding and validations included. Points a second are those of
one core's processor time for MgO (8 atoms) on a grid of 48^3, after the first use; MB are the largest of the training.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from predict import rock_salt

from ecd_models import load_model, predict, train
from ecd_models.evaluation.crystal_result import CrystalResult, evaluate_crystal
from ecd_models.evaluation.partial_results import PartialResults
from ecd_models.model import DensityModel
from ecd_models.task_data import TaskData, task_data
from ecd_models.training.config import TrainConfig, load_config

TASKS = ("pbe", "ood")
FIRST, TRIAL = 10, 40  # steps that are not timed, since they decode densities and compile; steps that are
SPEED_GRID, REPEATS = (48, 48, 48), 3
MARGIN = 40.0  # seconds before the end that training leaves: densities are decoded before it, saving comes after it
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MODELS = ("fourier_density", "charge3net", "deepdft", "invcharge3net", "invdeepdft")


@dataclass(frozen=True)
class Entry:
    """A model with its seed, its budget in seconds of a processor, and the time.time() by which all has to end."""

    model: str
    seed: int
    budget: float
    atoms: str
    out: Path
    until: float

    @property
    def folder(self) -> Path:
        """The folder of its run and its results."""
        return self.out / f"{self.model}-{self.seed}-{self.budget:.0f}"

    def config(self, steps: int, folder: Path) -> TrainConfig:
        """The settings of a run: the recipe of the shipped file, with these steps."""
        shipped = EXAMPLES / "recipes/shipped"
        files = [shipped / "tasks/pbe.toml", shipped / f"models/{self.model}.toml"]
        if self.model == "fourier_density":
            files = [EXAMPLES / "fourier_density_sample.toml"]
        every = max(1, steps // 16)
        own = {"out": str(folder), "seed": self.seed, "steps": steps, "atoms": self.atoms, "validate_every": every}
        return replace(load_config(*files), **own, save_every=0)


def seconds_per_step(entry: Entry) -> tuple[float, float]:
    """Processor time and wall time of a step after the first ones, which decode the densities."""
    folder, times = entry.folder / "trial", []
    shutil.rmtree(folder, ignore_errors=True)
    config = replace(entry.config(FIRST + TRIAL, folder), fraction=0.15, validate_every=FIRST + TRIAL)
    train(config, lambda progress: times.append((time.process_time(), time.time())))
    shutil.rmtree(folder, ignore_errors=True)
    processor, wall = (np.array(times[-2]) - times[FIRST - 1]) / (len(times) - 1 - FIRST)
    return float(processor), float(wall)


def train_entry(entry: Entry) -> None:
    """Train an entry and write training.json: steps, times, parameters, memory in MB, points a second."""
    processor, wall = seconds_per_step(entry)
    left = (entry.until - time.time() - MARGIN) / wall
    steps = max(20, int(min(entry.budget / processor, left)))
    shutil.rmtree(entry.folder, ignore_errors=True)
    start = time.process_time()
    train(entry.config(steps, entry.folder))
    found: dict[str, Any] = {"steps": steps, "ms": 1000 * processor, "seconds_in_all": time.process_time() - start}
    found["memory_MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    model = load_model(entry.folder / "best.safetensors")
    found["parameters"] = sum(weight.numel() for weight in model.parameters())
    found["points_per_second"] = measure_speed(model)
    (entry.folder / "training.json").write_text(json.dumps(found, indent=1))


def measure_speed(model: DensityModel) -> float:
    """Points of MgO predicted in a second of a processor."""
    times, crystal = [], rock_salt((1, 1, 1))
    predict(model, crystal, shape=(12, 12, 12))
    for _ in range(REPEATS):
        start = time.process_time()
        predict(model, crystal, shape=SPEED_GRID)
        times.append(time.process_time() - start)
    return float(np.prod(SPEED_GRID) / min(times))


def evaluate_entry(entry: Entry) -> None:
    """Predict the test crystals that are left, a crystal of each part in turn, until the time ends."""
    model = load_model(entry.folder / "best.safetensors")
    data = {task: task_data(task) for task in TASKS}
    kept = {task: open_results(entry, task) for task in TASKS}
    for task, id in take_in_turn(data):
        if time.time() > entry.until:
            break
        if id not in kept[task].crystals:
            kept[task].add(evaluate_crystal(model, data[task].store, id))
    for results in kept.values():
        results.close()


def open_results(entry: Entry, task: str) -> PartialResults:
    """The crystals of a task that an entry has predicted, to which others are added."""
    return PartialResults(entry.folder / f"{task}.jsonl", {"model": entry.model, "seed": entry.seed, "task": task})


def read_results(entry: Entry, task: str) -> dict[str, CrystalResult]:
    """The same crystals by id, without touching the file, which another process may be writing."""
    path = entry.folder / f"{task}.jsonl"
    lines = path.read_text().split("\n")[1:-1] if path.exists() else []
    return {result.id: result for result in map(CrystalResult.model_validate_json, lines)}


def list_parts(data: dict[str, TaskData]) -> dict[str, tuple[str, list[str]]]:
    """The task and the ids of each test part."""
    return {
        part.removeprefix("test_"): (task, ids)
        for task, of_task in data.items()
        for part, ids in of_task.parts.items()
        if part.startswith("test_") and ids
    }


def take_in_turn(data: dict[str, TaskData]) -> Iterator[tuple[str, str]]:
    """Tasks and ids, one of each part after another."""
    columns = [[(task, id) for id in ids] for task, ids in list_parts(data).values()]
    for turn in zip_longest(*columns):
        yield from (pair for pair in turn if pair is not None)


def run(entry: Entry) -> None:
    """Do what is left of an entry's training and evaluation."""
    torch.set_num_threads(1)
    if not (entry.folder / "training.json").exists():
        train_entry(entry)
    evaluate_entry(entry)


def row(model: str, entries: list[Entry], parts: dict[str, tuple[str, list[str]]]) -> str:
    """A row of the table from the results of a model's seeds that are there."""
    entries = [entry for entry in entries if (entry.folder / "training.json").exists()]
    if not entries:
        return f"| {model} | not trained yet |"
    trained = [json.loads((entry.folder / "training.json").read_text()) for entry in entries]
    results = [{task: read_results(entry, task) for task in TASKS} for entry in entries]
    cells = [f"{model}, {len(entries)} seeds"]
    cells += [cell([by_task[task] for by_task in results], ids) for task, ids in parts.values()]
    steps, ms = (np.mean([found[key] for found in trained]) for key in ("steps", "ms"))
    least, most = (pick(found["seconds_in_all"] for found in trained) for pick in (min, max))
    cells.append(f"{steps:,.0f} of {ms:.0f} ms; {least:.0f} to {most:.0f} s")
    cells.append(f"{np.mean([found['points_per_second'] for found in trained]):,.0f}")
    cells.append(f"{np.max([found['memory_MB'] for found in trained]):,.0f}")
    return "| " + " | ".join(cells) + " |"


def cell(results: list[dict[str, CrystalResult]], ids: list[str]) -> str:
    """Mean of a part with its spread over seeds, median and 90th percentile, of the crystals that all seeds have."""
    common = [id for id in ids if all(id in crystals for crystals in results)]
    if not common:
        return ""
    errors = np.array([[crystals[id].eps_mae_percent for id in common] for crystals in results])
    means = errors.mean(axis=1)
    text = f"{means.mean():.2f} ± {means.std():.2f} ({np.median(errors):.2f}, {np.percentile(errors, 90):.2f})"
    return text if len(common) == len(ids) else f"{text}, {len(common)} of {len(ids)}"


def print_table(entries: list[Entry], minutes: float) -> None:
    """Print the table of what is there."""
    parts = list_parts({task: task_data(task) for task in TASKS})
    print(f"{minutes:.3g} minutes of one core; eps_mae in %: mean ± spread over seeds (median, 90th percentile)\n")
    print("| model | " + " | ".join(parts) + " | steps | points/s | MB |")
    print("|" + "---|" * (len(parts) + 4))
    for model in dict.fromkeys(entry.model for entry in entries):
        print(row(model, [entry for entry in entries if entry.model == model], parts), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="Processor time of each training.")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--atoms", default="pair_density", help="Superposed atoms that all start from.")
    parser.add_argument("--processes", type=int, default=1, help="Trainings at the same time, one core each.")
    parser.add_argument("--wall", type=float, default=float("inf"), help="Seconds after which everything ends.")
    parser.add_argument("--out", type=Path, default=Path("runs/race"))
    parser.add_argument("--table", action="store_true", help="Print the table of the results that are there.")
    options = parser.parse_args()
    until = time.time() + options.wall
    entries = [
        Entry(model, seed, 60 * options.minutes, options.atoms, options.out, until)
        for seed in options.seeds
        for model in options.models
    ]
    if not options.table:
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
        with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
            for done in [pool.submit(run, entry) for entry in entries]:
                done.result()
    print_table(entries, options.minutes)


if __name__ == "__main__":
    main()
