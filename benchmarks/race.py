"""The same budget of processor time for each network: errors on the parts of the sample, points a second, memory.

    python benchmarks/race.py [--minutes 20] [--models fourier_density charge3net deepdft] [--seeds 42 43 44]
                              [--atoms pair_density] [--limit N] [--out runs/race]

Every network trains on one core on the sample's training crystals, as the difference to the same superposed atoms,
with errors relative to a crystal's mean density, element descriptors, a cosine schedule, clipping and an average of
weights. The steps are those that fit the budget: the processor time of a step is measured first. The training of each
model and seed, and its evaluation, run in a process of their own; a run that is there is not repeated, so a race can
be continued. Memory is the largest of that process. A percentage is a mean over crystals of eps_mae; median and the
90th percentile stand beside it.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecd_models import evaluate, load_model, train
from ecd_models.report.shipped import PARTS as TASKS
from ecd_models.training.config import TrainConfig

PARTS = tuple((task, part) for part, task in TASKS.items())
FIRST, TRIAL = 10, 40  # steps that are not timed, since they decode densities and compile; steps that are
COMMON: dict[str, Any] = {
    "task": "pbe",
    "difference": True,
    "relative_loss": True,
    "schedule": "cosine",
    "warmup_steps": 50,
    "clip_norm": 1.0,
    "ema": 0.999,
    "threads": 1,
    "save_every": 0,
}
# The recipes of examples/recipes/sample: learning rate, batch, probes and sizes of each network.
RECIPES: dict[str, dict[str, Any]] = {
    "fourier_density": {"whole_grids": True, "lr": 0.003, "batch_size": 4, "weight_decay": 0.1, "options": {}},
    "charge3net": {
        "lr": 0.005,
        "batch_size": 4,
        "probes": 50,
        "options": {"mul": 100, "lmax": 3, "cutoff": 3.5, "species": "descriptors"},
    },
    "deepdft": {
        "lr": 0.002,
        "batch_size": 4,
        "probes": 50,
        "options": {"hidden_state_size": 64, "cutoff": 3.5, "species": "descriptors"},
    },
}


@dataclass(frozen=True)
class Entry:
    """A model with its seed and budget in seconds of a processor."""

    model: str
    seed: int
    budget: float
    atoms: str
    folder: Path
    limit: int | None

    def config(self, steps: int, out: Path) -> TrainConfig:
        """The settings of a run."""
        settings = COMMON | RECIPES[self.model]
        every = {"validate_every": max(1, steps // 10)}
        return TrainConfig(
            out=str(out), model=self.model, seed=self.seed, steps=steps, atoms=self.atoms, **settings | every
        )


def seconds_per_step(entry: Entry) -> float:
    """The processor time of a step after the first ones, which decode the densities."""
    torch.set_num_threads(1)
    folder, times = entry.folder / "trial", []
    shutil.rmtree(folder, ignore_errors=True)
    config = replace(entry.config(FIRST + TRIAL, folder), fraction=0.15, validation_crystals=1)
    train(config, lambda progress: times.append(time.process_time()))
    shutil.rmtree(folder, ignore_errors=True)
    return (times[-2] - times[FIRST]) / (len(times) - 2 - FIRST)


def run(entry: Entry) -> dict[str, Any]:
    """Errors in percent by part, points a second, memory in MB, steps and parameters of an entry."""
    torch.set_num_threads(1)
    out = entry.folder / f"{entry.model}-{entry.seed}-{entry.budget:.0f}"
    result = out / "race.json"
    if result.exists():
        return json.loads(result.read_text())
    step = seconds_per_step(entry)
    steps = max(20, int(entry.budget / step))
    shutil.rmtree(out, ignore_errors=True)
    train(entry.config(steps, out))
    trained = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    model = load_model(out / "best.safetensors")
    found: dict[str, Any] = {"steps": steps, "ms": 1000 * step, "memory_MB": trained}
    found["parameters"] = sum(weight.numel() for weight in model.parameters())
    points = used = 0.0
    for task, part in PARTS:
        start = time.process_time()
        judged = evaluate(model, task, part=part, limit=entry.limit)
        used, points = used + time.process_time() - start, points + sum(c.points for c in judged.crystals)
        found[part] = [crystal.eps_mae_percent for crystal in judged.crystals]
    found["points_per_second"] = points / used
    result.write_text(json.dumps(found))
    return found


def in_process(entry: Entry) -> dict[str, Any]:
    """`run` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, entry).result()


def row(model: str, runs: list[dict[str, Any]]) -> str:
    """A row of the table: each part's mean with its spread over seeds, median and 90th percentile."""
    cells = [model]
    for _, part in PARTS:
        means = [float(np.mean(found[part])) for found in runs]
        every = np.concatenate([found[part] for found in runs])
        cells.append(
            f"{np.mean(means):.2f} ± {np.std(means):.2f} ({np.median(every):.2f}, {np.percentile(every, 90):.2f})"
        )
    cells.append(f"{np.mean([found['steps'] for found in runs]):,.0f} of {np.mean([f['ms'] for f in runs]):.0f} ms")
    cells.append(f"{np.mean([found['points_per_second'] for found in runs]):,.0f}")
    cells.append(f"{np.max([found['memory_MB'] for found in runs]):,.0f}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--models", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--atoms", default="pair_density")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path("runs/race"))
    options = parser.parse_args()
    parts = " | ".join(part.removeprefix("test_") for _, part in PARTS)
    print(
        f"{options.minutes:g} minutes of one core, {len(options.seeds)} seeds; mean ± spread over seeds (median, p90)"
    )
    print(f"| model | {parts} | steps | points/s with evaluation | MB |")
    print("|" + "---|" * 8)
    for model in options.models:
        runs = []
        for seed in options.seeds:
            entry = Entry(model, seed, 60 * options.minutes, options.atoms, options.out, options.limit)
            runs.append(in_process(entry))
        print(row(model, runs), flush=True)


if __name__ == "__main__":
    main()
