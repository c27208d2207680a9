"""Two densities of one crystal side by side: how far apart they are, where, and in how many electrons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ecd_data.crystal import SYMBOLS, Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import EcdError

SAME_LENGTH = 5e-4  # of a lattice vector, and of the products of two; files print six decimals or convert from bohr
SAME_PLACE = 0.05  # Å between an atom and its partner; files of one calculation agree to 1e-5
SAME_COUNT = 0.5  # electrons; predictions are off by less, other valences by at least one


class DifferentCrystalsError(EcdError):
    """Two densities of different cells or atoms, which cannot be subtracted."""


@dataclass(frozen=True)
class Comparison:
    """What `compare` found about two densities a and b, of which b is the reference.

    a, b: on the common grid; shapes: the grids that they came on; difference: a - b in e/Å^3, with the difference of
    the magnetizations where both have one. eps_mae: sum|a - b| / sum|b|, a fraction, NaN where b is zero everywhere;
    mean_absolute and largest in e/Å^3, the latter with its sign; point: fractional coordinates of the largest
    difference; atom and distance: number and symbol of the atom nearest to it, as in "O3", and how far it is in Å;
    apart: the largest distance of an atom of a from its partner in b in Å.
    """

    a: Density
    b: Density
    shapes: tuple[tuple[int, int, int], tuple[int, int, int]]
    difference: Density
    eps_mae: float
    mean_absolute: float
    largest: float
    point: tuple[float, float, float]
    atom: str | None
    distance: float | None
    apart: float

    @property
    def notes(self) -> list[str]:
        """Sentences about what a reader of the numbers has to know."""
        found = []
        if self.shapes[0] != self.shapes[1]:
            one, two, common = ("x".join(map(str, shape)) for shape in (*self.shapes, self.b.shape))
            found.append(f"the grids are {one} and {two}: compared on {common} by Fourier interpolation")
        count = self.a.nelect - self.b.nelect
        if abs(count) > SAME_COUNT:
            found.append(
                f"the electron counts differ by {count:+.4f}: other valences, another charge or another kind of density"
            )
        if self.apart > 1e-3:
            found.append(f"atoms lie up to {self.apart:.3f} Å apart")
        spins = [rho.magnetization is not None for rho in (self.a, self.b)]
        if any(spins) and self.difference.magnetization is None:
            found.append("the magnetizations were not compared: only one has it, or one is non-collinear")
        return found

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name, as JSON holds them; electrons and moments are [of a, of b]."""
        return {
            "eps_mae_percent": 100 * self.eps_mae if np.isfinite(self.eps_mae) else None,
            "electrons": [self.a.nelect, self.b.nelect],
            "moments": [self.a.moment, self.b.moment],
            "mean_absolute": self.mean_absolute,
            "largest": self.largest,
            "largest_at": list(self.point),
            "nearest_atom": self.atom,
            "nearest_atom_distance": self.distance,
            "shapes": [list(shape) for shape in self.shapes],
            "compared_on": list(self.b.shape),
            "notes": self.notes,
        }

    def __str__(self) -> str:
        eps = f"{100 * self.eps_mae:.4g} %" if np.isfinite(self.eps_mae) else "undefined, the second is zero everywhere"
        near = "" if self.atom is None else f", {self.distance:.2f} Å from {self.atom}"
        point = ", ".join(f"{x:.4f}" for x in self.point)
        lines = [
            f"eps_mae {eps}",
            f"electrons {self.a.nelect:.4f} and {self.b.nelect:.4f}: {self.a.nelect - self.b.nelect:+.4f}",
            f"largest difference {self.largest:+.4g} e/Å^3 at ({point}){near}",
            f"mean absolute difference {self.mean_absolute:.4g} e/Å^3",
        ]
        if self.difference.magnetization is not None:
            lines.append(f"moments {self.a.moment} and {self.b.moment} Bohr magnetons")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def compare(a: Density, b: Density) -> Comparison:
    """How the density a differs from the reference b: a Comparison.

    Where the grids differ, both are taken to the finer one along each axis, by Fourier interpolation, which loses
    nothing. The order of the atoms and the orientation of the cell in space do not matter. Raises
    DifferentCrystalsError for other cells or atoms.
    """
    apart = _apart(a.crystal, b.crystal)
    shapes = a.shape, b.shape
    common: Any = tuple(map(max, a.shape, b.shape))
    a, b = (rho if rho.shape == common else rho.resample(common) for rho in (a, b))
    values = a.values - b.values
    place = np.unravel_index(int(np.argmax(np.abs(values))), common)
    point = np.array(place) / common
    atom, distance = _nearest(b.crystal, point)
    reference = float(np.abs(b.values).sum())
    return Comparison(
        a=a,
        b=b,
        shapes=shapes,
        difference=replace(b, values=values, magnetization=_spin(a, b), augmentation=None, meta=_meta(a, b)),
        eps_mae=float(np.abs(values).sum()) / reference if reference else float("nan"),
        mean_absolute=float(np.abs(values).mean()),
        largest=float(values[place]),
        point=tuple(point.tolist()),
        atom=atom,
        distance=distance,
        apart=apart,
    )


