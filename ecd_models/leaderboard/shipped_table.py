"""The tables of all shipped models in README.md and docs/results.md, made from their stored results."""

from __future__ import annotations

from collections.abc import Sequence

from ecd_data.errors import UsageError
from ecd_data.markdown import make_markdown_table
from ecd_models.leaderboard.shipped_models import (
    BEYOND,
    RANKED_BY,
    ShippedModel,
    find_failures,
    find_largest_electron_error,
)
from ecd_models.leaderboard.superposed_atoms import read_summary
from ecd_models.metrics import Difference, Summary, compare_errors
from ecd_models.report.result_tables import PART_TITLES
from ecd_models.report.shipped import PARTS

ATOMS = "superposed atoms, fitted"
PAIR_MODEL = "pair_density"  # the networks start from it
LEAST_SHARE = 5e-5  # of the electrons: less is rounding of the grid, and two decimals of a percentage show none of it

Summaries = dict[str, Summary]  # by part


def read_summaries(models: Sequence[ShippedModel]) -> dict[str, Summaries]:
    """The statistics of the models and of fitted superposed atoms by part, the best on compounds first."""
    found = {model.name: {part: results.summary for part, results in model.results.items()} for model in models}
    found[ATOMS] = {part: read_summary(results) for part, results in models[0].results.items()}
    return dict(sorted(found.items(), key=lambda item: item[1][RANKED_BY].mean_percent))


def make_table(summaries: dict[str, Summaries], intervals: bool) -> list[str]:
    """The lines of the Markdown table of mean errors; the least mean of each part is bold."""
    least = {part: min(of[part].mean_percent for of in summaries.values()) for part in PARTS}
    first = next(iter(summaries.values()))
    titles = [name_part_with_count(part, first[part]) if intervals else PART_TITLES[part] for part in PARTS]
    rows = []
    for name, of in summaries.items():
        cells = [describe_summary(of[part], 2, intervals, of[part].mean_percent == least[part]) for part in PARTS]
        rows.append([name if name == ATOMS else f"`{name}`", *cells])
    return make_markdown_table(["mean error of the density (eps_mae)", *titles], rows).splitlines()


def name_part_with_count(part: str, summary: Summary) -> str:
    """The title of a part with the numbers of its crystals and, where they differ, of its compounds."""
    compounds = "" if summary.compounds == summary.count else f" of {summary.compounds} compounds"
    return f"{PART_TITLES[part]}: {summary.count} crystals{compounds}"


def describe_summary(summary: Summary, digits: int, intervals: bool = True, bold: bool = False) -> str:
    """A mean error in percent, with its interval and the mean over compounds where a part has fewer than crystals."""
    mean = f"{summary.mean_percent:.{digits}f} %"
    found = f"**{mean}**" if bold else mean
    if intervals:
        found += f" [{summary.low_percent:.{digits}f}, {summary.high_percent:.{digits}f}]"
        if summary.compounds < summary.count:
            found += f"; over compounds {summary.compound_mean_percent:.{digits}f} %"
    return found


def make_difference_table(models: Sequence[ShippedModel]) -> list[str]:
    """The lines of the table of paired differences to the pair model; one whose interval excludes zero is bold.

    Raises
    ------
    UsageError : the pair model is not among the models.
    """
    base = next((model for model in models if model.name == PAIR_MODEL), None)
    if base is None:
        raise UsageError(f"{PAIR_MODEL} is not among the shipped models: restore its checkpoint")
    rows = []
    for model in models:
        if model is not base:
            rows.append([f"`{model.name}`", *(_describe_difference(_compare(model, base, part)) for part in PARTS)])
    return make_markdown_table(["model", *(PART_TITLES[part] for part in PARTS)], rows).splitlines()


def _compare(model: ShippedModel, base: ShippedModel, part: str) -> Difference:
    results = model.results[part]
    return compare_errors(results.errors, base.results[part].errors, results.compounds)


def _describe_difference(found: Difference) -> str:
    mean = f"{found.mean_percent:+z.2f}"
    if found.compounds == 1:
        return mean
    return f"{f'**{mean}**' if found.significant else mean} [{found.low_percent:+z.2f}, {found.high_percent:+z.2f}]"


def make_failure_table(models: Sequence[ShippedModel]) -> list[str]:
    """The lines of the table of the crystals on which each model fails and of its largest error of the electrons."""
    head = [
        "model",
        f"crystals with more than {BEYOND:g} times the mean error of their part",
        "largest error of the electron count",
    ]
    rows = []
    for model in models:
        crystals = [f"{one.crystal.id} {one.crystal.eps_mae_percent:.2f} %" for one in find_failures(model)]
        rows.append([f"`{model.name}`", ", ".join(crystals) or "none", _describe_electrons(model)])
    return make_markdown_table(head, rows).splitlines()


def _describe_electrons(model: ShippedModel) -> str:
    share, crystal = find_largest_electron_error(model)
    return f"{100 * share:.2f} % ({crystal.id})" if share >= LEAST_SHARE else "less than 0.01 %"
