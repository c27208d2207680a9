"""The page as HTML: one file without links to others. All texts are escaped, and only its own script may run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecd_models.report.drawing import Drawing
from ecd_models.report.periodic_table import PeriodicTable
from ecd_models.report.table import Table

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
