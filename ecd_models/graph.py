"""The periodic neighbours of atoms and of probe points, found with numpy and scipy alone."""

from __future__ import annotations

from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import UsageError
from ecd_models.stopwatch import clocked

Indices = NDArray[np.int64]
ROUNDING = 1e-9  # Å added to the cutoff, so that rounding loses no edge that is as long as the cutoff


class Edges(NamedTuple):
    """Edges from atoms to atoms or probes, ordered by receiver, then by sender.

    src [e]: sending atom; dst [e]: receiving atom or probe; vec [e, 3]: receiver minus image of the sender, in Å.
    """

    src: Indices
    dst: Indices
    vec: Floats


class Neighbors:
    """The atom images around one cell, found once for any number of probes.

    Atoms and probes are first moved into the home cell along the periodic directions. So an atom outside the cell, and
    a cell thinner than the cutoff, lose no neighbours. The cutoff (Å) is inclusive.

    Raises
    ------
    UsageError : an atom has no element, or the cutoff is not positive.
    """

    @clocked("graph")
    def __init__(self, crystal: Crystal, cutoff: float):
        unknown = int((crystal.numbers == 0).sum())
        if unknown:
            raise UsageError(
                f"{unknown} of the crystal's {len(crystal)} atoms have no element (an old CHGCAR names no elements): "
                "give their atomic numbers before asking a network for a density"
            )
        if not cutoff > 0:
            raise UsageError(f"the neighbour cutoff must be a positive length in Å, not {cutoff}")
        self.crystal = crystal
        self.cutoff = float(cutoff)
        self.reach = self.cutoff + ROUNDING
        self._periodic = np.array(crystal.pbc)
        frac = self._wrap(crystal.frac_coords)
        self._home = frac @ crystal.lattice
        self._senders, self._shifts = self._find_images(frac)
        self._positions = (frac[self._senders] + self._shifts) @ crystal.lattice
        self._tree = cKDTree(self._positions) if len(crystal) else None

    def atoms(self) -> Edges:
        """Edges between atoms, also from the periodic images of an atom to itself."""
        return self._atom_edges

    @property
    def nbytes(self) -> int:
        """The memory of the images and their tree in bytes."""
        return 2 * (self._positions.nbytes + self._shifts.nbytes + self._senders.nbytes)

    @clocked("graph")
    def probes(self, frac_points: ArrayLike) -> Edges:
        """Edges from atoms to probe points [p, 3] (fractional), also those of length zero."""
        images, probes, vec = self._find_pairs(self.positions(frac_points))
        return Edges(self._senders[images], probes, vec)

    def positions(self, frac_points: ArrayLike) -> Floats:
        """Fractional points [p, 3] in Å [p, 3], moved into the home cell along the periodic directions."""
        return self._wrap(np.asarray(frac_points, dtype=np.float64).reshape(-1, 3)) @ self.crystal.lattice

    @property
    def images(self) -> tuple[Indices, Floats]:
        """The images that can reach a point of the home cell: their atoms [i] and positions in Å [i, 3]."""
        return self._senders, self._positions

    @cached_property
    @clocked("graph")
    def _atom_edges(self) -> Edges:
        images, atoms, vec = self._find_pairs(self._home)
        itself = (self._senders[images] == atoms) & ~self._shifts[images].any(axis=1)
        return Edges(self._senders[images[~itself]], atoms[~itself], vec[~itself])

    def _wrap(self, frac: Floats) -> Floats:
        return np.where(self._periodic, frac - np.floor(frac), frac)

    def _find_images(self, frac: Floats) -> tuple[Indices, Indices]:
        """Atom [i] and lattice shift [i, 3] of each image that can reach a point of the home cell."""
        heights = 1.0 / np.linalg.norm(np.linalg.inv(self.crystal.lattice), axis=0)
        reach = self.reach / heights
        counts = np.where(self._periodic, np.ceil(reach), 0).astype(int)
        shifts = np.array(list(product(*(range(-n, n + 1) for n in counts))), dtype=np.int64)
        images = frac[:, None] + shifts
        margin = reach + 1e-9
        inside = ((images >= -margin) & (images <= 1 + margin)) | ~self._periodic
        atoms, shift = np.nonzero(inside.all(axis=2))
        return atoms, shifts[shift]

    def _find_pairs(self, points: Floats) -> tuple[Indices, Indices, Floats]:
        """Image [e], point [e] and vector in Å [e, 3] of all pairs within the cutoff, ordered by point, then image."""
        if self._tree is None or not len(points):
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3))
        pairs = cKDTree(points).sparse_distance_matrix(self._tree, self.reach, output_type="ndarray")
        order = np.argsort(pairs["i"] * len(self._positions) + pairs["j"])
        point, image = pairs["i"][order].astype(np.int64), pairs["j"][order].astype(np.int64)
        return image, point, points[point] - self._positions[image]
