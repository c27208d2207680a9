"""HSE06 densities from fourier_density: PBE's network as it is, new ones, tuned ones, and one for both functionals.

    python benchmarks/hse_networks.py [--ways zero-shot scratch tuned joint] [--shares 0.25 0.5 0.75 1]
                                      [--starts fourier_density] [--seeds 42 43 44] [--steps 2000] [--joint-steps 6000]
                                      [--processes 1] [--out runs/hse] [--table]

The ways are the paper's: ECD-PBE_HSE (a network of PBE densities on HSE06's), ECD-HSE (trained on these alone) and
ECD-PBE_HSE_tuning (PBE's network trained on), each tuned one also with a share of the crystals, as in the paper's
Table 4. "joint" is one network with an embedding of the functional, trained on the PBE crystals and a share of the
HSE06 crystals. All learn the difference to the pair model of PBE. --starts are networks of PBE densities, one for each
seed or one for all. What is done is in --out and is not repeated; --table only prints. After a change of the sample
results on other densities are refused.

Numbers are means over crystals of eps_mae in percent on full grids with their spread over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from race_evaluation import describe_data
from race_training import keep_data_facts

from ecd_data.errors import EcdError
from ecd_data.release.own_splits import write_split
from ecd_data.store import StoreWriter
from ecd_models import load_model, train
from ecd_models.evaluation.crystal_result import evaluate_crystal
from ecd_models.task_data import task_data
from ecd_models.training.config import TrainConfig, load_config
from ecd_models.training.probe_batches import subset

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
WAYS = ("zero-shot", "scratch", "tuned", "joint")
FUNCTIONALS = ["PBE", "HSE06"]
TUNED_LR = 0.001  # a third of that of new networks, so that what PBE taught stays


@dataclass(frozen=True)
class Case:
    """A way to HSE06 densities with a share of the crystals and a seed; steps: of the training."""

    way: str
    share: float
    seed: int
    start: str
    steps: int
    out: Path

    @property
    def folder(self) -> Path:
        """The folder of its run and errors."""
        return self.out / f"{self.way}-{100 * self.share:.0f}-{self.seed}"

    def config(self) -> TrainConfig:
        """The settings of its training."""
        recipe = load_config(EXAMPLES / "fourier_density_sample.toml")
        shared = {"seed": self.seed, "steps": self.steps, "save_every": 0, "validate_every": max(1, self.steps // 10)}
        recipe = replace(recipe, out=str(self.folder), **shared)
        if self.way == "joint":
            split = str(self.out / f"both-{100 * self.share:.0f}-{self.seed}.json")
            store, options = str(self.out / "both.ecd"), {"functionals": FUNCTIONALS}
            return replace(recipe, store=store, split=split, task=TrainConfig.task, options=options)
        recipe = replace(recipe, task="hse", fraction=self.share)
        return replace(recipe, start=self.start, lr=TUNED_LR) if self.way == "tuned" else recipe


def write_both(out: Path) -> None:
    """Write a store with the crystals of both functionals that train and validate; those of HSE06 end in "-hse"."""
    if StoreWriter.is_there(out / "both.ecd"):
        return
    with StoreWriter(out / "both.ecd", pipeline="fourier") as writer:
        for task, end in (("pbe", ""), ("hse", "-hse")):
            data = task_data(task)
            for id in data.ids("train") + data.ids("validation"):
                writer.add(id + end, data.store[id])


def write_both_split(out: Path, share: float, seed: int) -> None:
    """Write the split of that store: all PBE crystals and a share of those of HSE06."""
    pbe, hse = task_data("pbe"), task_data("hse")
    split = {
        "train": pbe.ids("train") + [f"{id}-hse" for id in subset(hse.ids("train"), share, seed)],
        "validation": pbe.ids("validation") + [f"{id}-hse" for id in hse.ids("validation")],
        "test": [],
    }
    write_split(split, out / f"both-{100 * share:.0f}-{seed}.json")


def run(case: Case) -> None:
    """Train a case and write the errors of its test crystals by part."""
    torch.set_num_threads(1)
    result = case.folder / "errors.json"
    if result.exists():
        return
    model = load_model(case.start) if case.way == "zero-shot" else train(case.config()).model
    data = task_data("hse")
    parts = {part: ids for part, ids in data.parts.items() if part.startswith("test_") and ids}
    errors = {
        part: {id: evaluate_crystal(model, data.store, id).eps_mae_percent for id in ids} for part, ids in parts.items()
    }
    case.folder.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(errors, indent=1))


def print_table(cases: Sequence[Case]) -> None:
    """Print the errors that are there, a row for each way and share."""
    kinds = sorted({(case.way, case.share) for case in cases}, key=lambda kind: (WAYS.index(kind[0]), kind[1]))
    found = {
        kind: [c for c in cases if (c.way, c.share) == kind and (c.folder / "errors.json").exists()] for kind in kinds
    }
    found = {kind: done for kind, done in found.items() if done}
    if not found:
        print("nothing is done yet")
        return
    each = {kind: [json.loads((c.folder / "errors.json").read_text()) for c in done] for kind, done in found.items()}
    parts = {part: len(errors) for part, errors in next(iter(each.values()))[0].items()}
    print("| way | HSE06 crystals | seeds | " + " | ".join(f"{part} ({n})" for part, n in parts.items()) + " |")
    print("|" + "---|" * (len(parts) + 3))
    for (way, share), runs in each.items():
        means = {part: [np.mean(list(run[part].values())) for run in runs] for part in parts}
        cells = [f"{np.mean(values):.3f} ± {np.std(values):.3f}" for values in means.values()]
        print(f"| {way} | {100 * share:.0f} % | {len(runs)} | " + " | ".join(cells) + " |")


def list_cases(options: argparse.Namespace) -> list[Case]:
    """All cases of the arguments, those with all HSE06 crystals first."""
    shares = {
        "zero-shot": [0.0],
        "scratch": [1.0],
        "tuned": sorted(options.shares, reverse=True),
        "joint": sorted(options.shares, reverse=True),
    }
    starts = options.starts * len(options.seeds) if len(options.starts) == 1 else options.starts
    steps = {"joint": options.joint_steps}
    cases = [
        Case(way, share, seed, start, steps.get(way, options.steps), options.out)
        for way in options.ways
        for share in shares[way]
        for seed, start in zip(options.seeds, starts, strict=True)
    ]
    return sorted(cases, key=lambda case: case.share not in (0.0, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.25, 0.5, 0.75, 1.0])
    parser.add_argument("--starts", nargs="+", default=["fourier_density"], help="Networks of PBE densities.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    parser.add_argument("--steps", type=int, default=2000, help="Steps of new and of tuned networks.")
    parser.add_argument("--joint-steps", type=int, default=6000, help="Steps on the crystals of both functionals.")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/hse"))
    parser.add_argument("--table", action="store_true", help="Print the table of what is done.")
    options = parser.parse_args()
    cases = list_cases(options)
    try:
        facts = describe_data({task: task_data(task) for task in ("pbe", "hse")})
        keep_data_facts(options.out, facts, options.table, "*/errors.json")
    except EcdError as error:
        raise SystemExit(f"hse_networks.py: {error}") from None
    if not options.table:
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
        options.out.mkdir(parents=True, exist_ok=True)
        if "joint" in options.ways:
            write_both(options.out)
            for share, seed in {(case.share, case.seed) for case in cases if case.way == "joint"}:
                write_both_split(options.out, share, seed)
        with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
            for done in [pool.submit(run, case) for case in cases]:
                done.result()
    print_table(cases)


if __name__ == "__main__":
    main()
