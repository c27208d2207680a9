"""Text that came from files and names, made harmless where it is shown: no control characters, no escapes."""

from __future__ import annotations

import logging

HARMLESS = " \t"


def printable(text: object) -> str:
    r"""The text on one line, with what cannot be printed as \x1b, \n or \u202e: terminals and tables take it as text.

    Control characters, terminal escapes, line breaks, marks that turn the direction of writing, bytes of no UTF-8.
    """
    words = str(text)
    if words.isprintable():
        return words
    return "".join(c if c.isprintable() or c in HARMLESS else _escaped(c) for c in words)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


class PrintableFormatter(logging.Formatter):
    """A formatter of log lines whose messages are printable; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record's line."""
        return printable(super().formatMessage(record))
