"""Blocks of Fortran numbers as VASP and others write them: the compiled reader where it is built, numpy elsewhere."""

from __future__ import annotations

import re

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.errors import FormatError
from ecd_data.formats.numbers import parse_numbers, parse_planes, to_floats
from ecd_data.io.file_bytes import Text

STEP = 1 << 20  # bytes at a time
WIDTHS = (5, 10)  # numbers in a line of CHGCAR and CHG
LINE_END = 1 << 10  # bytes in which the last two lines of a text are looked for
MIN_DECIMALS = 3  # in fewer, a number that was cut can look like its neighbours by chance
FORM = re.compile(rb"[-+]?\d*\.(\d*)([EeDd]?[-+]\d+)?")


def parse_grid(
    data: Text, start: int, shape: tuple[int, int, int], divisor: float, name: str, out: Floats | None = None
) -> tuple[Floats, int]:
    """The numbers of a grid from position `start` on, the first axis fastest, divided [shape]; see `parse_block`.

    They are in `out` [shape], where that is given.
    """
    count = shape[0] * shape[1] * shape[2]
    _check_room(data, start, count, name)
    fast = parse_planes(data, start, shape, divisor, out)
    end = None if fast is None else _end_of_line(data, start, fast[1], count)
    if fast is not None and end is not None:
        return fast[0], end
    values, end = parse_block(data, start, count, name)
    return c_order(values, shape, divisor, out), end


def parse_block(data: Text, start: int, count: int, name: str) -> tuple[Floats, int]:
    """`count` numbers from position `start` on [count], and the position of the line after them.

    Zeros that fill the last line to the length of the others, as VTST's scripts write them, belong to no point. Raises
    FormatError where a number is not one, is not finite, or the count does not match.
    """
    _check_room(data, start, count, name)
    fast = _parse_compiled(data, start, count)
    if fast is not None:
        return fast
    stop, end = _block_end(data, start, count, name)
    text = data[start:stop]
    values = to_floats(text)
    if values is None or len(values) != count:
        raise FormatError(f"{name}: {_first_bad_word(text, count)}; the file is damaged, copy or download it again")
    if not np.isfinite(values).all():
        raise FormatError(f"{name} holds NaN or infinite values: the calculation failed, run it again")
    return values, end


def _check_room(data: Text, start: int, count: int, name: str) -> None:
    """Raises FormatError where the text is too short, before memory is asked for."""
    if 2 * count > len(data) - start + 1:
        raise FormatError(f"{name} is cut: the file is too short for its {count} numbers; copy or download it again")


def _parse_compiled(data: Text, start: int, count: int) -> tuple[Floats, int] | None:
    values = np.empty(count)
    position = parse_numbers(data, start, values)
    end = None if position is None else _end_of_line(data, start, position, count)
    return None if end is None else (values, end)


def _end_of_line(data: Text, start: int, position: int, count: int) -> int | None:
    """The position of the next line, where the last of `count` numbers ends at `position`; None where more follows."""
    end = _after_line(data, position)
    more = data[position:end].split()
    return end if not more or _is_filling(data, start, position, count, more) else None


def _is_filling(data: Text, start: int, position: int, count: int, more: list[bytes]) -> bool:
    """Whether the words `more`, behind the last number, are zeros that make its line as long as all lines before it."""
    values = to_floats(b" ".join(more))
    if values is None or values.any():
        return False
    line = max(start, data.rfind(b"\n", start, position) + 1)
    if line == start:
        return count + len(more) in WIDTHS
    width = len(data[start : _after_line(data, start)].split())
    full, rest = divmod(count, width)
    return (
        0 < rest == len(data[line:position].split())
        and rest + len(more) == width
        and data[start:line].count(b"\n") == full
    )


def _first_bad_word(text: bytes, count: int) -> str:
    words = text.split()
    for number, word in enumerate(words):
        try:
            float(word)
        except ValueError:
            return f"{word[:24].decode(errors='replace')!r} stands where number {number + 1} is due"
    return f"it has {len(words)} numbers where {count} are due"


def _block_end(data: Text, start: int, count: int, name: str) -> tuple[int, int]:
    """Where the numbers of a block end, and their line; lines are all as long as the first, or are walked."""
    first = data.find(b"\n", start)
    per_line = len(data[start:first].split()) if first > 0 else count
    if per_line == 0:
        raise FormatError(f"{name} is cut: no number follows the grid dimensions")
    full, rest = divmod(count, per_line)
    jump = start + full * (first + 1 - start)
    if first > 0 and jump <= len(data) and data[jump - 1 : jump] == b"\n":
        end = _after_line(data, jump) if rest else jump
        if len(data[jump:end].split()) == rest:
            return end, end
    return _walk(data, start, count, name)


def _after_line(data: Text, position: int) -> int:
    end = data.find(b"\n", position)
    return len(data) if end < 0 else end + 1


def _walk(data: Text, start: int, count: int, name: str) -> tuple[int, int]:
    """Where the last of `count` words ends, and its line, found by where words begin."""
    position, seen = start, 0
    while position < len(data):
        piece = np.frombuffer(data[position - 1 : position + STEP], dtype=np.uint8)  # with the byte before
        blank = piece <= ord(" ")
        begins = np.flatnonzero(blank[:-1] & ~blank[1:])
        if seen + len(begins) >= count:
            last = position + int(begins[count - seen - 1])
            stop = last + len(data[last : _after_line(data, last)].split(maxsplit=1)[0])
            end = _end_of_line(data, start, stop, count)
            if end is None:
                raise FormatError(f"{name} has more numbers than its grid of {count}: it is damaged")
            return stop, end
        position, seen = position + STEP, seen + len(begins)
    raise FormatError(f"{name} is cut: {seen} of {count} numbers; copy or download it again")


def last_is_whole(data: Text) -> bool:
    """Whether the last number of a text without a line end is whole: as long as those before it, all of one form.

    They are those of its line, or of the line before where it stands alone. Numbers of free length tell nothing.
    """
    *before, line = data[max(0, len(data) - LINE_END) :].split(b"\n")
    words = line.split()
    if len(words) == 1 and before:
        words = before[-1].split() + words
    forms = {_form(word) for word in words[-1 - max(WIDTHS) :]}
    return len(words) > 1 and len(forms) == 1 and None not in forms


def _form(word: bytes) -> tuple[int, int] | None:
    """The decimals of a number and the characters of its exponent; None where they tell nothing."""
    found = FORM.fullmatch(word)
    if found is None or len(found[1]) < MIN_DECIMALS:
        return None
    return len(found[1]), len(found[2] or b"")


def c_order(values: Floats, shape: tuple[int, int, int], divisor: float, out: Floats | None = None) -> Floats:
    """Numbers with the first axis fastest, divided, as an ordinary array [shape], `out` where that is given."""
    source = values.reshape(shape[::-1])
    grid = np.empty(shape) if out is None else out
    slab = np.empty((shape[2], shape[0]))  # one plane at a time stays in the cache
    for plane in range(shape[1]):
        np.divide(source[:, plane], divisor, out=slab)
        grid[:, plane] = slab.T
    grid.flags.writeable = False  # so that a Density takes it as it is
    return grid
