"""Density files that an earlier call wrote and a later one keeps: whether they are what it asks for."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from ecd_data.io.density_names import PREDICTED_BY
from ecd_data.io.file_bytes import comment_line
from ecd_data.vasp_grid import Shape


def find_difference(file: Path, model: str, shape: Shape) -> str | None:
    """What of a CHGCAR or cube file is not as asked, in words; None if it is of the model and on the grid.

    Parameters
    ----------
    file : the file; only its head is read.
    model : the name of the model as it stands in the file, see `name_model`.
    shape : the grid points along a, b, c.
    """
    comment, found = read_head(file)
    expected = comment_line({"comment": f"{PREDICTED_BY} {model}"}, "").decode(errors="replace")
    if comment.split() != expected.split():
        return f"{comment!r} and not predicted by {model}"
    if found != tuple(shape):
        return f"on a grid of {_describe(found)} and not {_describe(shape)} points"
    return None


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
