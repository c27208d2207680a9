"""Blocks of numbers as Fortran programs write them, read with the compiled reader, or numpy where it was not built."""

from __future__ import annotations

import re

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.errors import FormatError
from ecd_data.formats.numbers import parse_numbers, parse_planes, to_floats
from ecd_data.io.file_bytes import Text

PIECE_BYTES = 1 << 20  # of text that are searched for words at a time
LINE_COUNTS = (5, 10)  # numbers in a line of CHGCAR and CHG
TAIL_BYTES = 1 << 10  # at the end of a text, in which its last two lines are searched for
MIN_DECIMALS = 3  # with fewer, a number that was cut can look like its neighbours by chance
DECIMAL_NUMBER = re.compile(rb"[-+]?\d*\.(\d*)([EeDd]?[-+]\d+)?")


def parse_grid(
    data: Text, start: int, shape: tuple[int, int, int], divisor: float, name: str, out: Floats | None = None
) -> tuple[Floats, int]:
    """A grid [a, b, c] from a text whose first axis runs fastest, and the position of the line after its numbers.

    Parameters
    ----------
    data : the text.
    start : the position of the first number.
    shape : points along each axis.
    divisor : every number is divided by it.
    name : what errors call the text.
    out : an array [a, b, c] that takes the grid; by default a new one.

    Raises
    ------
    FormatError : see `parse_block`.
    """
    count = shape[0] * shape[1] * shape[2]
    _check_length(data, start, count, name)
    compiled = parse_planes(data, start, shape, divisor, out)
    end = None if compiled is None else _end_of_line(data, start, compiled[1], count)
    if compiled is not None and end is not None:
        return compiled[0], end
    values, end = parse_block(data, start, count, name)
    return to_c_order(values, shape, divisor, out), end


def parse_block(data: Text, start: int, count: int, name: str) -> tuple[Floats, int]:
    """Numbers [count] from the position `start` of a text on, and the position of the line after them.

    Zeros that fill the last line to the length of the others, as VTST's scripts write them, belong to no point.

    Raises
    ------
    FormatError : a word is not a finite number, or there are fewer or more numbers than `count`.
    """
    _check_length(data, start, count, name)
    compiled = _parse_compiled(data, start, count)
    if compiled is not None:
        return compiled
    stop, end = _find_block_end(data, start, count, name)
    text = data[start:stop]
    values = to_floats(text)
    if values is None or len(values) != count:
        raise FormatError(f"{name}: {_explain_bad_block(text, count)}; the file is damaged, copy or download it again")
    if not np.isfinite(values).all():
        raise FormatError(f"{name} holds NaN or infinite values: the calculation failed, run it again")
    return values, end


def _check_length(data: Text, start: int, count: int, name: str) -> None:
    """Raise FormatError where the text is too short for the numbers, before memory is asked for."""
    if 2 * count > len(data) - start + 1:
        raise FormatError(f"{name} is cut: the file is too short for its {count} numbers; copy or download it again")


def _parse_compiled(data: Text, start: int, count: int) -> tuple[Floats, int] | None:
    values = np.empty(count)
    position = parse_numbers(data, start, values)
    end = None if position is None else _end_of_line(data, start, position, count)
    return None if end is None else (values, end)


def _end_of_line(data: Text, start: int, position: int, count: int) -> int | None:
    """The position of the line after the last of `count` numbers, which ends at `position`; None where more follow."""
    end = _next_line(data, position)
    extra = data[position:end].split()
    return end if not extra or _is_zero_filling(data, start, position, count, extra) else None


def _is_zero_filling(data: Text, start: int, position: int, count: int, extra: list[bytes]) -> bool:
    """Whether the words `more`, after the last number, are zeros that make its line as long as all lines before it."""
    values = to_floats(b" ".join(extra))
    if values is None or values.any():
        return False
    line = max(start, data.rfind(b"\n", start, position) + 1)
    if line == start:
        return count + len(extra) in LINE_COUNTS
    width = len(data[start : _next_line(data, start)].split())
    full, rest = divmod(count, width)
    return (
        0 < rest == len(data[line:position].split())
        and rest + len(extra) == width
        and data[start:line].count(b"\n") == full
    )


