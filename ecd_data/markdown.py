"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def make_markdown_table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    return "\n".join(map(make_markdown_row, [header, ["---"] * len(header), *rows]))


def make_markdown_row(cells: Sequence[object]) -> str:
    """A row of a table in Markdown, for those that are printed row by row."""
    return "| " + " | ".join(map(str, cells)) + " |"
