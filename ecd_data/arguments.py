"""Checks of the arguments of public functions before any work is done: numbers, grids, points, paths, names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.errors import UsageError

MAX_POINTS = 1 << 31  # of a grid: refuses grids that no memory can hold
LONGEST = 100  # characters of a value in a message


def whole_number(value: Any, name: str, least: int | None = None) -> int:
    """The value as an int; raises UsageError if it is not a whole number (a bool, 1.5, "3") or is below `least`."""
    whole = isinstance(value, Integral | np.integer) and not isinstance(value, bool | np.bool_)
    if not whole or (least is not None and value < least):
        kind = {None: "a whole number", 0: "a whole number that is not negative", 1: "a positive whole number"}
        raise UsageError(
            f"{name} is {kind.get(least) or f'a whole number of at least {least}'}, not {describe_value(value)}"
        )
    return int(value)


def real_number(value: Any, name: str, example: str) -> float:
    """The value as a float; raises UsageError, with an example, if it is not a finite number."""
    real = isinstance(value, Real | np.floating | np.integer) and not isinstance(value, bool | np.bool_)
    if not real or not np.isfinite(float(value)):
        raise UsageError(f"{name} is a number such as {example}, not {describe_value(value)}")
    return float(value)


def grid_shape(value: Any) -> tuple[int, int, int]:
    """The numbers of points of a grid along a, b, c.

    Raises
    ------
    UsageError : the value is not three positive whole numbers, or they make more than MAX_POINTS points.
    """
    try:
        counts = [] if isinstance(value, str | bytes) else list(value)
    except TypeError:
        counts = []
    try:
        a, b, c = (whole_number(count, "", 1) for count in counts)
    except (UsageError, ValueError):
        raise UsageError(
            f"a grid is three positive whole numbers of points such as (48, 48, 48), not {describe_value(value)}"
        ) from None
    if a * b * c > MAX_POINTS:
        raise UsageError(f"a grid has at most {MAX_POINTS:,} points in all, not {a} x {b} x {c}")
    return a, b, c


def fractional_points(value: Any) -> Floats:
    """Fractional coordinates as an array [n, 3], also of one point [3]; raises UsageError for other shapes and NaN."""
    try:
        points = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"points are fractional coordinates [n, 3], not {describe_value(value)}") from None
    if points.shape == (3,):
        points = points[None]
    if points.ndim != 2 or points.shape[1] != 3:
        raise UsageError(f"points are fractional coordinates [n, 3], not an array of shape {list(points.shape)}")
    if not np.isfinite(points).all():
        raise UsageError(f"points are fractional coordinates [n, 3]: point {_first_bad(points)} is not finite")
    return points


def path_text(value: Any, what: str) -> str:
    """A path or URL as text; raises UsageError if the value is neither or is empty."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise UsageError(f"{what} is a path, not {describe_value(value)}")
    return str(value)


def names_of(value: Any, what: str) -> list[str]:
    """The names of an iterable as a list; raises UsageError for a single name, and for an item that is not text."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise UsageError(f"{what} are a list of names, not {describe_value(value)}")
    names = list(value)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise UsageError(f"{what} are a list of names, and {describe_value(wrong[0])} is not a name")
    return names


def describe_value(value: Any) -> str:
    """The text of a value in a message: on one line, and cut after LONGEST characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _first_bad(points: Floats) -> int:
    return int(np.argmin(np.isfinite(points).all(axis=1)))
