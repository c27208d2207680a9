"""Evaluations as a table: a row for each model, and below it rows for crystals that trained it and for others."""

from __future__ import annotations

from collections.abc import Sequence

from ecd_models.evaluation.evaluate import Evaluation
from ecd_models.metrics import Summary

HEAD = ("eps_mae", "n", "mean %", "95 % of the mean", "median %", "p90 %")
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
    return "\n".join(
        [*lines, *(f"{result.model}: {remark}" for result in results if (remark := format_remark(result)))]
    )


def format_title(result: Evaluation) -> str:
    """One line with the task, the part, the number of its crystals that were evaluated, and the origin of the data."""
    evaluated, listed = len(result.errors), result.listed
    count = f"{evaluated:,} crystals" if evaluated == listed else f"{evaluated:,} of the part's {listed:,} crystals"
    return f"{result.task} {result.part}, {count}, of {result.origin}"


def format_remark(result: Evaluation) -> str:
    """How many of the crystals trained the model, or that its checkpoint does not say; "" where none did."""
    trained = result.groups.get("seen_crystals")
    seen = f"{trained.count} of the {len(result.errors)} crystals trained it" if trained is not None else ""
    return "; ".join(part for part in (seen, result.caution) if part)


def _row(label: str, summary: Summary) -> Row:
    interval = f"[{summary.low_percent:.3f}, {summary.high_percent:.3f}]" if summary.count > 1 else "-"
    numbers = (summary.mean_percent, summary.median_percent, summary.p90_percent)
    mean, median, p90 = (f"{number:.3f}" for number in numbers)
    return label, str(summary.count), mean, interval, median, p90
