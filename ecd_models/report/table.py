"""Tables of the page: their cells have a text, and where it helps a value to sort by and a kind for its style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ecd_models.metrics import Summary


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    text : what it shows. value : what it is sorted by; None sorts it behind all numbers. hint : shown when pointed at.
    kind : "number", "best", "reported", "warning" or "" for text.
    """

    text: str
    value: float | str | None = None
    hint: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its title, its columns, and notes below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default_factory=tuple)


def text(value: object, kind: str = "", hint: str = "") -> Cell:
    """A cell of text, which sorts by it."""
    return Cell(str(value), str(value).lower(), hint, kind)


def number(value: float | None, digits: int = 3, kind: str = "number", unit: str = "", hint: str = "") -> Cell:
    """A cell of a number with its digits after the point; "–" where there is none."""
    if value is None:
        return Cell("–", None, hint, kind)
    return Cell(f"{value:,.{digits}f}{unit}", float(value), hint, kind)


def interval(mean: float, low: float, high: float, single: bool = False, kind: str = "number") -> Cell:
    """A mean with its 95 % interval; of a single crystal or compound there is none."""
    if single:
        return Cell(f"{mean:.3f}", mean, "", kind)
    return Cell(f"{mean:.3f} [{low:.3f}, {high:.3f}]", mean, "", kind)


def over_crystals(summary: Summary) -> Cell:
    """The mean over crystals of a Summary with its interval."""
    single = summary.compounds == 1
    return interval(summary.mean_percent, summary.low_percent, summary.high_percent, single)


def over_compounds(summary: Summary) -> Cell:
    """The mean over compounds of a Summary with its interval."""
    low, high = summary.compound_low_percent, summary.compound_high_percent
    return interval(summary.compound_mean_percent, low, high, summary.compounds == 1)


def mark_least(rows: Iterable[Sequence[Cell]], columns: Sequence[int]) -> list[list[Cell]]:
    """The rows with the least number of each of these columns marked as the best."""
    found = [list(row) for row in rows]
    for column in columns:
        values = [value for row in found if isinstance(value := row[column].value, float)]
        for row in found:
            cell = row[column]
            if len(values) > 1 and cell.value == min(values):
                row[column] = Cell(cell.text, cell.value, cell.hint, "best")
    return found
