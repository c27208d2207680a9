"""Whether the spread of an ensemble tells its errors: a reliability curve on the parts of the sample.

    python benchmarks/reliability.py MODEL MODEL MODEL [--limit N] [--device cuda] [--out reliability.json]

For each crystal stand side by side the error of the mean of the models (eps_mae) and their relative spread
(sum of standard deviations over the grid / sum of the density). The spread of few models is too small, since they
have errors in common; so it is multiplied by one factor, mean error / mean spread on the crystals of the validation
parts. On the test parts, which the factor has not seen, the table has quarters of the crystals from the least to the
most expected error, with what was expected and what came; a rank correlation of 1 means that the order is right.
The last lines give the share of grid points whose error is below one, two and three times the scaled spread (68, 95
and 99.7 % if errors were Gaussian), the mean over crystals.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ecd_models.metrics import eps_mae
from ecd_models.prediction.ensemble import Ensemble, load_ensemble
from ecd_models.task_data import TaskData, task_data

VALIDATION = (("pbe", "validation_geometries"), ("pbe", "validation_compositions"))
TEST = (("pbe", "test_geometries"), ("pbe", "test_compositions"), ("ood", "test_pairs"))
TEST += (("ood", "test_rare_elements"), ("ood", "test_types"))
LEVELS = np.linspace(0, 6, 121)  # error / spread at which points are counted, before the factor is known
SIGMAS = (1, 2, 3)


def measure(ensemble: Ensemble, data: TaskData, part: str, limit: int | None) -> list[dict[str, Any]]:
    """The error, the relative spread and the shares of points below LEVELS of each crystal of a part."""
    rows = []
    for id in data.ids(part)[:limit]:
        rho = data.store[id]
        found = ensemble.predict(rho.crystal, like=rho, refuse=False, symmetry=True)
        off = np.abs(found.density.values - rho.values).ravel() / np.maximum(found.spread.ravel(), 1e-12)
        below = np.searchsorted(np.sort(off), LEVELS, side="right") / off.size
        error = 100 * eps_mae(found.density, rho)
        rows.append(
            {"part": part, "id": id, "error": error, "spread": 100 * found.relative_spread, "below": below.tolist()}
        )
    return rows


def format_curve(rows: list[dict[str, Any]], factor: float) -> str:
    """The table of quarters, the correlations and the shares of points."""
    expected, error = (np.array([row[name] for row in rows]) for name in ("spread", "error"))
    expected = factor * expected
    order = np.argsort(expected)
    lines = ["| quarter by expected error | crystals | expected | error | largest |", "|---|---|---|---|---|"]
    for k, quarter in enumerate(np.array_split(order, 4)):
        means = f"{expected[quarter].mean():.2f} % | {error[quarter].mean():.2f} % | {error[quarter].max():.2f} %"
        lines.append(f"| {k + 1} | {len(quarter)} | {means} |")
    lines.append(f"rank correlation: {spearmanr(expected, error).statistic:.2f} over {len(rows)} crystals")
    below = np.mean([row["below"] for row in rows], axis=0)
    shares = ", ".join(f"{k}: {100 * np.interp(k * factor, LEVELS, below):.0f} %" for k in SIGMAS)
    lines.append(f"points whose error is below so many scaled spreads: {shares}")
    worst = max(rows, key=lambda row: row["error"] - factor * row["spread"])
    lines.append(f"most underrated: {worst['id']}, {worst['error']:.2f} % for {factor * worst['spread']:.2f} %")
    return "\n".join(lines)


def format_parts(rows: list[dict[str, Any]]) -> str:
    """The mean error of the ensemble on each part."""
    parts = dict.fromkeys(row["part"] for row in rows)
    means = {part: np.mean([row["error"] for row in rows if row["part"] == part]) for part in parts}
    return "eps_mae of the mean: " + ", ".join(f"{part} {mean:.2f} %" for part, mean in means.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names or checkpoints")
    parser.add_argument("--limit", type=int, default=None, help="crystals of each part")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers of each crystal")
    options = parser.parse_args()
    ensemble = load_ensemble(options.models)
    for model in ensemble.models:
        model.to(options.device)
    tasks = {name: task_data(name, sample=True) for name in ("pbe", "ood")}
    known = [row for name, part in VALIDATION for row in measure(ensemble, tasks[name], part, options.limit)]
    rows = [row for name, part in TEST for row in measure(ensemble, tasks[name], part, options.limit)]
    factor = float(np.mean([row["error"] for row in known]) / np.mean([row["spread"] for row in known]))
    print(f"{ensemble.name}, {len(ensemble.models)} models; factor {factor:.2f} from {len(known)} validation crystals")
    print(format_parts(rows))
    print(format_curve(rows, factor))
    if options.out is not None:
        options.out.write_text(json.dumps({"factor": factor, "validation": known, "test": rows}))


if __name__ == "__main__":
    main()
