"""Evaluations as a table: a row for each model, and below it rows for crystals that trained it and for others.

Below the table: errors by region, electrons and costs of each model, paired differences between models, and remarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from ecd_models.evaluation.evaluate import Evaluation
from ecd_models.metrics import Summary, compare_errors

OVER_CRYSTALS = ("n", "mean %", "95 % of the mean", "median %", "p90 %", "p99 %")
HEAD = ("eps_mae", *OVER_CRYSTALS, "compounds", "compound mean %", "95 % of it")
REGION_NAMES = {"near_core": "near the cores", "bond": "in bonds", "interstitial": "in the interstices"}
LABELS = {
    "seen_crystals": "  crystals that trained it",
    "seen_compositions": "  other crystals of compositions that trained it",
    "unseen": "  unseen compositions",
}
Row = tuple[str, ...]


def format_table(results: Sequence[Evaluation]) -> str:
    """The table of evaluations on one part of a task, under a line that describes the data."""
    first = results[0]
    rows: list[Row] = [HEAD]
    for result in results:
        rows.append(_row(result.model, result.summary))
        rows += [_row(LABELS[name], group) for name, group in result.groups.items() if group is not None]
        if result.atom_summary is not None:
            rows.append(_row("  its superposed atoms alone", result.atom_summary))
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEAD))]
    lines = [format_title(first)]
    lines += ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    lines += [f"{result.model}: {format_details(result)}" for result in results]
    lines += [line for a, b in combinations(results, 2) if (line := format_difference(a, b))]
    lines += [f"{result.model}: {remark}" for result in results if (remark := format_remark(result))]
    return "\n".join(lines + [line for result in results for line in format_failures(result)])


def format_title(result: Evaluation) -> str:
    """One line with the task, the part, the number of its crystals that were evaluated, and the origin of the data."""
    evaluated, listed = len(result.errors), result.listed
    count = f"{evaluated:,} crystals" if evaluated == listed else f"{evaluated:,} of the part's {listed:,} crystals"
    return f"{result.task} {result.part}, {count}, of {result.origin}"


def format_details(result: Evaluation) -> str:
    """One line with the errors by region, of electron counts and of the potential, and with what the model took."""
    found = result.statistics
    parts = [
        f"{REGION_NAMES[name]} {region.median_percent:.2f} %"
        for name, region in found["regions"].items()
        if region.median_percent is not None
    ]
    electrons, cost = found["electrons"], found["cost"]
    by_region = f"median {', '.join(parts)}; " if parts else ""
    count, worst = electrons.count_error, electrons.largest_count_error
    return "; ".join(
        [
            f"{by_region}electron count off by {count:.3g} on average, by {worst:+.3g} in {electrons.largest_in}",
            f"potential {electrons.potential_error_eV:.3g} eV",
            f"{cost.median_points_per_second:,.0f} points/s, {cost.peak_memory_MB:,.0f} MB",
        ]
    )


def format_difference(a: Evaluation, b: Evaluation) -> str:
    """One line with the paired difference of two models; "" where they have no crystal in common."""
    if not a.errors.keys() & b.errors.keys():
        return ""
    compounds = {crystal.id: crystal.compound for crystal in a.crystals}
    return f"{a.model} - {b.model}: {compare_errors(a.errors, b.errors, compounds)}"


def format_failures(result: Evaluation) -> list[str]:
    """A line for the number of crystals without a result, and one for each of the first three."""
    if not result.failures:
        return []
    count = f"{len(result.failures)} of {len(result.failures) + len(result.crystals)} crystals have no result"
    lines = [f"{result.model}: {count}, and the means are without them:"]
    return lines + [f"  {id}: {reason}" for id, reason in list(result.failures.items())[:3]]


def format_remark(result: Evaluation) -> str:
    """How many of the crystals trained the model, or that its checkpoint does not say; "" where none did."""
    trained = result.groups.get("seen_crystals")
    seen = f"{trained.count} of the {len(result.errors)} crystals trained it" if trained is not None else ""
    return "; ".join(part for part in (seen, result.caution) if part)


def _row(label: str, summary: Summary) -> Row:
    interval = f"[{summary.low_percent:.3f}, {summary.high_percent:.3f}]" if summary.compounds > 1 else "-"
    numbers = (summary.mean_percent, summary.median_percent, summary.p90_percent, summary.p99_percent)
    mean, *tail = (f"{number:.3f}" for number in numbers)
    low, high = summary.compound_low_percent, summary.compound_high_percent
    compounds = (
        str(summary.compounds),
        f"{summary.compound_mean_percent:.3f}",
        f"[{low:.3f}, {high:.3f}]" if summary.compounds > 1 else "-",
    )
    return label, str(summary.count), mean, interval, *tail, *compounds
