"""The symmetry operations of a grid: exact permutations of its points, checked against the density."""

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

SYMPREC = 1e-2  # Å: loose, since operations that change the density are dropped later
MAX_ENTRY = 3  # of a rotation matrix in lattice coordinates; reduced cells need 1
MAX_OPERATIONS = 1024  # of one group: refuses streams that would make endless groups
SAMPLE_POINTS = 1024  # grid points at which an operation is compared with the density
GENERATORS_TRIED = 20  # random orders in which a short list of generators is searched


@dataclass(frozen=True, eq=False)
class Operations:
    """A group of h operations x -> W x + t/n that map a grid of `shape` n onto itself.

    rotations [h, 3, 3]: W in lattice coordinates; shifts [h, 3]: t in grid steps, 0 <= t < n. The first operation is
    the identity.
    """

    shape: Shape
    rotations: Ints
    shifts: Ints

    def __len__(self) -> int:
        return len(self.rotations)

    @classmethod
    def identity(cls, shape: Shape) -> Operations:
        """The group that has only the identity."""
        return cls(shape, np.eye(3, dtype=np.int64)[None], np.zeros((1, 3), dtype=np.int64))

    @classmethod
    def of_crystal(cls, crystal: Crystal, shape: Shape) -> Operations:
        """The operations of the crystal's space group that map the grid onto itself."""
        return _find_operations(crystal, shape)

    @cached_property
    def keys(self) -> Ints:
        """A number for each operation [h]; equal operations have equal numbers."""
        return _number_operations(self.rotations, self.shifts, self.shape)

    @cached_property
    def _steps(self) -> int:
        """The greatest common divisor of all shifts, counted in parts of lcm(n)."""
        whole = lcm(*self.shape)
        return gcd(whole, *(self.shifts * (whole // np.array(self.shape))).ravel().tolist())

    @property
    def period(self) -> int:
        """The number of steps of a lattice vector such that every shift is a whole number of steps."""
        return lcm(*self.shape) // self._steps

    @cached_property
    def turns(self) -> Ints:
        """The shifts in steps of 1/period of a lattice vector [h, 3]."""
        return self.shifts * (lcm(*self.shape) // np.array(self.shape)) // self._steps

    def select_by_change(self, values: Floats, tolerance: float) -> Operations:
        """The largest group found among the operations that change a grid by at most `tolerance` in mean|difference|.

        The change is measured at some random points of the grid.
        """
        if len(self) == 1:
            return self
        chosen, images = self._sample_images
        flat = values.reshape(-1)
        keep = np.abs(flat[images] - flat[chosen]).mean(axis=1) <= tolerance
        keep[0] = True
        if keep.all():
            return self
        return Operations(self.shape, self.rotations[keep], self.shifts[keep])._find_largest_group()

    @cached_property
    def _sample_images(self) -> tuple[Ints, Ints]:
        """The flat indices of some grid points [p] and of their images under each operation [h, p]."""
        n, count = np.array(self.shape), int(np.prod(self.shape))
        chosen = (
            np.arange(count) if count <= SAMPLE_POINTS else np.random.default_rng(0).integers(count, size=SAMPLE_POINTS)
        )
        points = np.stack(np.unravel_index(chosen, self.shape)).astype(np.float64)
        matrices = (self.rotations * n[:, None] / n).reshape(-1, 3)
        moved = np.rint(matrices @ points).astype(np.int64).reshape(len(self), 3, -1) + self.shifts[:, :, None]
        images = (moved[:, 0] % n[0] * n[1] + moved[:, 1] % n[1]) * n[2] + moved[:, 2] % n[2]
        return chosen, images

    @cached_property
    def _products(self) -> list[list[int]]:
        """The number of the product of each two operations, -1 where the product is not in the list."""
        n = np.array(self.shape)
        moved = np.rint(self.rotations * n[:, None] / n)
        w = np.einsum("gij,hjk->ghik", self.rotations.astype(np.float64), self.rotations, optimize=True)
        t = np.einsum("gij,hj->ghi", moved, self.shifts, optimize=True) + self.shifts[:, None]
        w, t = (np.rint(x).astype(np.int64).reshape(-1, *x.shape[2:]) for x in (w, t))
        large = np.abs(w).max(axis=(1, 2)) > MAX_ENTRY
        w[large] = 0
        keys = _number_operations(w, t % n, self.shape)
        order = np.argsort(self.keys)
        matches = order[np.searchsorted(self.keys[order], keys).clip(max=len(self) - 1)]
        return np.where((self.keys[matches] == keys) & ~large, matches, -1).reshape(len(self), -1).tolist()

    def _closure(self, chosen: list[int]) -> set[int] | None:
        """The numbers of all products of the chosen operations; None where a product is not in the list."""
        group, new = {0}, [0]
        while new:
            products = {self._products[g][h] for g in chosen for h in new} - group
            if -1 in products:
                return None
            group |= products
            new = list(products)
        return group

    def _find_largest_group(self) -> Operations:
        """All operations if they are a group; else a group of those, added in turn, whose products are in the list."""
        group, chosen = {0}, list[int]()
        for index in range(1, len(self)):
            grown = self._closure([*chosen, index]) if index not in group else None
            if grown is not None:
                chosen.append(index)
                group = grown
        numbers = sorted(group)
        return Operations(self.shape, self.rotations[numbers], self.shifts[numbers])

    def generators(self) -> list[tuple[Ints, Ints]]:
        """A short list of operations (W, t) whose products are the whole group."""
        rng = np.random.default_rng(0)
        orders = [range(len(self))] + [rng.permutation(len(self)).tolist() for _ in range(GENERATORS_TRIED)]
        best = min((self._choose_generators(order) for order in orders), key=len)
        return [(self.rotations[index], self.shifts[index]) for index in best]

    def _choose_generators(self, order: Iterable[int]) -> list[int]:
        chosen, group = list[int](), {0}
        for index in order:
            if index not in group:
                chosen.append(index)
                group = self._closure(chosen) or group
        return chosen


@lru_cache(maxsize=4)  # density and magnetization have the same crystal
def _find_operations(crystal: Crystal, shape: Shape) -> Operations:
    n = np.array(shape)
    operations = grid_operations(crystal, shape, SYMPREC)
    rotations = np.array([matrix * n / n[:, None] for matrix, _ in operations]).round().astype(np.int64)
    shifts = np.array([shift for _, shift in operations]) % n
    small = np.flatnonzero(np.abs(rotations).max(axis=(1, 2)) <= MAX_ENTRY)[:MAX_OPERATIONS]
    return Operations(shape, rotations[small], shifts[small])._find_largest_group()


@lru_cache(maxsize=64)
def cached_group(shape: Shape, generators: tuple[tuple[int, ...], ...]) -> Operations | None:
    """The group of generators of twelve numbers each, W by rows and t; recent groups are cached."""
    numbers = [np.array(g, dtype=np.int64) for g in generators]
    return generate_group(shape, [(g[:9].reshape(3, 3), g[9:]) for g in numbers])


def generate_group(shape: Shape, generators: Sequence[tuple[Ints, Ints]]) -> Operations | None:
    """The group of all products of some operations (W, t).

    None where it has more than MAX_OPERATIONS, or a matrix with an entry above MAX_ENTRY.
    """
    group = Operations.identity(shape)
    if not generators:
        return group
    n = np.array(shape)
    rotations, shifts = group.rotations, group.shifts
    factors = np.array([w for w, _ in generators])
    grid_factors = (factors * n[:, None] / n).round().astype(np.int64)
    steps = np.array([t for _, t in generators])
    new_w, new_t = rotations, shifts
    group_keys = _number_operations(rotations, shifts, shape)
    while len(new_w):
        w = np.einsum("gij,hjk->ghik", factors, new_w).reshape(-1, 3, 3)
        t = ((np.einsum("gij,hj->ghi", grid_factors, new_t) + steps[:, None]) % n).reshape(-1, 3)
        if np.abs(w).max() > MAX_ENTRY:
            return None
        keys, first = np.unique(_number_operations(w, t, shape), return_index=True)
        first = first[~np.isin(keys, group_keys)]
        new_w, new_t = w[first], t[first]
        rotations, shifts = np.concatenate([rotations, new_w]), np.concatenate([shifts, new_t])
        group_keys = np.concatenate([group_keys, _number_operations(new_w, new_t, shape)])
        if len(rotations) > MAX_OPERATIONS:
            return None
    return Operations(shape, rotations, shifts)


def _number_operations(rotations: Ints, shifts: Ints, shape: Shape) -> Ints:
    base = 2 * MAX_ENTRY + 1
    code = (rotations.reshape(-1, 9) + MAX_ENTRY) @ base ** np.arange(9)
    flat = (shifts[:, 0] * shape[1] + shifts[:, 1]) * shape[2] + shifts[:, 2]
    return code * (shape[0] * shape[1] * shape[2]) + flat
