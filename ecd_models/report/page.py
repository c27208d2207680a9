"""The page as HTML, with its tables, sections and pictures: one file without links to others.

All texts are escaped, and only the page's own script may run.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecd_models.metrics import Summary
from ecd_models.report.drawing import Drawing
from ecd_models.report.periodic_table import PeriodicTable

if TYPE_CHECKING:
    from markupsafe import Markup


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
    """A table with its title, its columns, and notes below it; a folded one opens when its title is clicked."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default_factory=tuple)
    folded: bool = False


def text(value: object, kind: str = "", hint: str = "") -> Cell:
    """A cell of text, which sorts by it."""
    return Cell(str(value), str(value).lower(), hint, kind)


def number(value: float | None, digits: int = 3, kind: str = "number", unit: str = "", hint: str = "") -> Cell:
    """A cell of a number with its digits after the point; "–" where there is none."""
    if value is None:
        return Cell("–", None, hint, kind)
    shown = round(value, digits) or 0.0  # no "-0.000"
    return Cell(f"{shown:,.{digits}f}{unit}", float(value), hint, kind)


def interval(mean: float, low: float, high: float, single: bool = False) -> Cell:
    """A mean with its 95 % interval; of a single crystal or compound there is none.

    Intervals that reach beyond 100 have one digit after the point, so that the table keeps its width.
    """
    if single:
        return Cell(f"{mean:.3f}", mean, "", "number")
    digits = 3 if abs(high) < 100 else 1
    return Cell(f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]", mean, "", "number")


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


FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Picture:
    """A picture of the page as a data URL, with its title and caption."""

    title: str
    caption: str
    source: str


@dataclass(frozen=True)
class Section:
    """A section of the page: its title, the name of its anchor, paragraphs, and tables and figures below them."""

    title: str
    anchor: str
    text: Sequence[str] = field(default_factory=tuple)
    blocks: Sequence[Table | Drawing | PeriodicTable | Picture] = field(default_factory=tuple)


@dataclass(frozen=True)
class Card:
    """A number at the top of the page with what it is."""

    value: str
    label: str


def keep_units(heading: str) -> str:
    """A heading whose line never breaks before its unit, as in "p90 %" or "network s"."""
    return re.sub(r" (?=\(?(?:%|s|eV|MB|GB)\)?$)", "\u00a0", heading)


def mark_code(line: str) -> Markup:
    """A line as HTML, escaped, with `words` between backticks as code."""
    from markupsafe import Markup, escape

    parts = line.split("`")
    if len(parts) % 2 == 0:  # a single backtick stands for itself
        return escape(line)
    return Markup("").join(Markup("<code>{}</code>").format(p) if k % 2 else escape(p) for k, p in enumerate(parts))


def render_page(
    title: str, lead: Sequence[str], cards: Sequence[Card], sections: Sequence[Section], footer: str
) -> str:
    """The HTML of a page.

    Texts are escaped by Jinja. The page's policy forbids every script but its own, which it names by its hash, and
    everything from the network, so that a name such as <script> is shown and not run.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["keep_units"] = keep_units
    environment.filters["code"] = mark_code
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    names: dict[str, Any] = {
        "title": title,
        "lead": lead,
        "cards": cards,
        "sections": [section for section in sections if section.blocks or section.text],
        "footer": footer,
        "style": Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    return environment.get_template("page.html").render(names)