def _spin(a: Density, b: Density) -> Floats | None:
    one, two = a.magnetization, b.magnetization
    return one - two if one is not None and two is not None and one.shape == two.shape else None


def _meta(a: Density, b: Density) -> dict[str, Any]:
    """Of a difference nothing is known but that it is one: settings and flags are of densities."""
    names = [str(rho.meta.get("comment") or rho.crystal.formula).strip()[:80] for rho in (a, b)]
    return {"kind": "difference", "comment": f"difference: {names[0]} - {names[1]}"}


def _apart(one: Crystal, two: Crystal) -> float:
    """The largest distance in Å of an atom of the first from its partner in the second, in whatever order they are."""
    _refuse_other_cell(one, two)
    if len(one) != len(two):
        raise DifferentCrystalsError(_not_alike(one, two, f"{len(one)} and {len(two)} atoms"))
    left, largest = list(range(len(two))), 0.0
    for number, place in zip(one.numbers, one.frac_coords, strict=True):
        fitting = [k for k in left if number in (0, two.numbers[k]) or two.numbers[k] == 0]
        distances = _distances(two.lattice, two.frac_coords[fitting], place)
        if not fitting or distances.min() > SAME_PLACE:
            at = ", ".join(f"{x:.4f}" for x in place)
            raise DifferentCrystalsError(_not_alike(one, two, f"the second has no {SYMBOLS[number]} at ({at})"))
        left.remove(fitting[int(distances.argmin())])
        largest = max(largest, float(distances.min()))
    return largest


def _refuse_other_cell(one: Crystal, two: Crystal) -> None:
    from ecd_data.checks.pairs import order_of_axes

    lengths = np.linalg.norm(two.lattice, axis=1)
    apart = np.abs(one.lattice @ one.lattice.T - two.lattice @ two.lattice.T)
    if (apart <= 2 * SAME_LENGTH * np.outer(lengths, lengths)).all():
        return
    if len(one) == len(two) and (order := order_of_axes(one, two)) is not None:
        letters = "".join("abc"[axis] for axis in order)
        reason = f"taken in the order {letters}, the axes of the first are the second's"
        raise DifferentCrystalsError(_not_alike(one, two, reason))
    sides = [" ".join(f"{x:.3f}" for x in np.linalg.norm(c.lattice, axis=1)) for c in (one, two)]
    angles = " or angles" if sides[0] == sides[1] else ""
    raise DifferentCrystalsError(_not_alike(one, two, f"the cells have sides{angles} of {sides[0]} and {sides[1]} Å"))


def _not_alike(one: Crystal, two: Crystal, reason: str) -> str:
    return (
        f"{one.formula} and {two.formula} are not one crystal in one cell ({reason}), so their densities cannot be "
        "subtracted: give two densities of the same cell and atoms"
    )


def _distances(lattice: Floats, places: Floats, point: Floats) -> Floats:
    """The distances in Å of fractional places [n, 3] from a point, each by its nearest periodic image [n]."""
    apart = places.reshape(-1, 3) - point
    apart -= np.round(apart)
    shifts = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    images: Floats = np.linalg.norm((apart[:, None] + shifts) @ lattice, axis=2)
    return images.min(axis=1)


def _nearest(crystal: Crystal, point: Floats) -> tuple[str | None, float | None]:
    if not len(crystal):
        return None, None
    distances = _distances(crystal.lattice, crystal.frac_coords, point)
    nearest = int(distances.argmin())
    return f"{crystal.symbols[nearest]}{nearest + 1}", float(distances[nearest])
