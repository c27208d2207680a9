"""Numbers of a text as floats, each the nearest one, as `float()` gives it: compiled, or by numpy where it is not."""

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

LIBRARY = Path(__file__).with_name("libnumbers.so")  # what hatch_build.py makes of numbers.c
STEP = 1 << 18  # bytes of a file at a time, so that they stay in the cache
NUMBER, WORD = 20, 64  # bytes of most numbers, of the longest
ODD = 256  # words at a time that are left to Python
LARGEST_POWER = 160  # of ten, in the library
LINE = 8  # doubles in a line of the cache, planes turned at a time
IN_CACHE = 1 << 15  # numbers of planes that stay in the cache until they are turned
LAST = b" -7.25e-301"  # behind a text: where it is not the last number read, a word before it is none
NO_EXPONENT_LETTER = re.compile(rb"(\d)([+-]\d{3})(?!\d)")  # Fortran drops the E of three-digit exponents

# numpy's word for text that is no number. Set once: `catch_warnings` is of the process, not of the thread.
warnings.filterwarnings("ignore", "string or file could not be read to its end", DeprecationWarning)


def parse_numbers(data: Text, start: int, out: Floats) -> int | None:
    """Fill `out` [n] with the numbers from position `start` on; the position after them.

    None without the library, and where a word is no finite number or the text ends too early.
    """
    library = compiled()
    if library is None:
        return None
    whole = isinstance(data, bytes)
    step = len(data) if whole else min(STEP, NUMBER * len(out) + WORD)
    scratch = np.empty(0 if whole else step, dtype=np.uint8)
    text: Any = data
    state = library.state()
    target, count, size, done, position = out.ctypes.data, len(out), len(data), 0, start
    while done < count:
        left = count - done
        length = min(step, NUMBER * left + WORD, size - position)
        if not whole:
            text = view_bytes(data, position, length, scratch)
        place, first = (text, position) if whole else (text.ctypes.data, 0)
        got = library.parse(place, first, length, left, target + 8 * done, *library.powers, state, ODD)
        for odd in range(2, 2 + 2 * state[1], 2):
            word = text[first + state[odd + 1] : first + state[odd + 1] + WORD]
            value = _by_numpy(bytes(word).split(maxsplit=1)[0])
            if value is None or len(value) != 1 or not np.isfinite(value[0]):
                return None
            out[done + state[odd]] = value[0]
        if state[0] == 0:
            return None
        done, position = done + got, position + state[0]
    return position


def parse_planes(
    data: Text, start: int, shape: tuple[int, int, int], divisor: float, out: Floats | None = None
) -> tuple[Floats, int] | None:
    """A grid whose first axis runs fastest, divided [shape], and the position after it; None as `parse_numbers`.

    It is in `out` [shape], where that is given.
    """
    library = compiled()
    if library is None:
        return None
    a, b, c = shape
    at_once = min(max(IN_CACHE // (a * b) // LINE, 2) * LINE, c)
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
    grid.flags.writeable = False  # so that a Density takes it as it is
    return grid, position


def to_floats(text: bytes) -> Floats | None:
    """The numbers in `text`, also as Fortran prints them; None where a word is no number."""
    if len(text) < STEP:
        values = np.empty(len(text.split()))
        if not len(values) or parse_numbers(text + b"\n", 0, values) is not None:
            return values
    return _by_numpy(text)


def _by_numpy(text: bytes) -> Floats | None:
    values = _plain(text)
    if values is None:
        values = _plain(NO_EXPONENT_LETTER.sub(rb"\1E\2", text.replace(b"D", b"E").replace(b"d", b"e")))
    return values


def _plain(text: bytes) -> Floats | None:
    if not text.strip():
        return np.empty(0)
    try:
        values: Floats = np.fromstring(text + LAST, dtype=np.float64, sep=" ")
    except (ValueError, DeprecationWarning):  # of a numpy or a process that is strict
        return None
    return values[:-1] if len(values) and values[-1] == float(LAST) else None


class Library(NamedTuple):
    """The functions of numbers.c, the powers that they want, and room for what they leave."""

    parse: Any
    turn: Any
    powers: tuple[int, int, int]
    state: Any


@cache
def compiled() -> Library | None:
    """The library, None where it was not built here."""
    if sys.byteorder != "little" or not LIBRARY.exists():
        return None
    integer, pointer, real = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double
    try:
        library = ctypes.CDLL(str(LIBRARY))
        parse, turn = library.parse_numbers_v4, library.turn_planes_v4
    except (OSError, AttributeError):  # of another machine or version
        return None
    parse.argtypes = [pointer, *[integer] * 3, pointer, pointer, integer, integer, pointer, integer]
    parse.restype = integer
    turn.argtypes = [pointer, integer, integer, integer, integer, real, pointer]
    turn.restype = None
    powers = (_powers().ctypes.data, -LARGEST_POWER, LARGEST_POWER)
    return Library(parse, turn, powers, integer * (2 + 2 * ODD))


@cache
def _powers() -> NDArray[np.uint64]:
    """The first 128 bits of 5^power as the method in `numbers.c` wants them, rounded up from 5^-27 to 5^-1."""
    found = bytearray()
    for power in range(-LARGEST_POWER, LARGEST_POWER + 1):
        whole = 5 ** abs(power)
        if power < 0:
            bits = (whole - 1).bit_length()
            whole = (1 << (bits + 127 if power >= -27 else 2 * bits + 128)) // whole + 1
        excess = whole.bit_length() - 128
        found += (whole >> excess if excess > 0 else whole << -excess).to_bytes(16, "little")
    return np.frombuffer(bytes(found), dtype="<u8")