def _explain_bad_block(text: bytes, count: int) -> str:
    words = text.split()
    for number, word in enumerate(words):
        try:
            float(word)
        except ValueError:
            return f"{word[:24].decode(errors='replace')!r} stands where number {number + 1} is due"
    return f"it has {len(words)} numbers where {count} are due"


def _find_block_end(data: Text, start: int, count: int, name: str) -> tuple[int, int]:
    """The positions at which the last number of a block and its line end."""
    first = data.find(b"\n", start)  # where all lines are as long as the first, the end can be computed
    per_line = len(data[start:first].split()) if first > 0 else count
    if per_line == 0:
        raise FormatError(f"{name} is cut: no number follows the grid dimensions")
    full, rest = divmod(count, per_line)
    jump = start + full * (first + 1 - start)
    if first > 0 and jump <= len(data) and data[jump - 1 : jump] == b"\n":
        end = _next_line(data, jump) if rest else jump
        if len(data[jump:end].split()) == rest:
            return end, end
    return _find_words(data, start, count, name)


def _next_line(data: Text, position: int) -> int:
    end = data.find(b"\n", position)
    return len(data) if end < 0 else end + 1


def _find_words(data: Text, start: int, count: int, name: str) -> tuple[int, int]:
    """The positions at which the last of `count` words and its line end; the first letters of words are counted."""
    position, counted = start, 0
    while position < len(data):
        # With the byte before, which may be blank
        piece = np.frombuffer(data[position - 1 : position + PIECE_BYTES], dtype=np.uint8)
        blank = piece <= ord(" ")
        begins = np.flatnonzero(blank[:-1] & ~blank[1:])
        if counted + len(begins) >= count:
            last = position + int(begins[count - counted - 1])
            stop = last + len(data[last : _next_line(data, last)].split(maxsplit=1)[0])
            end = _end_of_line(data, start, stop, count)
            if end is None:
                raise FormatError(f"{name} has more numbers than its grid of {count}: it is damaged")
            return stop, end
        position, counted = position + PIECE_BYTES, counted + len(begins)
    raise FormatError(f"{name} is cut: {counted} of {count} numbers; copy or download it again")


def is_last_number_whole(data: Text) -> bool:
    """Whether the last number of a text that ends without a line end is complete.

    It is where it has as many digits as the other numbers of its line, or of the line before where it stands alone.
    False also where these have different lengths, since then nothing tells.
    """
    *before, line = data[max(0, len(data) - TAIL_BYTES) :].split(b"\n")
    words = line.split()
    if len(words) == 1 and before:
        words = before[-1].split() + words
    forms = {_number_form(word) for word in words[-1 - max(LINE_COUNTS) :]}
    return len(words) > 1 and len(forms) == 1 and None not in forms


def _number_form(word: bytes) -> tuple[int, int] | None:
    """How many decimals and exponent characters a number has; None where it has too few to compare."""
    match = DECIMAL_NUMBER.fullmatch(word)
    if match is None or len(match[1]) < MIN_DECIMALS:
        return None
    return len(match[1]), len(match[2] or b"")


def to_c_order(values: Floats, shape: tuple[int, int, int], divisor: float, out: Floats | None = None) -> Floats:
    """An array [a, b, c] from numbers whose first axis runs fastest.

    Parameters
    ----------
    values : the numbers [a * b * c].
    shape : points along each axis.
    divisor : every number is divided by it.
    out : an array [a, b, c] that takes the result; by default a new one.
    """
    source = values.reshape(shape[::-1])
    grid = np.empty(shape) if out is None else out
    slab = np.empty((shape[2], shape[0]))  # one plane at a time stays in the cache
    for plane in range(shape[1]):
        np.divide(source[:, plane], divisor, out=slab)
        grid[:, plane] = slab.T
    grid.flags.writeable = False  # so that a Density takes it without a copy
    return grid
