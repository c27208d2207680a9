"""fourier_density against variants of itself, under the rules of `race.py`: one budget, one start, the same data.

    python benchmarks/fourier_variants.py [--minutes 6.0833] [--variants element_tables ...] [--seeds 42 43 44]
                                          [--processes 1] [--parts validation_geometries ...] [--atoms pair_density]
                                          [--out runs/variants] [--table] [--figure FILE.png]

A budget in minutes is processor time; the steps are those that fit, from the time of a step that is measured first.
Choose by the parts of validation; `--parts` with those of the tests is for the choice that is made. Trainings and
errors that are there are kept in --out, and the same command goes on with the others. After a change of the sample
results on other densities are refused.

The table has the mean eps_mae of each part in %, mean ± spread over seeds, the figure each seed. --table only prints
what is there.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from race_evaluation import TASKS, describe_data, open_tasks
from race_training import Entry, keep_data_facts, train_entry
from variant_networks import NETWORKS

from ecd_data.errors import EcdError
from ecd_models import load_model, predict
from ecd_models.metrics import eps_mae
from ecd_models.networks import MODELS
from ecd_models.task_data import TaskData, task_data
from ecd_models.training.config import TrainConfig

MODELS.update(NETWORKS)
# What each variant changes in the configuration of fourier_density.
VARIANTS: dict[str, dict[str, Any]] = {
    "fourier_density": {},
    "element_tables": {"options": {"element_tables": True}},
    "floating_centres": {"model": "floating_centres"},
    "products": {"model": "products"},
    "rms_loss": {"loss": "rms"},
    "mse_loss": {"loss": "mse"},
    "probes": {"whole_grids": False, "probes": 200},
}
VALIDATION = ("validation_geometries", "validation_compositions")


class VariantEntry(Entry):
    """An entry whose model is the name of a variant."""

    def config(self, steps: int, folder: Path) -> TrainConfig:
        """The recipe of fourier_density with what the variant changes."""
        recipe = Entry("fourier_density", self.seed, self.budget, self.atoms, self.out, self.until)
        return replace(recipe.config(steps, folder), **VARIANTS[self.model])


# By variant, each entry and its mean error in % of each part.
Means = dict[str, list[tuple[VariantEntry, list[float]]]]


def run(entry: VariantEntry, parts: list[str]) -> None:
    """Do what is left of an entry's training, and predict the crystals of the parts that are left."""
    torch.set_num_threads(1)
    if not (entry.folder / "training.json").exists():
        train_entry(entry)
    file, errors = entry.folder / "errors.json", read_errors(entry)
    model = load_model(entry.folder / "best.safetensors")
    for task, id in list_crystals(parts):
        if id not in errors:
            rho = task.store[id]
            errors[id] = eps_mae(predict(model, rho.crystal, shape=rho.shape), rho)
            file.write_text(json.dumps(errors))


def list_crystals(parts: list[str]) -> list[tuple[TaskData, str]]:
    """The task and the id of each crystal of the parts."""
    return [(task, id) for task in map(task_data, TASKS) for part in parts for id in task.parts.get(part, [])]


def read_errors(entry: VariantEntry) -> dict[str, float]:
    """eps_mae by id, a fraction, of the crystals that are predicted."""
    file = entry.folder / "errors.json"
    return json.loads(file.read_text()) if file.exists() else {}


def read_means(entries: list[VariantEntry], parts: list[str]) -> Means:
    """The mean error of each part in % of each entry that is complete, by variant."""
    ids = {part: [id for _, id in list_crystals([part])] for part in parts}
    found: Means = {}
    for entry in entries:
        errors = read_errors(entry)
        if all(id in errors for of_part in ids.values() for id in of_part):
            means = [float(100 * np.mean([errors[id] for id in of_part])) for of_part in ids.values()]
            found.setdefault(entry.model, []).append((entry, means))
    return found


def print_table(means: Means, parts: list[str]) -> None:
    """Print mean and spread over the seeds of each variant."""
    print("| variant | seeds | steps | " + " | ".join(parts) + " |")
    print("|" + "---|" * (len(parts) + 3))
    for variant, of_seeds in means.items():
        steps = [json.loads((entry.folder / "training.json").read_text())["steps"] for entry, _ in of_seeds]
        columns = np.array([row for _, row in of_seeds]).T
        cells = [f"{column.mean():.3f}" + f" ± {column.std():.3f}" * (len(column) > 1) for column in columns]
        print(f"| {variant} | {len(of_seeds)} | {np.mean(steps):,.0f} | " + " | ".join(cells) + " |")


def draw_seeds(means: Means, parts: list[str], file: Path) -> None:
    """Draw the errors of each seed, a panel for each part and a row for each variant."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(parts), 0.8 + 0.4 * len(means)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(parts), sharey=True))
    for k, (axis, part) in enumerate(zip(axes, parts, strict=True)):
        for row, of_seeds in enumerate(means.values()):
            errors = [of_entry[k] for _, of_entry in of_seeds]
            axis.plot(errors, [row] * len(errors), "o", color="tab:blue", alpha=0.6)
            axis.plot(np.mean(errors), row, "|", color="black", markersize=14)
        axis.set(xlabel="mean eps_mae, %", title=part, yticks=range(len(means)), yticklabels=list(means))
        axis.grid(axis="x", alpha=0.4)
    axes[0].set_ylim(len(means) - 0.5, -0.5)
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=365 / 60, help="Processor time of each training.")
    parser.add_argument("--variants", nargs="+", default=[*VARIANTS], choices=VARIANTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--parts", nargs="+", default=[*VALIDATION], help="Parts of the splits to predict.")
    parser.add_argument("--processes", type=int, default=1, help="Trainings at the same time, one core each.")
    parser.add_argument("--atoms", default="pair_density", help="What all start from, as in `ecd train`.")
    parser.add_argument("--out", type=Path, default=Path("runs/variants"))
    parser.add_argument("--table", action="store_true", help="Print the table of the results that are there.")
    parser.add_argument("--figure", type=Path, help="PNG file for the errors of each seed.")
    options = parser.parse_args()
    entries = [
        VariantEntry(variant, seed, 60 * options.minutes, options.atoms, options.out, float("inf"))
        for seed in options.seeds
        for variant in options.variants
    ]
    try:
        facts = describe_data(open_tasks()) | {"superposed atoms": options.atoms}
        keep_data_facts(options.out, facts, options.table)
    except EcdError as error:
        raise SystemExit(f"fourier_variants.py: {error}") from None
    if not options.table:
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
        with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
            for done in [pool.submit(run, entry, options.parts) for entry in entries]:
                done.result()
    means = read_means(entries, options.parts)
    print_table(means, options.parts)
    if options.figure:
        draw_seeds(means, options.parts, options.figure)


if __name__ == "__main__":
    main()
