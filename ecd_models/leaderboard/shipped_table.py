"""The table of the shipped models in README.md and docs/results.md, made from the results of their entries.

`python -m ecd_models.leaderboard.shipped_table README.md docs/results.md` writes it again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ecd_data.errors import UsageError
from ecd_models.leaderboard.board import read_board
from ecd_models.leaderboard.superposed_atoms import read_summary
from ecd_models.metrics import Summary
from ecd_models.report.result_tables import PART_TITLES
from ecd_models.report.shipped import PARTS, list_shipped

BEGIN, END = "<!-- table of the shipped models: begin -->", "<!-- table of the shipped models: end -->"
ATOMS = "superposed atoms, fitted"

Summaries = dict[str, Summary]  # by part


def read_summaries() -> dict[str, Summaries]:
    """The statistics of fitted superposed atoms and of each shipped model by part, the best on compounds first."""
    found: dict[str, Summaries] = {}
    for row in read_board():
        results = row.results
        if results is None or results.data_origin != "sample" or results.model not in list_shipped():
            continue
        found.setdefault(results.model, {})[results.part] = results.summary
        if results.part not in (atoms := found.setdefault(ATOMS, {})):
            atoms[results.part] = read_summary(results)
    return dict(sorted(found.items(), key=lambda item: item[1]["test_compositions"].mean_percent))


def make_table(summaries: dict[str, Summaries], intervals: bool) -> list[str]:
    """The lines of the Markdown table; the least mean of each part is bold."""
    least = {part: min(of[part].mean_percent for of in summaries.values()) for part in PARTS}
    cells = [
        [PART_TITLES[part] + (_count(next(iter(summaries.values()))[part]) if intervals else "") for part in PARTS]
    ]
    for of in summaries.values():
        cells.append([_describe(of[part], intervals, of[part].mean_percent == least[part]) for part in PARTS])
    names = ["mean error of the density (eps_mae)", *(f"`{name}`" if name != ATOMS else name for name in summaries)]
    lines = [f"| {' | '.join([name, *row])} |" for name, row in zip(names, cells, strict=True)]
    return [lines[0], "|---" * (1 + len(PARTS)) + "|", *lines[1:]]


def _count(summary: Summary) -> str:
    if summary.compounds == summary.count:
        return f": {summary.count} crystals"
    return f": {summary.count} crystals of {summary.compounds} compounds"


def _describe(summary: Summary, intervals: bool, least: bool) -> str:
    mean = f"{summary.mean_percent:.2f} %"
    found = f"**{mean}**" if least else mean
    if intervals:
        found += f" [{summary.low_percent:.2f}, {summary.high_percent:.2f}]"
        if summary.compounds < summary.count:
            found += f"; over compounds {summary.compound_mean_percent:.2f} %"
    return found


def write_table(path: Path, intervals: bool) -> None:
    """Write the table between the two marks of a page; raises UsageError where the page has no marks."""
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise UsageError(f"{path} has no place for the table: give it the lines {BEGIN} and {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    lines = [BEGIN, *make_table(read_summaries(), intervals), END]
    path.write_text(before + "\n".join(lines) + after, encoding="utf-8")


def main(paths: Sequence[str]) -> None:
    """Write the table into the pages; a README gets the means alone."""
    for path in map(Path, paths):
        write_table(path, intervals=path.name != "README.md")


if __name__ == "__main__":
    main(sys.argv[1:])
