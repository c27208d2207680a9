"""The loops over stars, which numba compiles where it is installed.

They use integers only, so that the NumPy versions in `stars` and `waves` give exactly the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

NUMBA_IMPORT_SECONDS = 0.4  # less work than this is not worth importing numba
_seconds_without_numba = 0.0


def compiler(seconds: float) -> Callable[..., Any] | None:
    """numba's compiler; None without numba, or while all work so far has taken less time than importing numba.

    seconds: the time that the coming work takes without numba.
    """
    global _seconds_without_numba
    _seconds_without_numba += seconds
    return None if _seconds_without_numba < NUMBA_IMPORT_SECONDS and "numba" not in sys.modules else _compiler()


@cache
def _compiler() -> Callable[..., Any] | None:
    try:
        from numba import njit
    except ImportError:
        return None
    jit: Callable[..., Any] = njit(cache=True, nogil=True)
    return jit


def compiled_kernels(seconds: float) -> tuple[Callable[..., int], Callable[..., int]] | None:
    """The compiled `representatives` and `waves`; None where `compiler` gives None."""
    jit = compiler(seconds)
    return None if jit is None else _compile(jit)


@cache
def _compile(jit: Callable[..., Any]) -> tuple[Callable[..., int], Callable[..., int]]:
    return jit(representatives), jit(waves)


def representatives(
    low: Any, high: Any, metric: Any, largest: int, rotations: Any, turns: Any, period: int, offsets: Any, middle: int,
    k: Any, norm: Any, place: Any, size: Any, turn: Any,
) -> int:  # fmt: skip
    """Fill k, norm, place, size and turn of the stars between the frequencies low and high; return their number.

    turns [h, 3]: the shifts in parts of the period; places [3, .]: entry `middle` + f is what the frequency f of an
    axis adds to the flat index in the box.
    """
    count, h = 0, rotations.shape[0]
    for a in range(low[0], high[0] + 1):
        for b in range(low[1], high[1] + 1):
            for c in range(low[2], high[2] + 1):
                square = metric[0] * a * a + metric[1] * b * b + metric[2] * c * c
                square += 2 * (metric[3] * b * c + metric[4] * a * c + metric[5] * a * b)
                if square > largest:
                    continue
                mine = offsets[0, middle + a] + offsets[1, middle + b] + offsets[2, middle + c]
                if mine == 0:
                    continue
                fixed, turned, phase, first = 0, 0, 0, True
                for r in range(h):
                    x = a * rotations[r, 0, 0] + b * rotations[r, 1, 0] + c * rotations[r, 2, 0]
                    y = a * rotations[r, 0, 1] + b * rotations[r, 1, 1] + c * rotations[r, 2, 1]
                    z = a * rotations[r, 0, 2] + b * rotations[r, 1, 2] + c * rotations[r, 2, 2]
                    plus = offsets[0, middle + x] + offsets[1, middle + y] + offsets[2, middle + z]
                    minus = offsets[0, middle - x] + offsets[1, middle - y] + offsets[2, middle - z]
                    if plus < mine or minus < mine:
                        first = False
                        break
                    if plus == mine or minus == mine:
                        steps = (a * turns[r, 0] + b * turns[r, 1] + c * turns[r, 2]) % period
                        if minus == mine:
                            turned += 1
                            phase = steps
                        if plus == mine:
                            fixed += 1
                            if steps != 0:
                                first = False
                                break
                if first:
                    k[count, 0], k[count, 1], k[count, 2] = a, b, c
                    norm[count], place[count] = square, mine
                    size[count] = 2 * h // (fixed + turned)
                    turn[count] = phase if turned > 0 else -1
                    count += 1
    return count


def waves(
    k: Any, rotations: Any, turns: Any, period: int, signed: Any, middle: int, shape: Any, limits: Any, used: Any,
    index: Any, star: Any, turn: Any,
) -> int:  # fmt: skip
    """Fill index, star and turn of the plane waves of all stars, as in `Waves`; return their number.

    signed [3, .]: entry `middle` + f is the frequency of the grid that f is equal to; limits: A, B, C of the block,
    which a first call with empty arrays fills.
    """
    count, stars, measuring = 0, k.shape[0], used.shape[0] == 0
    wide, deep = 2 * limits[1] + 1, limits[2] + 1
    for r in range(rotations.shape[0]):
        for s in range(stars):
            a, b, c = k[s, 0], k[s, 1], k[s, 2]
            x = signed[0, middle + a * rotations[r, 0, 0] + b * rotations[r, 1, 0] + c * rotations[r, 2, 0]]
            y = signed[1, middle + a * rotations[r, 0, 1] + b * rotations[r, 1, 1] + c * rotations[r, 2, 1]]
            z = signed[2, middle + a * rotations[r, 0, 2] + b * rotations[r, 1, 2] + c * rotations[r, 2, 2]]
            if measuring:
                limits[0], limits[1], limits[2] = max(limits[0], abs(x)), max(limits[1], abs(y)), max(limits[2], abs(z))
                continue
            steps = (a * turns[r, 0] + b * turns[r, 1] + c * turns[r, 2]) % period
            for side in range(2):
                if side == 1:
                    x = x if 2 * x == shape[0] else -x
                    y = y if 2 * y == shape[1] else -y
                    z = z if 2 * z == shape[2] else -z
                if z < 0:
                    continue
                i = x + 2 * limits[0] + 1 if x < 0 else x
                j = y + wide if y < 0 else y
                place = (i * wide + j) * deep + z
                if not used[place]:
                    used[place] = True
                    index[count] = place
                    star[count] = s + side * stars
                    turn[count] = (period - steps) % period if side else steps
                    count += 1
    return count
