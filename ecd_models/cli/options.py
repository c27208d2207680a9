"""Options that several verbs share, and what is refused before any work is done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ecd_data.errors import UsageError

MAX_POINTS = 1 << 31
INTERRUPTED = 130  # the exit code of Ctrl-C
PICTURES = (".png", ".pdf", ".svg")


def positive_grid(grid: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    if grid and not (min(grid) > 0 and grid[0] * grid[1] * grid[2] <= MAX_POINTS):
        raise UsageError(f"a grid has three positive numbers of points and at most {MAX_POINTS:,} in all, not {grid}")
    return grid


def writable(file: Path | None) -> Path | None:
    """The file to write, refused before the work is done and not after."""
    if file is not None and file.is_dir():
        raise UsageError(f"{file} is a folder: name a file to write")
    if file is not None and not os.access(file.parent, os.W_OK):
        reason = "cannot be written to" if file.parent.is_dir() else "does not exist"
        raise UsageError(f"{file}: the folder {file.parent} {reason}: name another or make it")
    return file


def density_file(file: Path | None) -> Path | None:
    """The density file to write, refused where its name tells no format."""
    from ecd_data.formats import find_renderer

    if file is not None:
        find_renderer(file)
    return writable(file)


def picture(file: Path | None) -> Path | None:
    """The picture to write, refused where its name tells no format."""
    if file is not None and file.suffix.lower() not in PICTURES:
        raise UsageError(f"{file}: the name tells no picture format; let it end in {', '.join(PICTURES)}")
    return writable(file)


Data = Annotated[
    str | None, typer.Option("--data", help="Folder or URL with the stores; default ECD_ROOT, the sample.")
]
Sample = Annotated[
    bool, typer.Option("--sample", help="The embedded sample's data, also for a task of the benchmark; results say so.")
]
Unit = Annotated[
    str | None, typer.Option("--unit", help="Unit in cube and XSF files, which leave it open: e/A^3 or e/bohr^3.")
]
Grid = Annotated[tuple[int, int, int] | None, typer.Option(help="Grid points along a, b, c.", callback=positive_grid)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
