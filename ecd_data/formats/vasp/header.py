"""The header of a CHGCAR, which is a POSCAR. That of VASP 4 names no elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ecd_data.crystal import ATOMIC_NUMBERS, Crystal, Floats
from ecd_data.errors import FormatError
from ecd_data.formats.labels import element_of_label
from ecd_data.io.file_bytes import Lines, Text

HYDROGEN_ISOTOPES = {"D": 1, "T": 1}


class Header(NamedTuple):
    """The crystal of a header, metadata such as its comment, and the position where the header ends."""

    crystal: Crystal
    meta: dict[str, Any]
    end: int


def read_header(data: Text, start: int, name: str) -> Header:
    """The header that begins at the position `start` of a text.

    meta has "comment". Where the header has no line of elements, it also has "elements_from" if the first line names
    them, else "type_counts", the number of atoms of each unknown element.

    Raises
    ------
    FormatError, ValueError : the header is damaged; errors call the text `name`.
    """
    lines = Lines(data, start)
    meta: dict[str, Any] = lines.comment()
    scale = [float(x) for x in lines.next().split()]
    lattice = np.array([lines.floats(3) for _ in range(3)])
    factor = scale_factor(scale, lattice)
    counts = lines.next().split()
    symbols: list[str] = []
    if not counts[0].isdigit():
        symbols, counts = counts, lines.next().split()
    amounts = [int(c) for c in counts]
    if symbols and len(symbols) != len(amounts):
        raise FormatError(f"{name} names {len(symbols)} elements but {len(amounts)} counts: repair its lines 6 and 7")
    if min(amounts) < 0 or 6 * sum(amounts) > len(data):
        raise FormatError(f"{name} states {sum(amounts)} atoms, more than it can hold: repair the counts in its header")
    if not symbols:
        symbols = _parse_comment_elements(meta["comment"], len(amounts))
        meta |= {"elements_from": "the first line"} if symbols else {"type_counts": amounts}
    elements = _atomic_numbers(symbols or ["X"] * len(amounts), name)
    numbers = [element for element, amount in zip(elements, amounts, strict=True) for _ in range(amount)]
    mode = lines.next().strip().lower()
    if mode.startswith("s"):
        mode = lines.next().strip().lower()
    coords = np.array([lines.floats(3) for _ in numbers]).reshape(-1, 3)
    if mode[:1] in ("c", "k"):
        coords = np.linalg.solve((lattice * factor).T, (coords * factor).T).T
    elif not mode.startswith("d"):
        raise FormatError(f"{name} has {mode!r} where Direct or Cartesian is due: its header is damaged")
    return Header(Crystal(lattice * factor, np.array(numbers), coords), meta, lines.position)


def scale_factor(scale: Sequence[float], lattice: Floats) -> Any:
    """The factor of a lattice [3, 3]: a number, or three for x, y and z.

    Raises
    ------
    ValueError : `scale` is not one nonzero number or three numbers.
    """
    if len(scale) not in (1, 3):
        raise ValueError(f"{len(scale)} scale factors where 1 or 3 are due")
    if len(scale) == 3:
        return np.array(scale)
    if scale[0] < 0:  # VASP takes a negative number for minus the volume of the cell
        return (-scale[0] / abs(np.linalg.det(lattice))) ** (1 / 3)
    if scale[0] == 0:
        raise ValueError("the scale factor is 0")
    return scale[0]


def _parse_comment_elements(comment: str, types: int) -> list[str]:
    """The elements that a comment lists, one for each type; [] where it says anything else."""
    symbols = [word.partition("_")[0] for word in comment.split()]
    known = ATOMIC_NUMBERS | HYDROGEN_ISOTOPES if types > 1 else ATOMIC_NUMBERS
    return symbols if len(symbols) == types and all(s in known and s != "X" for s in symbols) else []


def _atomic_numbers(labels: list[str], name: str) -> list[int]:
    try:
        return [ATOMIC_NUMBERS[label] if label in ATOMIC_NUMBERS else element_of_label(label) for label in labels]
    except ValueError as error:
        raise FormatError(f"{name}: {error}; repair its line of elements") from error
