"""Space-group symmetry on a grid: which points are equivalent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Crystal

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
    operations = []
    for rotation, translation in zip(found["rotations"], found["translations"], strict=True):
        matrix, shift = rotation * n[:, None] / n, translation * n
        fits = np.abs(matrix - np.rint(matrix)).max() < 1e-9 and (np.abs(shift - np.rint(shift)) < slack).all()
        if fits:
            operations.append((np.rint(matrix).astype(np.int64), np.rint(shift).astype(np.int64)))
    return operations


def grid_orbits(crystal: Crystal, shape: tuple[int, int, int], symprec: float = SYMPREC) -> GridOrbits:
    """The orbits of a grid under those operations of the crystal's space group that map it onto itself."""
    axes = np.ogrid[: shape[0], : shape[1], : shape[2]]
    first = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    for matrix, shift in grid_operations(crystal, shape, symprec):
        image = np.zeros(shape, dtype=np.int64)
        for i in range(3):
            index = sum(int(matrix[i, j]) * axes[j] for j in range(3)) + int(shift[i])
            image = image * shape[i] + index % shape[i]
        np.minimum(first, image, out=first)
    points, orbit = np.unique(first.ravel(), return_inverse=True)
    return GridOrbits(points, orbit)
