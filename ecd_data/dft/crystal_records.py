"""The crystal of a record: lattice, numbers and frac_coords, each checked and named where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ecd_data.crystal import SYMBOLS, Crystal, Floats
from ecd_data.errors import UsageError

KEYS = ("lattice", "numbers", "frac_coords")
SHOWN = 60  # characters of a wrong value that a message has


def read_record(record: Any) -> Crystal:
    """The crystal of a record with the keys lattice [3, 3] in Å, numbers [n] and frac_coords [n, 3].

    Raises
    ------
    UsageError : the record is no mapping, lacks a key, or one of its values is no such array; the sentence says which.
    """
    if not isinstance(record, Mapping):
        raise UsageError(f"a crystal record is an object with {', '.join(KEYS)}, not {_shorten(record)}")
    if missing := [key for key in KEYS if key not in record]:
        raise UsageError(f"the crystal record has no {' and no '.join(missing)}: give {', '.join(KEYS)}")
    lattice = _read_numbers(record["lattice"])
    if lattice is None or lattice.shape != (3, 3):
        raise UsageError(f"lattice must be three vectors of three numbers in Å, not {_shorten(record['lattice'])}")
    numbers = _read_numbers(record["numbers"])
    if numbers is None or numbers.ndim != 1 or not all(n in range(1, len(SYMBOLS)) for n in numbers):
        raise UsageError(
            f"numbers must be the atomic number of each atom, such as [14, 8], not {_shorten(record['numbers'])}"
        )
    frac = _read_numbers(record["frac_coords"])
    if frac is None or frac.shape not in ((len(numbers), 3), (0,)) or len(frac) != len(numbers):
        count = f"{len(numbers)} atom" + "s" * (len(numbers) != 1)
        raise UsageError(
            f"frac_coords must be three numbers for each of the {count}, not {_shorten(record['frac_coords'])}"
        )
    try:
        return Crystal(lattice, numbers.astype(int), frac)
    except ValueError as error:
        raise UsageError(f"{error}: repair the record") from error


def _read_numbers(value: Any) -> Floats | None:
    """The array of a list of finite numbers; None where it is none."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return None
    if array.size and array.dtype.kind not in "iuf":
        return None
    found: Floats = array.astype(np.float64)
    return found if np.isfinite(found).all() else None


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
