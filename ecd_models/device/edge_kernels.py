"""What the Triton kernels of all networks compute of an edge: its distance, radial functions and harmonics.

A program has a tile of P points of one brick times U channels and takes the images near the brick one by one. All data
of an edge stay in registers.
"""

from __future__ import annotations

import triton
import triton.language as tl

WORD = tl.constexpr(32)
SHORTEST = tl.constexpr(1e-12)  # Å: shorter edges have no direction


@triton.jit
def load_points(points, brick, P: tl.constexpr):
    """The coordinates of a brick's points [P] of points [b, 3, P]."""
    p = points + brick * 3 * P + tl.arange(0, P)
    return tl.load(p), tl.load(p + P), tl.load(p + 2 * P)


@triton.jit
def load_edges(px, py, pz, images, words, i, P: tl.constexpr):
    """The edges from image i to the points: whether they exist, x, y, z and the length [P]."""
    p = tl.arange(0, P)
    x = px - tl.load(images + 3 * i)
    y = py - tl.load(images + 3 * i + 1)
    z = pz - tl.load(images + 3 * i + 2)
    word = tl.load(words + i * ((P + 31) // 32) + p // WORD)
    return ((word >> (p % WORD)) & 1) != 0, x, y, z, tl.sqrt(x * x + y * y + z * z)


@triton.jit
def find_interval(r, scale, intervals):
    """The interval of each distance [P], and the position of the distance in it, from -1/2 to 1/2 [P]."""
    x = r * scale
    k = tl.minimum(x.to(tl.int32), intervals - 1)
    return k, x - k.to(tl.float32) - 0.5


@triton.jit
def evaluate_polynomials(rows, t, mask, STEP: tl.constexpr, DEGREE: tl.constexpr):
    """Polynomials in t [P] whose coefficients are at rows, rows + STEP, ... [P, U]; zero outside of the mask."""
    value = tl.load(rows + DEGREE * STEP, mask=mask, other=0.0)
    for d in tl.static_range(DEGREE):
        value = tl.load(rows + (DEGREE - 1 - d) * STEP, mask=mask, other=0.0) + t[:, None] * value
    return value


@triton.jit
def add_harmonic(total, y, sent, m: tl.constexpr, U: tl.constexpr):
    """total [P, U] + y [P] times what the atom sends for component m [U]."""
    return total + y[:, None] * tl.load(sent + m * U)[None, :]


@triton.jit
def sum_harmonics(x, y, z, sent, L: tl.constexpr, U: tl.constexpr):
    """The sum over m of the harmonics Y_Lm of unit vectors [P] times what the atom sends, sent + m * U [P, U].

    L is 1 to 4. Norm and order are those of e3nn's "component": |Y_l|^2 = 2l+1, y is the polar axis.
    """
    xx, yy, zz = x * x, y * y, z * z
    s = xx + zz
    if L == 1:
        first = 1.7320508075688772 * x
        total = first[:, None] * tl.load(sent)[None, :]
        total = add_harmonic(total, 1.7320508075688772 * y, sent, 1, U)
        total = add_harmonic(total, 1.7320508075688772 * z, sent, 2, U)
    elif L == 2:
        first = 3.872983346207417 * x * z
        total = first[:, None] * tl.load(sent)[None, :]
        total = add_harmonic(total, 3.872983346207417 * x * y, sent, 1, U)
        total = add_harmonic(total, 1.118033988749895 * (2 * yy - s), sent, 2, U)
        total = add_harmonic(total, 3.872983346207417 * y * z, sent, 3, U)
        total = add_harmonic(total, 1.9364916731037085 * (zz - xx), sent, 4, U)
    elif L == 3:
        first = 2.091650066335189 * x * (3 * zz - xx)
        total = first[:, None] * tl.load(sent)[None, :]
        total = add_harmonic(total, 10.246950765959598 * x * y * z, sent, 1, U)
        total = add_harmonic(total, 1.6201851746019651 * x * (4 * yy - s), sent, 2, U)
        total = add_harmonic(total, 1.3228756555322954 * y * (2 * yy - 3 * s), sent, 3, U)
        total = add_harmonic(total, 1.6201851746019651 * z * (4 * yy - s), sent, 4, U)
        total = add_harmonic(total, 5.123475382979799 * y * (zz - xx), sent, 5, U)
        total = add_harmonic(total, 2.091650066335189 * z * (zz - 3 * xx), sent, 6, U)
    else:
        first = 8.874119674649425 * x * z * (zz - xx)
        total = first[:, None] * tl.load(sent)[None, :]
        total = add_harmonic(total, 6.274950199005566 * x * y * (3 * zz - xx), sent, 1, U)
        total = add_harmonic(total, 3.3541019662496847 * x * z * (6 * yy - s), sent, 2, U)
        total = add_harmonic(total, 2.3717082451262845 * x * y * (4 * yy - 3 * s), sent, 3, U)
        total = add_harmonic(total, 0.375 * (8 * yy * yy - 24 * yy * s + 3 * s * s), sent, 4, U)
        total = add_harmonic(total, 2.3717082451262845 * z * y * (4 * yy - 3 * s), sent, 5, U)
        total = add_harmonic(total, 1.6770509831248424 * (zz - xx) * (6 * yy - s), sent, 6, U)
        total = add_harmonic(total, 6.274950199005566 * z * y * (zz - 3 * xx), sent, 7, U)
        total = add_harmonic(total, 2.2185299186623562 * (zz * (zz - 3 * xx) - xx * (3 * zz - xx)), sent, 8, U)
    return total
