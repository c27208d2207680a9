"""The exit codes of the command `ecd`; docs/cli.md prints this table."""

from __future__ import annotations

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
