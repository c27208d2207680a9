"""Flags for what the reader of a file had to guess: its unit, the ends of its grid, its spin."""

from __future__ import annotations

from collections.abc import Iterator

from ecd_data.checks.report import FLAGS, Report, flag
from ecd_data.density import Density


def check_guesses(rho: Density) -> Iterator[Report]:
    """A flag for each entry of meta["guesses"] {flag: sentence}."""
    for name, sentence in rho.meta.get("guesses", {}).items():
        if name in FLAGS:
            yield flag(name, sentence)
