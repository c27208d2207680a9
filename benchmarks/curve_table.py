"""The learning curve from results files: its table as Markdown and its figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ecd_data.errors import UsageError
from ecd_models.evaluation.results import Results, read_results

Curve = dict[int, list[float]]  # by number of formulas the mean eps_mae in percent of each seed
Curves = Mapping[str, Mapping[str, Curve]]  # by part and model


def read_curve(folder: Path) -> Curves:
    """The curves of the results files NUMBER_*.json.gz in a folder and the folders in it.

    Raises UsageError where there is none, or two of one part are not errors of the same crystals and densities.
    """
    curves: dict[str, dict[str, Curve]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    first: dict[str, tuple[Path, Results]] = {}
    for file in sorted(folder.rglob("*.json.gz")):
        count = file.name.partition("_")[0]
        if not count.isdigit() or not int(count):
            raise UsageError(f"{file} should begin with its number of formulas, as 20_test_pairs.json.gz does")
        results = read_results(file)
        refuse_other_errors(*first.setdefault(results.part, (file, results)), file, results)
        curves[results.part][results.model_card.name][int(count)].append(results.summary.mean_percent)
    if not curves:
        raise UsageError(f"{folder} has no results files yet: compute them with `learning_curve.py run {folder}`")
    return {part: {name: dict(sorted(curve.items())) for name, curve in of.items()} for part, of in curves.items()}


def refuse_other_errors(first: Path, before: Results, file: Path, results: Results) -> None:
    """Raise UsageError where two results of a part are errors against other densities or of other crystals."""
    if results.store_hash != before.store_hash:
        raise UsageError(f"{first} and {file} are errors against different densities: evaluate both again")
    if results.errors.keys() != before.errors.keys():
        raise UsageError(
            f"{first} and {file} have errors of different crystals: remove the incomplete one and run again"
        )


def fit_slope(errors: Mapping[int, float], number: int) -> tuple[float, float]:
    """The slope of log(error) over log(number of formulas), and the error that this power law gives for a number."""
    slope, constant = np.polyfit(np.log(list(errors)), np.log(list(errors.values())), 1)
    return float(slope), float(np.exp(constant + slope * np.log(number)))


def format_curve(curves: Curves) -> str:
    """The table as Markdown: mean ± spread over seeds and their number, the slope, the error for twice the formulas."""
    counts = sorted({count for of in curves.values() for curve in of.values() for count in curve})
    columns = [*(f"{count} formulas" for count in counts), "slope", f"{2 * counts[-1]} formulas"]
    rows = [f"| part | model | {' | '.join(columns)} |", "|" + "---|" * (len(columns) + 2)]
    for part, of_part in curves.items():
        for model, curve in of_part.items():
            cells = [format_seeds(curve[count]) if count in curve else "" for count in counts]
            law = ["", ""]
            if len(curve) > 1:
                means = {count: float(np.mean(errors)) for count, errors in curve.items()}
                slope, error = fit_slope(means, 2 * counts[-1])
                law = [f"{slope:.2f}", f"{error:.2f} %"]
            rows.append(f"| {part} | {model} | {' | '.join([*cells, *law])} |")
    return "\n".join(rows)


def format_seeds(errors: list[float]) -> str:
    """The mean error of some seeds, with its spread and their number where there are several."""
    spread = f" ± {np.std(errors):.2f} ({len(errors)})" if len(errors) > 1 else ""
    return f"{np.mean(errors):.2f}{spread} %"


def draw_curve(curves: Curves, file: Path) -> None:
    """Draw the error over the number of formulas, both logarithmic: a panel for each part, a line for each model."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    figure = Figure(figsize=(3.2 * len(curves), 3.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(curves)))
    models = dict.fromkeys(model for of_part in curves.values() for model in of_part)
    for axis, (part, of_part) in zip(axes, curves.items(), strict=True):
        for colour, model in enumerate(models):
            if curve := of_part.get(model):
                means, spreads = ([of(errors) for errors in curve.values()] for of in (np.mean, np.std))
                axis.errorbar(list(curve), means, spreads, fmt="o-", color=f"C{colour}", capsize=2, label=model)
        counts = sorted({count for curve in of_part.values() for count in curve})
        axis.set(xscale="log", yscale="log", xlabel="training formulas", title=part, xticks=counts)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        for one in (axis.xaxis, axis.yaxis):
            one.set_major_formatter(ScalarFormatter())
            one.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.4)
    axes[0].set_ylabel("mean eps_mae, %")
    axes[0].legend()
    figure.savefig(file, dpi=120)
