"""Real spherical harmonics up to l = 4 of many directions, for compiled functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

LMAX = 4
C1, C20, C21 = (np.float32(c) for c in (math.sqrt(3), math.sqrt(5) / 2, math.sqrt(15)))
C30, C31, C32, C33 = (np.float32(math.sqrt(c) / 2) for c in (7, 21 / 2, 105, 35 / 2))
C40, C41, C42, C43, C44 = (np.float32(3 / 8 * math.sqrt(c)) for c in (1, 40, 20, 280, 35))
TWO, THREE, FOUR, SIX, EIGHT, TWENTY_FOUR = (np.float32(n) for n in (2, 3, 4, 6, 8, 24))


@njit(nogil=True, fastmath=True)
def harmonics(lmax: int, directions: Any, count: int, out: Any) -> None:
    """Set out[:, :count] [(lmax+1)^2, capacity] for unit vectors [3, capacity], or zero vectors, which have l = 0 only.

    lmax is 1 to 4. Norm and order are those of e3nn's "component": |Y_l|^2 = 2l+1, y is the polar axis. All arrays are
    float32.
    """
    _set_first(directions, count, out)
    if lmax >= 2:
        _set_second(directions, count, out)
    if lmax >= 3:
        _set_third(directions, count, out)
    if lmax >= 4:
        _set_fourth(directions, count, out)


@njit(nogil=True, fastmath=True)
def _set_first(directions: Any, count: int, out: Any) -> None:
    for e in range(count):
        out[0, e] = 1.0
        out[1, e] = C1 * directions[0, e]
        out[2, e] = C1 * directions[1, e]
        out[3, e] = C1 * directions[2, e]


@njit(nogil=True, fastmath=True)
def _set_second(directions: Any, count: int, out: Any) -> None:
    for e in range(count):
        x, y, z = directions[0, e], directions[1, e], directions[2, e]
        out[4, e] = C21 * x * z
        out[5, e] = C21 * x * y
        out[6, e] = C20 * (TWO * y * y - x * x - z * z)
        out[7, e] = C21 * y * z
        out[8, e] = C21 / TWO * (z * z - x * x)


@njit(nogil=True, fastmath=True)
def _set_third(directions: Any, count: int, out: Any) -> None:
    for e in range(count):
        x, y, z = directions[0, e], directions[1, e], directions[2, e]
        xx, yy, zz = x * x, y * y, z * z
        s = xx + zz
        out[9, e] = C33 * x * (THREE * zz - xx)
        out[10, e] = TWO * C32 * x * y * z
        out[11, e] = C31 * x * (FOUR * yy - s)
        out[12, e] = C30 * y * (TWO * yy - THREE * s)
        out[13, e] = C31 * z * (FOUR * yy - s)
        out[14, e] = C32 * y * (zz - xx)
        out[15, e] = C33 * z * (zz - THREE * xx)


@njit(nogil=True, fastmath=True)
def _set_fourth(directions: Any, count: int, out: Any) -> None:
    for e in range(count):
        x, y, z = directions[0, e], directions[1, e], directions[2, e]
        xx, yy, zz = x * x, y * y, z * z
        s = xx + zz
        out[16, e] = FOUR * C44 * x * z * (zz - xx)
        out[17, e] = C43 * x * y * (THREE * zz - xx)
        out[18, e] = TWO * C42 * x * z * (SIX * yy - s)
        out[19, e] = C41 * x * y * (FOUR * yy - THREE * s)
        out[20, e] = C40 * (EIGHT * yy * yy - TWENTY_FOUR * yy * s + THREE * s * s)
        out[21, e] = C41 * z * y * (FOUR * yy - THREE * s)
        out[22, e] = C42 * (zz - xx) * (SIX * yy - s)
        out[23, e] = C43 * z * y * (zz - THREE * xx)
        out[24, e] = C44 * (zz * (zz - THREE * xx) - xx * (THREE * zz - xx))
