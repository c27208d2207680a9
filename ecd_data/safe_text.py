"""Safe display of text from files and file names: without control characters and terminal escapes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

WHITESPACE = " \t"


def printable(text: object) -> str:
    r"""The text on one line, with unprintable characters written as \x1b, \n or \u202e.

    This escapes control characters, terminal escapes, line breaks, marks that reverse the direction of writing, and
    bytes that are not UTF-8, so that a terminal or a table shows them and does not obey them.
    """
    words = str(text)
    if words.isprintable():
        return words
    return "".join(c if c.isprintable() or c in WHITESPACE else _escape(c) for c in words)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def name_some(items: Sequence[object], most: int, separator: str = ", ") -> str:
    """The first `most` items as text, and how many more there are, as in "a, b and 3 more"."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(map(str, items[:most])) + more


class PrintableFormatter(logging.Formatter):
    """A log formatter that makes messages printable; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The log line of a record."""
        return printable(super().formatMessage(record))
