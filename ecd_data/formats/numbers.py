"""Numbers in a text as the nearest floats, as `float()` gives them: read by a compiled library, else by numpy."""

from __future__ import annotations

import ctypes
import re
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Floats
from ecd_data.io.file_bytes import Text, view_bytes

LIBRARY = Path(__file__).with_name("libnumbers.so")  # compiled from numbers.c by hatch_build.py
PIECE_BYTES = 1 << 18  # of a file are parsed at a time, so that they stay in the cache
NUMBER_BYTES, WORD_BYTES = 20, 64  # that most numbers take, and that the longest number takes
MAX_HARD_WORDS = 256  # of a piece, which the library leaves to Python since their rounding is difficult
LARGEST_POWER = 160  # of ten that the library parses by itself
LINE_DOUBLES = 8  # in a line of the cache: so many planes are transposed at a time
CACHED_NUMBERS = 1 << 15  # parsed planes of so many numbers stay in the cache until they are transposed
# Appended to a text: where it is not the last number that numpy reads, a word before it is no number
SENTINEL = b" -7.25e-301"
NO_EXPONENT_LETTER = re.compile(rb"(\d)([+-]\d{3})(?!\d)")  # Fortran drops the E of three-digit exponents

# numpy warns so where text is no number. Set once, since `catch_warnings` acts on the process and not on a thread.
warnings.filterwarnings("ignore", "string or file could not be read to its end", DeprecationWarning)


def parse_numbers(data: Text, start: int, out: Floats) -> int | None:
    """The position after n numbers that were parsed into `out` [n], the first of them at `start`.

    None where the library was not built, a word is no finite number, or the text ends too early.
    """
    library = load_library()
    if library is None:
        return None
    whole = isinstance(data, bytes)
    step = len(data) if whole else min(PIECE_BYTES, NUMBER_BYTES * len(out) + WORD_BYTES)
    scratch = np.empty(0 if whole else step, dtype=np.uint8)
    text: Any = data
    state = library.state()
    target, count, size, done, position = out.ctypes.data, len(out), len(data), 0, start
    while done < count:
        left = count - done
        length = min(step, NUMBER_BYTES * left + WORD_BYTES, size - position)
        if not whole:
            text = view_bytes(data, position, length, scratch)
        place, first = (text, position) if whole else (text.ctypes.data, 0)
        got = library.parse(place, first, length, left, target + 8 * done, *library.powers, state, MAX_HARD_WORDS)
        for hard in range(2, 2 + 2 * state[1], 2):
            word = bytes(text[first + state[hard + 1] : first + state[hard + 1] + WORD_BYTES]).split(maxsplit=1)[0]
            value = None if len(word) == WORD_BYTES else _parse_with_numpy(word)  # a longer word may go on
            if value is None or len(value) != 1 or not np.isfinite(value[0]):
                return None
            out[done + state[hard]] = value[0]
        if state[0] == 0:
            return None
        done, position = done + got, position + state[0]
    return position


def parse_planes(
    data: Text, start: int, shape: tuple[int, int, int], divisor: float, out: Floats | None
) -> tuple[Floats, int] | None:
    """A grid [a, b, c] from a text whose first axis runs fastest, and the position after it; None as `parse_numbers`.

    Parameters
    ----------
    data : the text.
    start : the position of the first number.
    shape : points along each axis.
    divisor : every number is divided by it.
    out : an array [a, b, c] that takes the grid; None for a new one.
    """
    library = load_library()
    if library is None:
        return None
    a, b, c = shape
    at_once = min(max(CACHED_NUMBERS // (a * b) // LINE_DOUBLES, 2) * LINE_DOUBLES, c)
    planes = np.empty(at_once * a * b)
    grid = np.empty(shape) if out is None else out
    source, target, position = planes.ctypes.data, grid.ctypes.data, start
    for first in range(0, c, at_once):
        count = min(at_once, c - first)
        after = parse_numbers(data, position, planes[: count * a * b])
        if after is None:
            return None
        position = after
        library.turn(source, count, a, b, c, divisor, target + 8 * first)
    grid.flags.writeable = False  # so that a Density takes it without a copy
    return grid, position


def to_floats(text: bytes) -> Floats | None:
    """The numbers in a text [n], also in Fortran's notation; None where a word is no number."""
    if len(text) < PIECE_BYTES:
        values = np.empty(len(text.split()))
        if not len(values) or parse_numbers(text + b"\n", 0, values) is not None:
            return values
    return _parse_with_numpy(text)


def _parse_with_numpy(text: bytes) -> Floats | None:
    values = _parse_plain(text)
    if values is None:
        values = _parse_plain(NO_EXPONENT_LETTER.sub(rb"\1E\2", text.replace(b"D", b"E").replace(b"d", b"e")))
    return values


def _parse_plain(text: bytes) -> Floats | None:
    if not text.strip():
        return np.empty(0)
    try:
        values: Floats = np.fromstring(text + SENTINEL, dtype=np.float64, sep=" ")
    # Newer versions of numpy raise the first, strict filters of warnings the second
    except (ValueError, DeprecationWarning):
        return None
    return values[:-1] if len(values) and values[-1] == float(SENTINEL) else None


class Library(NamedTuple):
    """The functions of numbers.c, their table of powers of ten, and the type of the array for the words they leave."""

    parse: Any
    turn: Any
    powers: tuple[int, int, int]
    state: Any


@cache
def load_library() -> Library | None:
    """The compiled library, None where it was not built on this machine."""
    if sys.byteorder != "little" or not LIBRARY.exists():
        return None
    integer, pointer, real = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double
    try:
        library = ctypes.CDLL(str(LIBRARY))
        parse, turn = library.parse_numbers_v4, library.turn_planes_v4
    except (OSError, AttributeError):  # it was built for another machine or version
        return None
    parse.argtypes = [pointer, *[integer] * 3, pointer, pointer, integer, integer, pointer, integer]
    parse.restype = integer
    turn.argtypes = [pointer, integer, integer, integer, integer, real, pointer]
    turn.restype = None
    powers = (_compute_powers().ctypes.data, -LARGEST_POWER, LARGEST_POWER)
    return Library(parse, turn, powers, integer * (2 + 2 * MAX_HARD_WORDS))


@cache
def _compute_powers() -> NDArray[np.uint64]:
    """The first 128 bits of 5^power as numbers.c uses them, rounded up from 5^-27 to 5^-1."""
    table = bytearray()
    for power in range(-LARGEST_POWER, LARGEST_POWER + 1):
        whole = 5 ** abs(power)
        if power < 0:
            bits = (whole - 1).bit_length()
            whole = (1 << (bits + 127 if power >= -27 else 2 * bits + 128)) // whole + 1
        excess = whole.bit_length() - 128
        table += (whole >> excess if excess > 0 else whole << -excess).to_bytes(16, "little")
    return np.frombuffer(bytes(table), dtype="<u8")
