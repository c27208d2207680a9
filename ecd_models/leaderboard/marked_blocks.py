"""Blocks of a Markdown page that a command writes, each between two marks; the rest of the page is written by hand."""

from __future__ import annotations

from collections.abc import Sequence

from ecd_data.errors import UsageError


def fill_block(text: str, name: str, lines: Sequence[str], page: object) -> str:
    """The text of a page with other lines between the two marks of a block.

    Parameters
    ----------
    text : of the page.
    name : of the block, as it stands in its marks.
    lines : of the block, without its marks.
    page : the file of the page, for the message.

    Raises
    ------
    UsageError : the page does not have each mark once, the first before the second.
    """
    begin, end = (f"<!-- {name}: {mark} -->" for mark in ("begin", "end"))
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed or text.count(begin) != 1 or text.count(end) != 1:
        raise UsageError(f"{page} has no place for the {name}: give it the lines {begin} and {end}, each once")
    return "".join([before, "\n".join([begin, *lines, end]), after])
