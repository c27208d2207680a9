"""Options that several verbs share, and the checks of their values before any work is done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.shared_options import Quiet as Quiet

MAX_POINTS = 1 << 31  # of a grid on the command line: a larger one is a typing error, and would take 17 GB
PICTURES = (".png", ".pdf", ".svg")
PAGES = (".html", ".htm")


def check_grid(grid: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    """The grid; UsageError where a number is not positive or the grid is too large."""
    if grid and not (min(grid) > 0 and grid[0] * grid[1] * grid[2] <= MAX_POINTS):
        raise UsageError(f"a grid has three positive numbers of points and at most {MAX_POINTS:,} in all, not {grid}")
    return grid


def writable(file: Path | None) -> Path | None:
    """The file to write; UsageError where it is a folder or its folder cannot be written to."""
    if file is not None and file.is_dir():
        raise UsageError(f"{file} is a folder: name a file to write")
    if file is not None and not os.access(file.parent, os.W_OK):
        reason = "cannot be written to" if file.parent.is_dir() else "does not exist"
        raise UsageError(f"{file}: the folder {file.parent} {reason}: name another or make it")
    return file


def density_file(file: Path | None) -> Path | None:
    """The density file to write; UsageError where its name tells no format or it cannot be written."""
    from ecd_data.formats import find_renderer

    if file is not None:
        find_renderer(file)
    return writable(file)


def check_picture(file: Path | None) -> Path | None:
    """The picture to write; UsageError where its name tells no format."""
    if file is not None and file.suffix.lower() not in PICTURES:
        raise UsageError(f"{file}: the name tells no picture format; let it end in {', '.join(PICTURES)}")
    return writable(file)


def check_page(file: Path | None) -> Path | None:
    """The page to write; UsageError where its name is not that of an HTML file."""
    if file is not None and file.suffix.lower() not in PAGES:
        raise UsageError(f"{file}: a page is an HTML file: let its name end in .html")
    return writable(file)


Data = Annotated[
    str | None,
    typer.Option("--data", help="Folder or URL with the stores; default: ECD_ROOT, else the embedded sample."),
]
Sample = Annotated[
    bool, typer.Option("--sample", help="Use the embedded sample, also for a task of the benchmark; results say so.")
]
Unit = Annotated[
    str | None,
    typer.Option("--unit", help="Unit of the values in cube and XSF files, which do not state it: e/A^3 or e/bohr^3."),
]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON object instead of lines.")]
Grid = Annotated[
    tuple[int, int, int] | None, typer.Option(help="Number of grid points along a, b and c.", callback=check_grid)
]
