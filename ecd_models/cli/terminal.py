"""What the verbs print: every value on one line, with what file names, ids and comments may smuggle in escaped."""

from __future__ import annotations

import builtins
import logging
import sys
from typing import TextIO

from ecd_data.safe_text import PrintableFormatter, printable


def print(*values: object, sep: str = " ", file: TextIO | None = None, flush: bool = False) -> None:
    r"""Print as Python does, each value made printable; several lines are several values with sep="\n"."""
    builtins.print(*map(printable, values), sep=sep, file=file, flush=flush)


def print_lines(text: object) -> None:
    """Print a text of several lines, each made printable."""
    print(*str(text).split("\n"), sep="\n")


def show_log() -> None:
    """Send the package's log lines to stderr, each made printable."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
