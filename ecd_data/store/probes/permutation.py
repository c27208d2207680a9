"""The order in which a crystal's grid points are drawn: a seeded permutation that is computed, never stored.

It is a four-round Feistel network over Z_a x Z_b with a b >= size (Black and Rogaway, "Ciphers with arbitrary finite
domains", 2002). The few results outside the grid are permuted again until they are inside. Any range of positions is a
sample of distinct grid points, each with the same probability.
"""

from __future__ import annotations

import hashlib
from math import isqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROUNDS = 4
_UINT = np.uint64


def permute(positions: ArrayLike, sizes: ArrayLike, keys: ArrayLike) -> NDArray[np.int64]:
    """The grid points [c, n] (flat indices in C order) at positions [c, n] of the permutations of c grids.

    sizes [c]: the numbers of points of the grids; keys [c, 4]: those of `round_keys`. A position must be below the size
    of its grid.
    """
    grids = np.asarray(sizes, dtype=_UINT).reshape(-1, 1)
    high = np.array([[isqrt(int(size) - 1) + 1] for size in grids[:, 0]], dtype=_UINT)
    low = -(-grids.astype(np.int64) // high.astype(np.int64)).astype(_UINT)
    rounds = np.asarray(keys, dtype=_UINT).reshape(-1, ROUNDS, 1)
    points = _network(np.asarray(positions, dtype=_UINT), high, low, rounds)
    while (outside := points >= grids).any():
        rows, columns = np.nonzero(outside)
        again = _network(points[rows, columns][:, None], high[rows], low[rows], rounds[rows])
        points[rows, columns] = again[:, 0]
    return points.astype(np.int64)


def _network(points: NDArray, high: NDArray, low: NDArray, keys: NDArray) -> NDArray:
    left, right = points // low, points % low
    for k in range(0, ROUNDS, 2):
        left = (left + _mix(right, keys[:, k]) % high) % high
        right = (right + _mix(left, keys[:, k + 1]) % low) % low
    return left * low + right


def _mix(values: NDArray, key: NDArray) -> NDArray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014) of the keyed values."""
    x = values + key
    x = (x ^ (x >> _UINT(30))) * _UINT(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _UINT(27))) * _UINT(0x94D049BB133111EB)
    return x ^ (x >> _UINT(31))


def round_keys(seed: int, id: str) -> NDArray[np.uint64]:
    """The four round keys of a crystal's permutation: BLAKE2b of "seed/id", 32 bytes, little-endian."""
    return np.frombuffer(hashlib.blake2b(f"{seed}/{id}".encode(), digest_size=8 * ROUNDS).digest(), "<u8")


def start_position(seed: int, epoch: int, id: str, n: int, count: int) -> int:
    """The first of the n positions of a crystal in an epoch, where position 0 follows position `count` - 1.

    A pass of count // n epochs has no position twice. Each pass starts at a position drawn from (seed, pass, id), so
    that its samples combine the points in another way.
    """
    turn, step = divmod(epoch, max(1, count // n))
    digest = hashlib.blake2b(f"{seed}/{turn}/{id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") + step * n) % count
