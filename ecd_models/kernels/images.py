"""The atom images near a block of points: points that lie close together share one short list of images."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ecd_data.crystal import Crystal, Floats
from ecd_models.graph import Neighbors


class Images(NamedTuple):
    """The atom images that can reach a point of the home cell.

    positions [i, 3] in Å; atoms [i]: the atom of each image; reach: the largest length of an edge in Å.
    """

    neighbors: Neighbors
    positions: Floats
    atoms: NDArray[np.int32]
    reach: float

    @classmethod
    def of(cls, crystal: Crystal, cutoff: float) -> Images:
        """The images around the cell of a crystal, for edges of at most `cutoff` Å."""
        neighbors = Neighbors(crystal, cutoff)
        atoms, positions = neighbors.images
        return cls(neighbors, np.ascontiguousarray(positions), atoms.astype(np.int32), neighbors.reach)

    @property
    def sources(self) -> tuple[Floats, NDArray[np.int32], float]:
        """The argument `where` of `ecd_models.kernels.edges.find_block_edges`."""
        return self.positions, self.atoms, self.reach

    def points(self, frac_points: Floats) -> Floats:
        """Fractional points [n, 3] in Å [n, 3], moved into the home cell."""
        return np.ascontiguousarray(self.neighbors.positions(frac_points))


@njit(nogil=True)
def find_near_images(points: Any, first: int, last: int, positions: Any, reach: float, chosen: Any) -> int:
    """The number of images within reach of the box around points[first:last], which are written to `chosen` [i]."""
    low_x, low_y, low_z = high_x, high_y, high_z = points[first, 0], points[first, 1], points[first, 2]
    for p in range(first + 1, last):
        low_x, high_x = min(low_x, points[p, 0]), max(high_x, points[p, 0])
        low_y, high_y = min(low_y, points[p, 1]), max(high_y, points[p, 1])
        low_z, high_z = min(low_z, points[p, 2]), max(high_z, points[p, 2])
    count = 0
    for i in range(len(positions)):
        x, y, z = positions[i, 0], positions[i, 1], positions[i, 2]
        x = max(low_x - x, 0.0, x - high_x)
        y = max(low_y - y, 0.0, y - high_y)
        z = max(low_z - z, 0.0, z - high_z)
        if x * x + y * y + z * z <= reach * reach:
            chosen[count] = i
            count += 1
    return count


@njit(nogil=True)
def find_edges(
    points: Any,
    first: int,
    last: int,
    positions: Any,
    atoms: Any,
    reach: float,
    chosen: Any,
    begin: int,
    end: int,
    vec: Any,
    point: Any,
    sender: Any,
) -> tuple[int, int]:
    """The next image to begin with (`end`: all are done) and the number of edges that were written.

    The edges go from the images chosen[begin:end] to points[first:last], image by image, until the arrays are full:
    vec [3, capacity] float32, point minus image in Å; point [capacity], counted from `first`; sender [capacity], the
    atom.
    """
    edges, capacity = 0, len(point)
    for k in range(begin, end):
        if edges + last - first > capacity:
            return k, edges
        i = chosen[k]
        x, y, z = positions[i, 0], positions[i, 1], positions[i, 2]
        for p in range(first, last):
            dx, dy, dz = points[p, 0] - x, points[p, 1] - y, points[p, 2] - z
            if dx * dx + dy * dy + dz * dz <= reach * reach:
                vec[0, edges], vec[1, edges], vec[2, edges] = dx, dy, dz
                point[edges], sender[edges] = p - first, atoms[i]
                edges += 1
    return end, edges
