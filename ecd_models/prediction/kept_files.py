"""Density files that an earlier call wrote and a later one keeps: whether they are what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.formats import cube
from ecd_data.formats.vasp import chgcar
from ecd_data.io.density_names import PREDICTED_BY
from ecd_data.io.file_bytes import comment_line
from ecd_data.vasp_grid import Shape

MAX_BLANKS = 16  # bytes of line ends behind the last number of a file


def find_difference(
    file: Path, model: str, crystal: Crystal, shape: Shape, augmentation: Sequence[str] | None = None
) -> str | None:
    """What of a CHGCAR or cube file is not as asked, in words; None if it is of the model, the crystal and on the grid.

    Parameters
    ----------
    file : the file; only its head and its end are read.
    model : the name of the model as it stands in the file, see `name_model`.
    crystal : the crystal, with the cell and positions to the digits that such a file has.
    shape : the grid points along a, b, c.
    augmentation : the text of the PAW occupancies that a CHGCAR must have behind each grid; None where any will do.
    """
    comment, found = read_head(file)
    expected = comment_line({"comment": f"{PREDICTED_BY} {model}"}, "").decode(errors="replace")
    if comment.split() != expected.split():
        return f"{comment!r} and not predicted by {model}"
    if found != tuple(shape):
        return f"on a grid of {_describe(found)} and not {_describe(shape)} points"
    if not _has_crystal(file, crystal, shape):
        return "of another cell or of other positions of the atoms"
    if augmentation and file.suffix != ".cube" and not _ends_with(file, augmentation[-1]):
        return "without the augmentation occupancies that are asked for"
    return None


def _ends_with(file: Path, text: str) -> bool:
    """Whether a file ends with a text, whatever the blanks and line ends behind it."""
    due = text.encode().rstrip()
    with open(file, "rb") as content:
        content.seek(max(0, file.stat().st_size - len(due) - MAX_BLANKS))
        return content.read().rstrip().endswith(due)


def _has_crystal(file: Path, crystal: Crystal, shape: Shape) -> bool:
    """Whether the lines of a file from its second one on are those that are written for a crystal."""
    if file.suffix == ".cube":
        due = cube.render_header(crystal, shape, {})
    else:
        due = chgcar.render_header(Density(crystal, np.ones((1, 1, 1))))
    expected = due.decode(errors="replace").split("\n")[1:-1]
    with open(file, encoding="utf-8", errors="replace") as lines:
        next(lines, "")
        return [line.rstrip("\n") for line in islice(lines, len(expected))] == expected


def read_head(file: Path) -> tuple[str, tuple[int, ...]]:
    """The first line of a CHGCAR or cube file, and its grid points along a, b, c; none where the file is cut."""
    with open(file, encoding="utf-8", errors="replace") as lines:
        comment = next(lines, "").strip()
        if file.suffix == ".cube":
            numbers = [line.split()[0] for line in islice(lines, 2, 5)]  # behind a second comment and the origin
        else:
            next((line for line in lines if not line.strip()), None)  # the blank line above the grid
            numbers = next(lines, "").split()
    return comment, tuple(int(number) for number in numbers if number.isdigit())


def _describe(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "no"
