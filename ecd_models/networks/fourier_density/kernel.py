"""Compiled sums over atoms for the plane waves of a grid, and their gradients, for processors.

Each atom has a table of 32 functions of |G|: 16 places for components of even l, 16 for odd l, of which 15 and 10 are
used, with all signs and factors in them. Between the rows of a table values are linear; a row has all atoms, so that
it is in the cache as a whole. Waves are taken along rows of the half grid [a, b, c // 2 + 1], which threads share;
the phase of an atom is a product of three tables.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from ecd_data.crystal import Crystal, Floats
from ecd_models.kernels.harmonics import harmonics
from ecd_models.kernels.simd import add, fma, load, mul, splat, store, sub
from ecd_models.networks.fourier_density.plane_waves import Shape

LMAX = 4
SLOTS = 32  # functions of an atom, the even ones first
BLOCK = 64  # waves whose harmonics are in the cache at once
# Added to harmonics and to values of tables: products of numbers that symmetry makes nearly 0 would be denormal, and a
# processor takes ten times as long for them. Both are far below rounding.
TINY_HARMONIC, TINY_VALUE = np.float32(1e-9), np.float32(1e-14)
Array = NDArray[np.float32]


class Waves(NamedTuple):
    """What the compiled functions need of a crystal and its grid.

    shape: the half grid; reciprocal [3, 3]: rows are the reciprocal vectors in 1/Å; phases: cosine and sine of -G.a by
    axis and atom, [axis points, n, 2] each; longest: |G| in 1/Å beyond which waves are left out.
    """

    shape: Shape
    reciprocal: Floats
    phases: tuple[Array, Array, Array]
    longest: float


def waves_of(crystal: Crystal, shape: Shape, longest: float) -> Waves:
    """The waves of a grid of a crystal."""
    half = shape[0], shape[1], (shape[2] - 1) // 2 + 1  # without the wave at half the sampling rate
    k = [np.rint(np.fft.fftfreq(n, 1 / n)) for n in shape[:2]] + [np.arange(half[2])]
    angles = [-2 * np.pi * np.outer(k[axis], crystal.frac_coords[:, axis]) for axis in range(3)]
    tables = [np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32) for angle in angles]
    return Waves(half, crystal.reciprocal, (tables[0], tables[1], tables[2]), longest)


@njit(nogil=True, fastmath=True)
def _row(
    ia: int, ib: int, shape: Any, full: Any, reciprocal: Any, longest: float, start: int, space: Any
) -> tuple[int, int]:
    """The next waves of a row from `start`: the first and how many; their directions, |G| and harmonics in space."""
    directions, lengths, by_component, by_wave = space
    ka = ia if 2 * ia < full[0] else ia - full[0]
    kb = ib if 2 * ib < full[1] else ib - full[1]
    first, count = -1, 0
    if 2 * abs(ka) == full[0] or 2 * abs(kb) == full[1]:
        return first, count
    # |g + kc h| < longest for the vectors g at the start of the row and h along it: a range of kc around -g.h / h.h
    gx = ka * reciprocal[0, 0] + kb * reciprocal[1, 0]
    gy = ka * reciprocal[0, 1] + kb * reciprocal[1, 1]
    gz = ka * reciprocal[0, 2] + kb * reciprocal[1, 2]
    hx, hy, hz = reciprocal[2, 0], reciprocal[2, 1], reciprocal[2, 2]
    along, square = gx * hx + gy * hy + gz * hz, hx * hx + hy * hy + hz * hz
    inside = along * along - square * (gx * gx + gy * gy + gz * gz - longest * longest)
    if inside <= 0:
        return first, count
    low, high = (-along - np.sqrt(inside)) / square, (-along + np.sqrt(inside)) / square
    for kc in range(max(start, int(np.ceil(low))), min(shape[2], int(np.floor(high)) + 1)):
        x, y, z = gx + kc * hx, gy + kc * hy, gz + kc * hz
        q = np.sqrt(x * x + y * y + z * z)
        if q >= longest:
            continue
        if first < 0:
            first = kc
        scale = 1 / q if q > 0 else 0.0
        directions[0, count], directions[1, count] = x * scale, y * scale
        directions[2, count], lengths[count] = z * scale, q
        count += 1
        if count == BLOCK:
            break
    harmonics(LMAX, directions, count, by_component)
    for w in range(count):
        row = w * SLOTS
        by_wave[row] = by_component[0, w]
        for m in range(5):
            by_wave[row + 1 + m] = by_component[4 + m, w] + TINY_HARMONIC
        for m in range(9):
            by_wave[row + 6 + m] = by_component[16 + m, w] + TINY_HARMONIC
        for m in range(3):
            by_wave[row + 16 + m] = by_component[1 + m, w] + TINY_HARMONIC
        for m in range(7):
            by_wave[row + 19 + m] = by_component[9 + m, w] + TINY_HARMONIC
    return first, count


@njit(nogil=True, fastmath=True)
def _sum_rows(
    begin: int, end: int, shape: Any, full: Any, reciprocal: Any, longest: float, pa: Any, pb: Any, pc: Any,
    table: Any, per_q: float, rows: int, space: Any, sums: Any, out: Any,
) -> None:  # fmt: skip
    """Add to out [flat half grid, 2] for the rows begin..end of waves."""
    lengths, by_wave = space[1], space[3]
    atoms = pa.shape[1]
    base, tiny = full[2] // 2 + 1, splat(TINY_VALUE, 16)
    for place in range(begin, end):
        ia, ib = place // shape[1], place % shape[1]
        start = 0
        while True:
            first, count = _row(ia, ib, shape, full, reciprocal, longest, start, space)
            for w in range(count):
                t = lengths[w] * per_q
                i = min(int(t), rows - 2)
                f = splat(np.float32(t - i), 16)
                y_even, y_odd = load(by_wave, w * SLOTS, 16), load(by_wave, w * SLOTS + 16, 16)
                real, imag = splat(np.float32(0), 16), splat(np.float32(0), 16)
                for a in range(atoms):
                    re = pa[ia, a, 0] * pb[ib, a, 0] - pa[ia, a, 1] * pb[ib, a, 1]
                    im = pa[ia, a, 0] * pb[ib, a, 1] + pa[ia, a, 1] * pb[ib, a, 0]
                    cr = re * pc[first + w, a, 0] - im * pc[first + w, a, 1]
                    ci = re * pc[first + w, a, 1] + im * pc[first + w, a, 0]
                    at = (i * atoms + a) * SLOTS
                    next_row = at + atoms * SLOTS
                    low, high = load(table, at, 16), load(table, next_row, 16)
                    even = mul(fma(sub(high, low), f, add(low, tiny)), y_even)
                    low, high = load(table, at + 16, 16), load(table, next_row + 16, 16)
                    odd = mul(fma(sub(high, low), f, add(low, tiny)), y_odd)
                    real = fma(splat(cr, 16), even, fma(splat(ci, 16), odd, real))
                    imag = fma(splat(ci, 16), even, fma(splat(-cr, 16), odd, imag))
                store(sums, 0, real)
                store(sums, 16, imag)
                sum_real, sum_imag = np.float32(0), np.float32(0)
                for j in range(16):
                    sum_real += sums[j]
                    sum_imag += sums[16 + j]
                out[place * base + first + w, 0] += sum_real
                out[place * base + first + w, 1] += sum_imag
            start = first + count
            if count < BLOCK or start >= shape[2]:
                break


@njit(nogil=True, fastmath=True)
def _pull_rows(
    begin: int, end: int, shape: Any, full: Any, reciprocal: Any, longest: float, pa: Any, pb: Any, pc: Any,
    given: Any, per_q: float, rows: int, space: Any, out: Any,
) -> None:  # fmt: skip
    """Add to the gradient of the tables, out, what the gradient of the sums given [flat half grid, 2] makes of it."""
    lengths, by_wave = space[1], space[3]
    atoms, base = pa.shape[1], full[2] // 2 + 1
    for place in range(begin, end):
        ia, ib = place // shape[1], place % shape[1]
        start = 0
        while True:
            first, count = _row(ia, ib, shape, full, reciprocal, longest, start, space)
            for w in range(count):
                t = lengths[w] * per_q
                i = min(int(t), rows - 2)
                f = np.float32(t - i)
                y_even, y_odd = load(by_wave, w * SLOTS, 16), load(by_wave, w * SLOTS + 16, 16)
                gr, gi = given[place * base + first + w, 0], given[place * base + first + w, 1]
                for a in range(atoms):
                    re = pa[ia, a, 0] * pb[ib, a, 0] - pa[ia, a, 1] * pb[ib, a, 1]
                    im = pa[ia, a, 0] * pb[ib, a, 1] + pa[ia, a, 1] * pb[ib, a, 0]
                    cr = re * pc[first + w, a, 0] - im * pc[first + w, a, 1]
                    ci = re * pc[first + w, a, 1] + im * pc[first + w, a, 0]
                    even, odd = mul(splat(cr * gr + ci * gi, 16), y_even), mul(splat(ci * gr - cr * gi, 16), y_odd)
                    high, low = splat(f, 16), splat(np.float32(1) - f, 16)
                    at = (i * atoms + a) * SLOTS
                    next_row = at + atoms * SLOTS
                    store(out, at, fma(low, even, load(out, at, 16)))
                    store(out, at + 16, fma(low, odd, load(out, at + 16, 16)))
                    store(out, next_row, fma(high, even, load(out, next_row, 16)))
                    store(out, next_row + 16, fma(high, odd, load(out, next_row + 16, 16)))
            start = first + count
            if count < BLOCK or start >= shape[2]:
                break


def _space() -> tuple[Array, Array, Array, Array]:
    """Working memory of a thread: directions, lengths, harmonics by component and by wave."""
    sizes = (3, BLOCK), (BLOCK,), ((LMAX + 1) ** 2, BLOCK), (BLOCK * SLOTS,)
    return tuple(np.zeros(size, np.float32) for size in sizes)  # type: ignore[return-value]


def sum_waves(waves: Waves, full: Shape, table: Array, per_q: float, out: Array) -> None:
    """Add the sums of all atoms to out [a * b * (c // 2 + 1), 2], from their tables [rows, n, 32]."""
    rows, flat = table.shape[0], table.reshape(-1)

    def work(begin: int, end: int) -> None:
        _sum_rows(
            begin, end, waves.shape, full, waves.reciprocal, waves.longest, *waves.phases,
            flat, per_q, rows, _space(), np.zeros(SLOTS, np.float32), out,
        )  # fmt: skip

    in_threads(waves.shape[0] * waves.shape[1], work)


def pull_waves(waves: Waves, full: Shape, given: Array, per_q: float, rows: int) -> Array:
    """The gradient of the tables [rows, n, 32] for that of the sums [a * b * (c // 2 + 1), 2]."""
    atoms = waves.phases[0].shape[1]
    result = np.zeros((rows, atoms, SLOTS), np.float32)
    _pull_rows(
        0, waves.shape[0] * waves.shape[1], waves.shape, full, waves.reciprocal, waves.longest, *waves.phases,
        given, per_q, rows, _space(), result.reshape(-1),
    )  # fmt: skip
    return result


def in_threads(count: int, work: Callable[[int, int], None]) -> None:
    """Call work(begin, end) for parts of range(count) on as many threads as torch may use."""
    threads = torch.get_num_threads()
    if threads == 1:
        work(0, count)
        return
    edges = np.linspace(0, count, 4 * threads + 1).astype(int)  # rows differ in how many waves they keep
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work, int(a), int(b)) for a, b in pairwise(edges)]:
            future.result()
