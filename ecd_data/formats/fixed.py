"""VASP's lines of five 18-character numbers, turned into floats by numpy where nothing is compiled.

A field is " 0.12345678901E+02" or " -.12345678901E+02". Its eleven digits are an integer that float64 holds exactly,
and powers of ten up to 10**22 are exact too, so one division or multiplication rounds correctly: the value is bit for
bit that of `float()`. Fields that look different, or have larger exponents, are left to the caller.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Floats
from ecd_data.io.file_bytes import Text, view

DIGITS = 11
PER_LINE = 5
WIDTH = 18
LINE = PER_LINE * WIDTH
CHUNK = 1536  # lines at a time, so that every intermediate array stays in the cache
EXACT_POWER = 22  # 10**22 is the largest power of ten that float64 holds exactly

ZERO_PREFIX, MINUS_PREFIX = (int.from_bytes(p, "little") for p in (b" 0", b" -"))
FIELD = np.dtype([("prefix", "<u2"), ("words", "<u4", 4)])  # " 0", ".123", "4567", "8901", "E+02"
TO_DIGITS = np.array([int.from_bytes(p, "little") for p in (b".000", b"0000", b"0000")], dtype=np.uint32)
# Added to four bytes that should be 0..9 (0 for the point), these set the top bit of each byte that is not
TO_TOP_BIT = np.array([0x7676767F, 0x76767676, 0x76767676], dtype=np.uint32)
TOP_BITS = 0x80808080


def _exponent_tables(multiplier: int = 0xDCF94B3B, bits: int = 9) -> tuple[NDArray, Floats, Floats]:
    """For "E+00" .. "E-99", at (word * multiplier) >> (32 - bits): the word itself, the divisor and the factor.

    The multiplier was searched for to give every word a place of its own; empty places hold a word that never fits.
    """
    words = np.zeros(1 << bits, dtype=np.uint32)
    divisors, factors = np.ones(1 << bits), np.ones(1 << bits)
    for exponent in range(DIGITS - EXACT_POWER, DIGITS + EXACT_POWER + 1):
        for sign in "+-" if exponent == 0 else "+" if exponent > 0 else "-":
            word = int.from_bytes(f"E{sign}{abs(exponent):02d}".encode(), "little")
            place = (word * multiplier & 0xFFFFFFFF) >> (32 - bits)
            words[place] = word
            divisors[place] = float(10 ** max(DIGITS - exponent, 0))
            factors[place] = float(10 ** max(exponent - DIGITS, 0))
    return words, divisors, factors


MULTIPLIER, SHIFT = np.uint32(0xDCF94B3B), np.uint32(32 - 9)
WORDS, DIVISORS, FACTORS = _exponent_tables()


def parse_lines(data: Text, start: int, lines: int, stride: int, out: Floats) -> list[int] | None:
    """Fill `out` [5 * lines] from `lines` lines of `stride` bytes at `start`; the numbers of the lines left undone.

    None where the lines are not all of that length.
    """
    target = out.reshape(lines, PER_LINE)
    scratch = Scratch(min(CHUNK, lines), stride)
    undone: list[int] = []
    for first in range(0, lines, CHUNK):
        after = min(first + CHUNK, lines)
        table = view(data, start + first * stride, (after - first) * stride, scratch.text).reshape(-1, stride)
        if not (table[:, -1] == ord("\n")).all():
            return None
        bad = _parse_chunk(table, target[first:after], scratch)
        undone += (first + np.flatnonzero(bad)).tolist() if bad is not None else []
    return undone


class Scratch:
    """Arrays that are used again for each chunk: fresh ones would cost as much as the arithmetic."""

    def __init__(self, lines: int, stride: int) -> None:
        numbers = lines * PER_LINE
        self.text = np.empty(lines * stride, dtype=np.uint8)
        self.words, self.wrong = np.empty((2, 4 * numbers), dtype=np.uint32)
        self.prefix = np.empty(numbers, dtype=np.uint16)
        self.index = np.empty(numbers, dtype=np.intp)
        self.place = np.empty(numbers, dtype=np.uint32)
        self.values, self.powers = np.empty((2, numbers))


def _parse_chunk(table: NDArray[np.uint8], target: Floats, scratch: Scratch) -> NDArray[np.bool_] | None:
    """Fill `target` [lines, 5] from `table` [lines, stride]; which lines were left undone, None for none of them."""
    lines = len(table)
    n = lines * PER_LINE
    fields = np.ndarray((lines, PER_LINE), FIELD, table, 0, (table.strides[0], WIDTH))
    prefix, index = scratch.prefix[:n], scratch.index[:n]
    words, wrong = scratch.words[: 4 * n].reshape(4, n), scratch.wrong[: 3 * n].reshape(3, n)
    prefix.reshape(PER_LINE, lines)[...] = fields["prefix"].T  # columns first: long inner loops over the lines
    words.reshape(4, PER_LINE, lines)[...] = fields["words"].transpose(2, 1, 0)
    digits, exponent = words[:3], words[3]
    digits ^= TO_DIGITS[:, None]
    np.add(digits, TO_TOP_BIT[:, None], out=wrong)
    wrong |= digits
    place = np.multiply(exponent, MULTIPLIER, out=scratch.place[:n])
    place >>= SHIFT
    index[...] = place
    known = WORDS.take(index, out=place, mode="clip") == exponent
    minus = prefix == MINUS_PREFIX
    negatives = np.count_nonzero(minus)
    bad = None
    if (
        np.bitwise_or.reduce(wrong, axis=None) & TOP_BITS
        or negatives + np.count_nonzero(prefix == ZERO_PREFIX) != n
        or not known.all()
    ):
        doubtful = (np.bitwise_or.reduce(wrong, axis=0) & TOP_BITS != 0) | ~known | (~minus & (prefix != ZERO_PREFIX))
        bad = doubtful.reshape(PER_LINE, lines).any(axis=0)
    values, powers = scratch.values[:n], scratch.powers[:n]
    _mantissa(digits, values, powers)
    values /= DIVISORS.take(index, out=powers, mode="clip")
    if powers.min() == 1.0:
        values *= FACTORS.take(index, out=powers, mode="clip")
    if negatives:  # the sign bit, of zeros too, as float() sets it
        bits = values.view(np.uint64)
        bits |= minus.astype(np.uint64) << np.uint64(63)
    target[...] = values.reshape(PER_LINE, lines).T
    return bad


def _mantissa(digits: NDArray[np.uint32], values: Floats, spare: Floats) -> None:
    """Put the eleven digits [3, n], four to a word with the first in the lowest byte, into `values` [n]."""
    digits *= np.uint32(10 << 8 | 1)  # neighbours to pairs,
    digits >>= np.uint32(8)
    digits &= np.uint32(0x00FF00FF)
    digits *= np.uint32(100 << 16 | 1)  # pairs to fours
    digits >>= np.uint32(16)
    digits[1] *= np.uint32(10_000)
    digits[1] += digits[2]
    values[...] = digits[0]
    values *= 1e8
    spare[...] = digits[1]
    values += spare


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
