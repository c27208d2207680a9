"""Space-group symmetry of a crystal and of its grid points."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Crystal

MAX_IMAGES = 200_000  # images of grid points that are computed at once: limits memory
# The last space group of each crystal system; the rest are cubic
CRYSTAL_SYSTEMS = {
    2: "triclinic", 15: "monoclinic", 74: "orthorhombic", 142: "tetragonal", 167: "trigonal", 194: "hexagonal",
}  # fmt: skip
SYMPREC = 1e-5  # Å: strict, since the density of a nearly symmetric crystal is only nearly symmetric


class GridOrbits(NamedTuple):
    """The sets of grid points that symmetry makes equivalent.

    points [m]: the flat index of one point of each orbit; orbit [a*b*c]: the number of the orbit of each grid point.
    """

    points: NDArray[np.int64]
    orbit: NDArray[np.int64]


def spacegroup(crystal: Crystal, symprec: float) -> int | None:
    """The space group number that spglib finds within `symprec` Å; None where it finds none."""
    import spglib

    if not len(crystal):
        return None
    cell: Any = (crystal.lattice, crystal.frac_coords, crystal.numbers)
    try:
        found = spglib.get_symmetry_dataset(cell, symprec=symprec)
    except spglib.error.SpglibError:
        return None
    return None if found is None else int(found.number)


def crystal_system(spacegroup: int) -> str:
    """The crystal system of a space group by its number, 1 to 230."""
    return next((system for last, system in CRYSTAL_SYSTEMS.items() if spacegroup <= last), "cubic")


def grid_operations(
    crystal: Crystal, shape: tuple[int, int, int], symprec: float = SYMPREC
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The symmetry operations that map a grid onto itself, each as an integer matrix [3, 3] and shift [3] of indices.

    Parameters
    ----------
    crystal : the crystal, whose space group is found within `symprec` Å.
    shape : the numbers of grid points along a, b and c.
    """
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


def grid_orbits(crystal: Crystal, shape: tuple[int, int, int]) -> GridOrbits:
    """The orbits of a grid under the operations of the crystal's space group that map the grid onto itself.

    The points are visited in their order, some at a time. The operations are applied only to points that are not in an
    orbit yet, and the lowest index of an orbit represents it.
    """
    operations = grid_operations(crystal, shape)
    matrices, shifts = (np.array(part, dtype=np.int32) for part in zip(*operations, strict=True))
    size = int(np.prod(shape))
    orbit = np.full(size, -1, dtype=np.int64)
    points: list[NDArray[np.int64]] = []
    found, step = 0, max(shape[2], min(size, MAX_IMAGES // len(operations)))
    for start in range(0, size, step):
        new = start + np.flatnonzero(orbit[start : start + step] < 0)
        images = _map_points(new, shape, matrices, shifts)
        first = images.min(axis=0) == new
        points.append(new[first])
        orbit[images[:, first]] = found + np.arange(len(points[-1]))
        found += len(points[-1])
    return GridOrbits(np.concatenate(points), orbit)


def _map_points(
    points: NDArray[np.int64], shape: tuple[int, int, int], matrices: NDArray[np.int32], shifts: NDArray[np.int32]
) -> NDArray[np.int64]:
    """The images of grid points under each operation, as flat indices [operations, points]."""
    x = [part.astype(np.int32) for part in np.unravel_index(points, shape)]
    flat = np.zeros((len(matrices), len(points)), dtype=np.int64)
    for i, n in enumerate(shape):
        index = shifts[:, i, None] + sum(matrices[:, i, j, None] * x[j] for j in range(3))
        index -= index // n * n  # several times faster in NumPy than the operator %
        flat = flat * n + index
    return flat
