"""What a verb gives back: its output, with control characters of names and comments escaped, and its exit code."""

from __future__ import annotations

import builtins
import logging
import sys
from typing import TextIO

from ecd_data.safe_text import PrintableFormatter, printable


def print(*values: object, sep: str = " ", file: TextIO | None = None, flush: bool = False) -> None:
    r"""Print values as Python does, each on one line and printable; sep="\n" prints each on a line of its own."""
    builtins.print(*map(printable, values), sep=sep, file=file, flush=flush)


def print_lines(text: object) -> None:
    """Print a text of several lines, each of them printable."""
    print(*str(text).split("\n"), sep="\n")


def show_log() -> None:
    """Send the log of the package to stderr, each line printable."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


DONE = 0
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130  # what shells give a command that Ctrl-C ends

MEANINGS = {
    DONE: "done",
    FAILED: "bad data or a failed run",
    WRONG_USAGE: "wrong usage",
    INTERRUPTED: "interrupted",
}


def list_exit_codes() -> str:
    """The codes with their meanings as one sentence."""
    return "Exit codes: " + ", ".join(f"{code} {meaning}" for code, meaning in MEANINGS.items()) + "."
