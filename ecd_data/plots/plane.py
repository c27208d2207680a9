"""A plane of a crystal's grid: which points lie in it, where they are in Å, and the atoms near it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ecd_data.arguments import real_number
from ecd_data.crystal import Floats
from ecd_data.density import Density
from ecd_data.errors import UsageError

CELLS = 2  # drawn each way
NEAR = 0.6  # Å from the plane within which an atom is drawn


@dataclass(frozen=True)
class Plane:
    """The grid plane number `index` across the lattice vector `axis` (0, 1, 2) of a density."""

    rho: Density
    axis: int
    index: int

    @property
    def name(self) -> str:
        """Where the plane is, as in "plane c = 0.25"."""
        return f"plane {'abc'[self.axis]} = {self.index / self.rho.shape[self.axis]:.4g}"

    def cut(self, values: Floats) -> Floats:
        """The values [a, b, c] in the plane, over two cells each way."""
        return np.tile(np.take(values, self.index, axis=self.axis), (CELLS, CELLS))

    def corners(self, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
        """x and y in Å of the corners of the quadrilaterals around so many points of both cells [n + 1, m + 1]."""
        # a value fills the quadrilateral around its grid point, so that atoms lie on their maxima
        i, j = np.meshgrid(*(CELLS * (np.arange(n + 1) - 0.5) / n for n in shape), indexing="ij")
        return self._at(i, j)

    def atoms(self) -> Iterator[tuple[str, tuple[float, float], float]]:
        """Symbol, place in Å and height over the plane in Å of the atoms near it, in all cells that are drawn."""
        normal = np.cross(*self._sides)
        normal /= np.linalg.norm(normal)
        height = float(self.rho.lattice[self.axis] @ normal)
        along = [axis for axis in range(3) if axis != self.axis]
        level = self.index / self.rho.shape[self.axis]
        for symbol, place in zip(self.rho.crystal.symbols, self.rho.frac_coords, strict=True):
            above = place[self.axis] - level
            images = above - np.round(above) + np.arange(-1, 2)
            image = images[np.abs(images).argmin()]
            if abs(image * height) > NEAR:
                continue
            foot = place + (image - above) * np.eye(3)[self.axis]
            shift = foot[self.axis] - level  # what is above a slanted axis is drawn where it stands
            moved = foot[along] + shift * self._slant
            for i, j in np.ndindex(CELLS + 1, CELLS + 1):
                u, v = moved - np.floor(moved) + (i, j)
                if u <= CELLS and v <= CELLS:
                    x, y = self._at(u, v)
                    yield symbol, (float(x), float(y)), float(image * height)

    @property
    def _sides(self) -> tuple[Floats, Floats]:
        u, v = (self.rho.lattice[axis] for axis in range(3) if axis != self.axis)
        return u, v

    @property
    def _slant(self) -> Floats:
        """How far the foot of the axis moves along the plane's sides, in their units [2]."""
        sides = np.stack(self._sides)
        slant: Floats = np.linalg.solve(sides @ sides.T, sides @ self.rho.lattice[self.axis])
        return slant

    def _at(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """x and y in Å of what lies at u and v along the sides, the first of which is x."""
        one, two = self._sides
        length = np.linalg.norm(one)
        along = two @ one / length
        return u * length + v * along, v * np.sqrt(two @ two - along**2)


def plane_of(rho: Density, axis: str = "c", at: float | None = None) -> Plane:
    """The Plane across a lattice vector nearest to the fractional position `at`, by default through the heaviest atom.

    Raises UsageError for another axis than a, b, c.
    """
    if axis not in ("a", "b", "c"):
        raise UsageError(f"a plane lies across the axis a, b or c, not {axis!r}")
    number = "abc".index(axis)
    if at is None:
        at = float(rho.frac_coords[int(np.argmax(rho.numbers)), number]) if len(rho.numbers) else 0.0
    elif not 0 <= real_number(at, "the plane's position", "0.25") <= 1:
        raise UsageError(f"the plane's position is a fraction of the axis {axis} between 0 and 1, not {at}")
    return Plane(rho, number, round(at * rho.shape[number]) % rho.shape[number])
