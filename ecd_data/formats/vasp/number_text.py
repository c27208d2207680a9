"""Text of numbers as VASP prints it: lines of five fields of 18 characters, (5(1X,E17.11))."""

from __future__ import annotations

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.errors import FormatError

DIGITS = 11  # of a mantissa
PER_LINE = 5
WIDTH = 18  # characters of a field


def format_block(values: Floats) -> bytes:
    """The text of numbers [n] in VASP's layout (5(1X,E17.11)); every line has a line end.

    Raises
    ------
    FormatError : a number is not finite or has an exponent of three digits.
    """
    lines = _format_fields(values)
    full = len(values) // PER_LINE * PER_LINE
    table = np.full((full // PER_LINE, PER_LINE * WIDTH + 1), ord("\n"), dtype=np.uint8)
    table[:, :-1] = lines[:full].reshape(-1, PER_LINE * WIDTH)
    rest = lines[full:].tobytes()
    return table.tobytes() + (rest + b"  \n" if rest else b"")


def _format_fields(values: Floats) -> np.ndarray:
    """One field for each number, as bytes [n, WIDTH]."""
    magnitude = np.abs(values)
    exponent = np.zeros(len(values), dtype=np.int64)
    nonzero = (magnitude > 0) & np.isfinite(magnitude)
    exponent[nonzero] = np.floor(np.log10(magnitude[nonzero])).astype(np.int64) + 1
    if exponent.max(initial=0) > 99 or not np.isfinite(magnitude).all():
        raise FormatError("a value is not finite or too large for VASP's two-digit exponents")
    tiny = exponent < -98  # the exponent has two digits; numbers below E-99 are written as zero
    magnitude = np.where(tiny, 0.0, magnitude)
    exponent[tiny] = 0
    mantissa = _round_mantissa(magnitude, exponent)
    for shift in (1, -1):  # log10 may be off by one next to a power of ten
        wrong = mantissa >= 10**DIGITS if shift == 1 else (mantissa < 10 ** (DIGITS - 1)) & (magnitude > 0)
        exponent[wrong] += shift
        mantissa[wrong] = _round_mantissa(magnitude[wrong], exponent[wrong])
    return _place_digits(values < 0, mantissa, exponent)


def _round_mantissa(magnitude: Floats, exponent: np.ndarray) -> np.ndarray:
    power = DIGITS - exponent
    scaled = np.where(power >= 0, magnitude * 10.0 ** np.maximum(power, 0), magnitude / 10.0 ** np.maximum(-power, 0))
    return np.rint(scaled).astype(np.int64)


def _place_digits(negative: np.ndarray, mantissa: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    fields = np.empty((len(mantissa), WIDTH), dtype=np.uint8)
    fields[:, 0] = ord(" ")
    fields[:, 1] = np.where(negative, ord("-"), ord("0"))
    fields[:, 2] = ord(".")
    for digit in range(DIGITS):
        mantissa, remainder = np.divmod(mantissa, 10)
        fields[:, 2 + DIGITS - digit] = remainder + ord("0")
    fields[:, 14] = ord("E")
    fields[:, 15] = np.where(exponent < 0, ord("-"), ord("+"))
    fields[:, 16] = np.abs(exponent) // 10 + ord("0")
    fields[:, 17] = np.abs(exponent) % 10 + ord("0")
    return fields
