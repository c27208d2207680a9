"""The inner loop of `fixed`, compiled where numba is installed: the same values, the same lines left undone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORTH = 1 << 24  # bytes of a block from which importing numba pays
FIELD = np.dtype([("prefix", "<u2"), ("high", "<u8"), ("low", "<u8")])  # " 0", ".1234567", "8901E+02"
DIGITS, EXACT_POWER = 11, 22
POWERS = np.array([float(10**n) for n in range(EXACT_POWER + 1)])
ZERO_PREFIX, MINUS_PREFIX = (np.uint16(int.from_bytes(p, "little")) for p in (b" 0", b" -"))
POINT_AND_ZEROS, ZEROS, ZERO, E_PLUS, E_MINUS = (
    np.uint64(int.from_bytes(p, "little")) for p in (b".0000000", b"0000", b"0", b"E+", b"E-")
)
POINT_TO_TOP, TO_TOP, TOP_BITS = np.uint64(0x767676767676767F), np.uint64(0x76767676), np.uint64(0x8080808080808080)
BYTE, TWO_BYTES, LOW_WORD = np.uint64(0xFF), np.uint64(0xFFFF), np.uint64(0xFFFFFFFF)
PAIRS, EVEN = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x000000FF000000FF)
NINE, TEN, HUNDRED, TEN_THOUSAND = (np.uint64(n) for n in (9, 10, 100, 10_000))
HUNDRED_AND_MILLION, ONE_AND_TEN_THOUSAND = np.uint64(100 + (1_000_000 << 32)), np.uint64(1 + (10_000 << 32))


def kernel(size: int) -> Callable[..., Any] | None:
    """`parse(fields, target, bad)` for a block of `size` bytes; None without numba or where loading it costs more."""
    if size < WORTH and "numba" not in sys.modules:
        return None
    return _compile()


@cache
def _compile() -> Callable[..., Any] | None:
    try:
        from numba import njit
    except ImportError:
        return None
    compiled: Callable[..., Any] = njit(cache=True, nogil=True)(_parse)
    return compiled


def _parse(fields: Any, target: NDArray[np.float64], bad: NDArray[np.bool_]) -> bool:
    """Fill `target` [lines, 5] from `fields` [lines, 5] of FIELD, mark the lines left undone; whether there are any.

    Eight digits at a time, as neighbours that become pairs, fours and an eight; see `fixed` for what is exact.
    """
    some = False
    for line in range(fields.shape[0]):
        wrong = False
        for column in range(fields.shape[1]):
            field = fields[line, column]
            high = field["high"] ^ POINT_AND_ZEROS
            low = (field["low"] & LOW_WORD) ^ ZEROS
            ends = field["low"] >> np.uint64(32)
            tens, ones = (ends >> np.uint64(16) & BYTE) ^ ZERO, (ends >> np.uint64(24)) ^ ZERO
            minus = (ends & TWO_BYTES) == E_MINUS
            wrong |= ((high | (high + POINT_TO_TOP)) | (low | (low + TO_TOP))) & TOP_BITS != 0
            wrong |= (tens > NINE) | (ones > NINE) | (not minus and (ends & TWO_BYTES) != E_PLUS)
            wrong |= field["prefix"] != ZERO_PREFIX and field["prefix"] != MINUS_PREFIX
            high = (high * TEN + (high >> np.uint64(8))) & PAIRS
            high = (
                (high & EVEN) * HUNDRED_AND_MILLION + ((high >> np.uint64(16)) & EVEN) * ONE_AND_TEN_THOUSAND
            ) >> np.uint64(32)
            low = (low * TEN + (low >> np.uint64(8))) & PAIRS
            low = (low & BYTE) * HUNDRED + (low >> np.uint64(16) & BYTE)
            mantissa = np.float64(np.int64((high & LOW_WORD) * TEN_THOUSAND + low))
            exponent = np.int64(tens * TEN + ones)
            power = (-exponent if minus else exponent) - DIGITS
            if power < -EXACT_POWER or power > EXACT_POWER:
                wrong = True
            elif power > 0:
                mantissa *= POWERS[power]
            else:
                mantissa /= POWERS[-power]
            target[line, column] = -mantissa if field["prefix"] == MINUS_PREFIX else mantissa
        bad[line] = wrong
        some |= wrong
    return some
