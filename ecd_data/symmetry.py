"""Space-group symmetry on a grid: which points are equivalent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Crystal

IMAGES = 200_000  # of grid points, that are looked at together
SYMPREC = 1e-5  # Å: a crystal that is symmetric only roughly has a density that is so only roughly


class GridOrbits(NamedTuple):
    """Grid points that symmetry makes equivalent.

    points [m]: flat index of one point of each orbit; orbit [a*b*c]: which of the m each point belongs to.
    """

    points: NDArray[np.int64]
    orbit: NDArray[np.int64]


def spacegroup(crystal: Crystal, symprec: float) -> int | None:
    """The space group number of a crystal within `symprec` Å by spglib, None where there is none to find."""
    import spglib

    if not len(crystal):
        return None
    cell: Any = (crystal.lattice, crystal.frac_coords, crystal.numbers)
    try:
        found = spglib.get_symmetry_dataset(cell, symprec=symprec)
    except spglib.error.SpglibError:
        return None
    return None if found is None else int(found.number)


def grid_operations(
    crystal: Crystal, shape: tuple[int, int, int], symprec: float = SYMPREC
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The symmetry operations that map the grid onto itself, as integer matrix and shift of grid indices."""
    import spglib

    cell: Any = (crystal.lattice, crystal.frac_coords, crystal.numbers)
    found = spglib.get_symmetry(cell, symprec=symprec)
    if found is None:
        return [(np.eye(3, dtype=np.int64), np.zeros(3, dtype=np.int64))]
    n = np.array(shape)
    slack = 2 * symprec * np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0) * n + 1e-9
    matrices, shifts = found["rotations"] * n[:, None] / n, found["translations"] * n
    whole, near = np.rint(matrices), np.rint(shifts)
    fits = (np.abs(matrices - whole) < 1e-9).all(axis=(1, 2)) & (np.abs(shifts - near) < slack).all(axis=1)
    return list(zip(whole[fits].astype(np.int64), near[fits].astype(np.int64), strict=True))


def grid_orbits(crystal: Crystal, shape: tuple[int, int, int], symprec: float = SYMPREC) -> GridOrbits:
    """The orbits of a grid under those operations of the crystal's space group that map it onto itself.

    Points are taken in their order, some at a time: the operations are applied only to those that no point before
    has reached, and the lowest index among a point's images stands for its orbit.
    """
    operations = grid_operations(crystal, shape, symprec)
    matrices, shifts = (np.array(part, dtype=np.int32) for part in zip(*operations, strict=True))
    size = int(np.prod(shape))
    orbit = np.full(size, -1, dtype=np.int64)
    points: list[NDArray[np.int64]] = []
    found, step = 0, max(shape[2], min(size, IMAGES // len(operations)))
    for start in range(0, size, step):
        left = start + np.flatnonzero(orbit[start : start + step] < 0)
        images = _images(left, shape, matrices, shifts)
        first = images.min(axis=0) == left
        points.append(left[first])
        orbit[images[:, first]] = found + np.arange(len(points[-1]))
        found += len(points[-1])
    return GridOrbits(np.concatenate(points), orbit)


def _images(
    points: NDArray[np.int64], shape: tuple[int, int, int], matrices: NDArray[np.int32], shifts: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Where operations take grid points, as flat indices [operations, points]."""
    x = [part.astype(np.int32) for part in np.unravel_index(points, shape)]
    flat = np.zeros((len(matrices), len(points)), dtype=np.int64)
    for i, n in enumerate(shape):
        index = shifts[:, i, None] + sum(matrices[:, i, j, None] * x[j] for j in range(3))
        index -= index // n * n  # numpy does this several times faster than a remainder
        flat = flat * n + index
    return flat
