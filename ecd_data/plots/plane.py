"""A plane of a crystal's grid: its values, their positions in Å, and the atoms near it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ecd_data.arguments import real_number
from ecd_data.crystal import Floats
from ecd_data.density import Density
from ecd_data.errors import UsageError

CELLS_EACH_WAY = 2  # cells that a picture shows along each side
MAX_ATOM_HEIGHT = 0.6  # Å above or below the plane: farther atoms are not drawn


@dataclass(frozen=True)
class Plane:
    """The plane number `index` of the grid of a density that the lattice vector `axis` (0, 1, 2) crosses."""

    rho: Density
    axis: int
    index: int

    @property
    def name(self) -> str:
        """The position of the plane, as in "plane c = 0.25"."""
        return f"plane {'abc'[self.axis]} = {self.index / self.rho.shape[self.axis]:.4g}"

    def slice_values(self, values: Floats) -> Floats:
        """The values of a grid [a, b, c] in the plane, repeated over two cells along each side."""
        return np.tile(np.take(values, self.index, axis=self.axis), (CELLS_EACH_WAY, CELLS_EACH_WAY))

    def corners(self, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
        """x and y in Å [n + 1, m + 1] of the corners of the quadrilaterals around n x m grid points."""
        # each value fills the quadrilateral around its grid point, so that atoms are drawn on their maxima
        i, j = np.meshgrid(*(CELLS_EACH_WAY * (np.arange(n + 1) - 0.5) / n for n in shape), indexing="ij")
        return self._to_cartesian(i, j)

    def atoms(self) -> Iterator[tuple[str, tuple[float, float], float]]:
        """The symbol, position (x, y) and height in Å of each atom near the plane, in all cells of the picture."""
        normal = np.cross(*self._sides)
        normal /= np.linalg.norm(normal)
        height = float(self.rho.lattice[self.axis] @ normal)
        along = [axis for axis in range(3) if axis != self.axis]
        level = self.index / self.rho.shape[self.axis]
        for symbol, position in zip(self.rho.crystal.symbols, self.rho.frac_coords, strict=True):
            above = position[self.axis] - level
            images = above - np.round(above) + np.arange(-1, 2)
            image = images[np.abs(images).argmin()]
            if abs(image * height) > MAX_ATOM_HEIGHT:
                continue
            foot = position + (image - above) * np.eye(3)[self.axis]
            shift = foot[self.axis] - level  # an atom is drawn at its foot, the point below it in the plane
            moved = foot[along] + shift * self._slant
            for i, j in np.ndindex(CELLS_EACH_WAY + 1, CELLS_EACH_WAY + 1):
                u, v = moved - np.floor(moved) + (i, j)
                if u <= CELLS_EACH_WAY and v <= CELLS_EACH_WAY:
                    x, y = self._to_cartesian(u, v)
                    yield symbol, (float(x), float(y)), float(image * height)

    @property
    def _sides(self) -> tuple[Floats, Floats]:
        u, v = (self.rho.lattice[axis] for axis in range(3) if axis != self.axis)
        return u, v

    @property
    def _slant(self) -> Floats:
        """The foot of the lattice vector that crosses the plane, in units of the plane's sides [2]."""
        sides = np.stack(self._sides)
        slant: Floats = np.linalg.solve(sides @ sides.T, sides @ self.rho.lattice[self.axis])
        return slant

    def _to_cartesian(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """x and y in Å of points at the fractions u and v of the two sides; x is along the first side."""
        one, two = self._sides
        length = np.linalg.norm(one)
        along = two @ one / length
        return u * length + v * along, v * np.sqrt(two @ two - along**2)


def choose_plane(rho: Density, axis: str = "c", at: float | None = None) -> Plane:
    """The Plane that a lattice vector crosses nearest to the fractional position `at`.

    Without `at` the plane goes through the heaviest atom. Raises UsageError for another axis than "a", "b" and "c".
    """
    if axis not in ("a", "b", "c"):
        raise UsageError(f"there is no axis {axis!r}: give a, b or c")
    number = "abc".index(axis)
    if at is None:
        at = float(rho.frac_coords[int(np.argmax(rho.numbers)), number]) if len(rho.numbers) else 0.0
    elif not 0 <= real_number(at, "the plane's position", "0.25") <= 1:
        raise UsageError(f"the plane's position is a fraction of the axis {axis} between 0 and 1, not {at}")
    return Plane(rho, number, round(at * rho.shape[number]) % rho.shape[number])
