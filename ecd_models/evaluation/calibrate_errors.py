"""The record by which a checkpoint of fourier_density estimates its errors, and how reliable the estimates are.

`python -m ecd_models.evaluation.calibrate_errors FILE.safetensors` fits the estimate on the validation
crystals of the checkpoint's own task, writes it into the file, and prints how it does on each test part of the sample.
`--check` prints that for the record that is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import UsageError
from ecd_data.work.programs import run_program
from ecd_models.checkpoint import add_metadata, load_model
from ecd_models.metrics import eps_mae
from ecd_models.model import DensityModel
from ecd_models.prediction.error_estimate import KEY, Calibration, ErrorEstimate, fit_calibration, read_calibration
from ecd_models.prediction.predict import predict
from ecd_models.task_data import TaskData, task_data
from ecd_models.training.probe_batches import subset

TASKS = ("pbe", "ood")  # whose test parts the reliability is printed for
BINS = 5  # of the reliability curve


@dataclass(frozen=True)
class Reliability:
    """The errors of a model on some crystals and what was expected, fractions [c]."""

    errors: Floats
    estimates: list[ErrorEstimate]

    @property
    def expected(self) -> Floats:
        """The estimates alone [c]."""
        return np.array([estimate.eps_mae for estimate in self.estimates])

    def share_within(self, factor: float) -> float:
        """The share of the crystals whose error is within a factor of the estimate."""
        return float((np.abs(np.log(self.errors / self.expected)) < np.log(factor)).mean())

    def share_between_bounds(self) -> float:
        """The share of the crystals whose error lies between the bounds of its estimate: half are promised."""
        inside = [e.lowest <= error <= e.highest for e, error in zip(self.estimates, self.errors, strict=True)]
        return float(np.mean(inside))


def calibrate(path: str | Path) -> Calibration:
    """Fit the estimate of a checkpoint on its validation crystals and write it into the file; its weights stay.

    Raises
    ------
    UsageError : the checkpoint does not say what task it trained on, or is another model.
    """
    model = load_model(path)
    config = model.metadata.get("config", {})
    if not config.get("task") or config.get("store"):
        raise UsageError(f"{path} was not trained on a task, whose validation crystals the estimate is fitted on")
    data = task_data(config["task"], config["data_dir"] or None, config["sample"])
    crystals, errors = measure_errors(model, data, data.ids("validation"))
    ids = subset(data.ids("train"), config["fraction"], config["seed"])
    calibration = fit_calibration(model, (data.store.crystal(id) for id in ids), crystals, errors)
    add_metadata(path, {KEY: calibration.to_text()})
    return calibration


def measure_errors(model: DensityModel, data: TaskData, ids: Sequence[str]) -> tuple[list[Crystal], Floats]:
    """The crystals of some ids, and the eps_mae of the model on them [c]."""
    densities = [data.store[id] for id in ids]
    errors = [eps_mae(predict(model, rho.crystal, shape=rho.shape, refuse=False), rho) for rho in densities]
    return [rho.crystal for rho in densities], np.array(errors)


def measure_reliability(
    model: DensityModel, calibration: Calibration, data: TaskData, ids: Sequence[str]
) -> Reliability:
    """The errors on some crystals beside the estimates."""
    crystals, errors = measure_errors(model, data, ids)
    return Reliability(errors, [calibration.estimate(model, crystal) for crystal in crystals])


def format_reliability(parts: dict[str, Reliability]) -> str:
    """Two Markdown tables: by part, and by the size of the estimate over all parts."""
    lines = [
        "| part | crystals | error, % | expected, % | within a factor of 2 | between the bounds |",
        "|---" * 6 + "|",
    ]
    for name, part in parts.items():
        cells: list[Any] = [name, len(part.errors), *(f"{100 * v.mean():.2f}" for v in (part.errors, part.expected))]
        cells += [f"{100 * part.share_within(2):.0f} %", f"{100 * part.share_between_bounds():.0f} %"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    errors, expected = (np.concatenate([getattr(p, name) for p in parts.values()]) for name in ("errors", "expected"))
    lines += [
        "",
        "| expected, % | crystals | error: median, % | mean, % | 10th to 90th percentile, % |",
        "|---" * 5 + "|",
    ]
    for chosen in np.array_split(np.argsort(expected), BINS):
        low, high = 100 * expected[chosen[0]], 100 * expected[chosen[-1]]
        found = 100 * errors[chosen]
        between = f"{np.percentile(found, 10):.2f} to {np.percentile(found, 90):.2f}"
        middle = f"{np.median(found):.2f} | {found.mean():.2f}"
        lines.append(f"| {low:.2f} to {high:.2f} | {len(chosen)} | {middle} | {between} |")
    return "\n".join(lines)


def main() -> None:
    """Calibrate the checkpoint of the command line and print how reliable its estimates are."""
    parser = argparse.ArgumentParser(description="Add the estimate of its errors to a checkpoint of fourier_density.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--check", action="store_true", help="Leave the file as it is and print the tables alone.")
    options = parser.parse_args()
    found = None if options.check else calibrate(options.checkpoint)
    model = load_model(options.checkpoint)
    calibration = found or read_calibration(model)
    if calibration is None:
        raise UsageError(f"{options.checkpoint} has no record of its errors: run this without --check")
    parts: dict[str, Reliability] = {}
    for task in TASKS:
        data = task_data(task)
        tests = {part: ids for part, ids in data.parts.items() if part.startswith("test_") and ids}
        parts |= {part: measure_reliability(model, calibration, data, ids) for part, ids in tests.items()}
    print(f"weights {calibration.weights.round(3).tolist()}, deviation of log(error) {calibration.spread:.2f}\n")
    print(format_reliability(parts))


if __name__ == "__main__":
    run_program(main)
