"""The page as PDF or PNG, printed by Chromium without a window."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ecd_data.errors import EcdError, MissingDependencyError
from ecd_data.io.atomic_write import write_whole

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless=new",
    "--disable-gpu",
    "--no-first-run",
    "--disable-extensions",
    "--hide-scrollbars",
)
ROOT_OPTIONS = ("--no-sandbox",)  # Chromium refuses to start for root with its sandbox, as in a container
TIMEOUT = 180  # seconds for a page of some megabytes on a busy machine
WIDTH, HEIGHT = 1280, 12_000  # pixels of a PNG: below what Chromium draws in one picture


def find_chromium() -> str | None:
    """The path of Chromium or Chrome; None where it is not installed."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def require_chromium(output: Path) -> str:
    """The path of Chromium or Chrome, which prints `output`; MissingDependencyError where it is not installed."""
    program = find_chromium()
    if program is None:
        raise MissingDependencyError(
            f"{output}: PDF and PNG need Chromium, which is not installed (Debian: apt install chromium); a "
            "report.html can be printed from any browser"
        )
    return program


def list_options() -> tuple[str, ...]:
    """The options for Chromium without a window, for whoever runs it."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return (*OPTIONS, *ROOT_OPTIONS) if root else OPTIONS


def print_page(html: Path, output: Path) -> None:
    """Write a page to a PDF, or its top to a PNG, by the name of the output; an earlier file stays if that fails.

    Raises
    ------
    MissingDependencyError : Chromium is not installed.
    EcdError : it wrote nothing.
    """
    program = require_chromium(output)
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder) / f"page{output.suffix.lower()}"
        how = [f"--print-to-pdf={printed}", "--no-pdf-header-footer"]
        if printed.suffix != ".pdf":
            how = [f"--screenshot={printed}", f"--window-size={WIDTH},{HEIGHT}"]
        command = [program, *list_options(), f"--user-data-dir={folder}/profile", *how, html.absolute().as_uri()]
        try:
            subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EcdError(f"{output}: Chromium could not print the page ({error}): print the HTML by hand") from error
        if not printed.is_file():
            raise EcdError(f"{output}: Chromium wrote nothing: print the HTML by hand")
        with write_whole(output) as aside:
            shutil.copyfile(printed, aside)
