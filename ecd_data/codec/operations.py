"""Symmetry operations of a grid as exact permutations of its points: found, checked against the data, written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import gcd, lcm

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Crystal, Floats
from ecd_data.symmetry import grid_operations

Ints = NDArray[np.int64]
Shape = tuple[int, int, int]

SYMPREC = 1e-2  # Å: what the density violates is dropped anyway
MAX_ENTRY = 3  # of a rotation in lattice coordinates; reduced cells need 1
MAX_OPERATIONS = 1024
SAMPLE = 1024
GENERATORS_TRIED = 20


@dataclass(frozen=True, eq=False)
class Operations:
    """A group of operations x -> W x + t/n that map a grid of `shape` n onto itself.

    rotations [h, 3, 3]: W in lattice coordinates; shifts [h, 3]: t in grid steps, 0 <= t < n. The identity is first.
    """

    shape: Shape
    rotations: Ints
    shifts: Ints

    def __len__(self) -> int:
        return len(self.rotations)

    @classmethod
    def identity(cls, shape: Shape) -> Operations:
        """The group of one."""
        return cls(shape, np.eye(3, dtype=np.int64)[None], np.zeros((1, 3), dtype=np.int64))

    @classmethod
    def of_crystal(cls, crystal: Crystal, shape: Shape) -> Operations:
        """The operations of the crystal's space group that fit the grid."""
        return _of_crystal(crystal, shape)

    @cached_property
    def keys(self) -> Ints:
        """A number for each operation, equal for equal ones [h]."""
        return _keys(self.rotations, self.shifts, self.shape)

    @cached_property
    def _steps(self) -> int:
        """What the shifts have in common when counted in parts of lcm(n)."""
        whole = lcm(*self.shape)
        return gcd(whole, *(self.shifts * (whole // np.array(self.shape))).ravel().tolist())

    @property
    def period(self) -> int:
        """The number of steps along a lattice vector in which all shifts are whole."""
        return lcm(*self.shape) // self._steps

    @cached_property
    def turns(self) -> Ints:
        """The shifts in such steps [h, 3]."""
        return self.shifts * (lcm(*self.shape) // np.array(self.shape)) // self._steps

    def kept_by(self, values: Floats, tolerance: float) -> Operations:
        """The largest group found among the operations that change a grid by at most `tolerance` in mean|difference|.

        Judged by a sample of its points.
        """
        if len(self) == 1:
            return self
        chosen, places = self._sample
        flat = values.reshape(-1)
        kept = np.abs(flat[places] - flat[chosen]).mean(axis=1) <= tolerance
        kept[0] = True
        return self if kept.all() else Operations(self.shape, self.rotations[kept], self.shifts[kept])._largest_group()

    @cached_property
    def _sample(self) -> tuple[Ints, Ints]:
        """Some points of the grid [p], and where each operation puts them [h, p]."""
        n, count = np.array(self.shape), int(np.prod(self.shape))
        chosen = np.arange(count) if count <= SAMPLE else np.random.default_rng(0).integers(count, size=SAMPLE)
        points = np.stack(np.unravel_index(chosen, self.shape)).astype(np.float64)
        matrices = (self.rotations * n[:, None] / n).reshape(-1, 3)
        moved = np.rint(matrices @ points).astype(np.int64).reshape(len(self), 3, -1) + self.shifts[:, :, None]
        places = (moved[:, 0] % n[0] * n[1] + moved[:, 1] % n[1]) * n[2] + moved[:, 2] % n[2]
        return chosen, places

    @cached_property
    def _products(self) -> list[list[int]]:
        """The number of each product of two operations, -1 where it is none of them."""
        n = np.array(self.shape)
        moved = np.rint(self.rotations * n[:, None] / n)
        w = np.einsum("gij,hjk->ghik", self.rotations.astype(np.float64), self.rotations, optimize=True)
        t = np.einsum("gij,hj->ghi", moved, self.shifts, optimize=True) + self.shifts[:, None]
        w, t = (np.rint(x).astype(np.int64).reshape(-1, *x.shape[2:]) for x in (w, t))
        large = np.abs(w).max(axis=(1, 2)) > MAX_ENTRY
        w[large] = 0
        keys = _keys(w, t % n, self.shape)
        order = np.argsort(self.keys)
        found = order[np.searchsorted(self.keys[order], keys).clip(max=len(self) - 1)]
        return np.where((self.keys[found] == keys) & ~large, found, -1).reshape(len(self), -1).tolist()

    def _closure(self, chosen: list[int]) -> set[int] | None:
        """The operations that are products of the chosen ones, None where a product is none of ours."""
        group, new = {0}, [0]
        while new:
            made = {self._products[g][h] for g in chosen for h in new} - group
            if -1 in made:
                return None
            group |= made
            new = list(made)
        return group

    def _largest_group(self) -> Operations:
        """Itself where it is a group; else one made by its operations, in turn, whose products are all in it."""
        group, chosen = {0}, list[int]()
        for index in range(1, len(self)):
            grown = self._closure([*chosen, index]) if index not in group else None
            if grown is not None:
                chosen.append(index)
                group = grown
        kept = sorted(group)
        return Operations(self.shape, self.rotations[kept], self.shifts[kept])

    def generators(self) -> list[tuple[Ints, Ints]]:
        """A few operations whose products are the whole group."""
        rng = np.random.default_rng(0)
        orders = [range(len(self))] + [rng.permutation(len(self)).tolist() for _ in range(GENERATORS_TRIED)]
        best = min((self._generators(order) for order in orders), key=len)
        return [(self.rotations[index], self.shifts[index]) for index in best]

    def _generators(self, order: Iterable[int]) -> list[int]:
        chosen, group = list[int](), {0}
        for index in order:
            if index not in group:
                chosen.append(index)
                group = self._closure(chosen) or group
        return chosen


@lru_cache(maxsize=4)  # density and magnetisation have one crystal
def _of_crystal(crystal: Crystal, shape: Shape) -> Operations:
    n = np.array(shape)
    found = grid_operations(crystal, shape, SYMPREC)
    rotations = np.array([matrix * n / n[:, None] for matrix, _ in found]).round().astype(np.int64)
    shifts = np.array([shift for _, shift in found]) % n
    small = np.flatnonzero(np.abs(rotations).max(axis=(1, 2)) <= MAX_ENTRY)[:MAX_OPERATIONS]
    return Operations(shape, rotations[small], shifts[small])._largest_group()


@lru_cache(maxsize=64)
def generated_by(shape: Shape, generators: tuple[tuple[int, ...], ...]) -> Operations | None:
    """`generated` from twelve numbers an operation, W by rows and t; the last ones are kept."""
    numbers = [np.array(g, dtype=np.int64) for g in generators]
    return generated(shape, [(g[:9].reshape(3, 3), g[9:]) for g in numbers])


def generated(shape: Shape, generators: Sequence[tuple[Ints, Ints]], limit: int = MAX_OPERATIONS) -> Operations | None:
    """The group of all products of some operations, None where it has more than `limit` or too large entries."""
    group = Operations.identity(shape)
    if not generators:
        return group
    n = np.array(shape)
    rotations, shifts = group.rotations, group.shifts
    left = np.array([w for w, _ in generators])
    moved = (left * n[:, None] / n).round().astype(np.int64)
    steps = np.array([t for _, t in generators])
    new_w, new_t = rotations, shifts
    known = _keys(rotations, shifts, shape)
    while len(new_w):
        w = np.einsum("gij,hjk->ghik", left, new_w).reshape(-1, 3, 3)
        t = ((np.einsum("gij,hj->ghi", moved, new_t) + steps[:, None]) % n).reshape(-1, 3)
        if np.abs(w).max() > MAX_ENTRY:
            return None
        keys, first = np.unique(_keys(w, t, shape), return_index=True)
        first = first[~np.isin(keys, known)]
        new_w, new_t = w[first], t[first]
        rotations, shifts = np.concatenate([rotations, new_w]), np.concatenate([shifts, new_t])
        known = np.concatenate([known, _keys(new_w, new_t, shape)])
        if len(rotations) > limit:
            return None
    return Operations(shape, rotations, shifts)


def _keys(rotations: Ints, shifts: Ints, shape: Shape) -> Ints:
    base = 2 * MAX_ENTRY + 1
    code = (rotations.reshape(-1, 9) + MAX_ENTRY) @ base ** np.arange(9)
    flat = (shifts[:, 0] * shape[1] + shifts[:, 1]) * shape[2] + shifts[:, 2]
    return code * (shape[0] * shape[1] * shape[2]) + flat
