"""The comparison of two densities of one crystal: how large their difference is, where, and in how many electrons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ecd_data.crystal import SYMBOLS, Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import EcdError

CELL_TOLERANCE = 5e-4  # relative difference of two cells that count as equal: files round to six decimals or to bohr
POSITION_TOLERANCE = 0.05  # Å between an atom and its partner; files of one calculation agree to 1e-5 Å
ELECTRON_TOLERANCE = 0.5  # electrons: a prediction is off by less, other valences differ by at least one


class DifferentCrystalsError(EcdError):
    """Two densities have different cells or atoms, so they cannot be subtracted."""


@dataclass(frozen=True)
class Comparison:
    """The differences that `compare` found between a density a and its reference b.

    Attributes
    ----------
    a, b : the two densities on their common grid.
    shapes : the grids of the two densities before the comparison.
    difference : a - b in e/Å^3, with the difference of the magnetizations where both have one.
    eps_mae : sum|a - b| / sum|b|, a fraction; NaN where b is zero everywhere.
    mean_absolute : the mean of |a - b| in e/Å^3.
    largest : the largest difference in e/Å^3, with its sign.
    point : the fractional coordinates of the largest difference.
    atom, distance : the atom nearest to that point, as in "O3", and its distance in Å; None without atoms.
    atom_displacement : the largest distance in Å of an atom of a from its partner in b.
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
    atom_displacement: float

    @property
    def notes(self) -> list[str]:
        """Sentences that a reader needs to understand the numbers."""
        notes = []
        if self.shapes[0] != self.shapes[1]:
            one, two, common = ("x".join(map(str, shape)) for shape in (*self.shapes, self.b.shape))
            notes.append(f"the grids are {one} and {two}: both are compared on {common} by Fourier interpolation")
        count = self.a.nelect - self.b.nelect
        if abs(count) > ELECTRON_TOLERANCE:
            notes.append(
                f"the electron counts differ by {count:+.4f}: the valences, the charge or the kind of density differ"
            )
        if self.atom_displacement > 1e-3:
            notes.append(f"the atoms differ in position by up to {self.atom_displacement:.3f} Å")
        spins = [rho.magnetization is not None for rho in (self.a, self.b)]
        if any(spins) and self.difference.magnetization is None:
            notes.append("the magnetizations were not compared: only one density has one, or one is non-collinear")
        return notes

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name, ready for JSON; electrons, moments and shapes are lists [of a, of b]."""
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
    """The Comparison of the density a with the reference b.

    Where the grids differ, both densities are interpolated to the finer grid along each axis; Fourier interpolation
    to a finer grid is exact. The order of the atoms and the orientation of the cell in space do not matter.

    Parameters
    ----------
    a, b : two densities of one crystal, in e/Å^3.

    Raises
    ------
    DifferentCrystalsError : the cells differ by more than 5e-4, or an atom has no partner within 0.05 Å.
    """
    atom_displacement = _match_atoms(a.crystal, b.crystal)
    shapes = a.shape, b.shape
    common: Any = tuple(map(max, a.shape, b.shape))
    a, b = (rho if rho.shape == common else rho.resample(common) for rho in (a, b))
    values = a.values - b.values
    index = np.unravel_index(int(np.argmax(np.abs(values))), common)
    point = np.array(index) / common
    atom, distance = _find_nearest_atom(b.crystal, point)
    reference = float(np.abs(b.values).sum())
    return Comparison(
        a=a,
        b=b,
        shapes=shapes,
        difference=replace(
            b,
            values=values,
            magnetization=_subtract_magnetizations(a, b),
            augmentation=None,
            meta=_describe_difference(a, b),
        ),
        eps_mae=float(np.abs(values).sum()) / reference if reference else float("nan"),
        mean_absolute=float(np.abs(values).mean()),
        largest=float(values[index]),
        point=tuple(point.tolist()),
        atom=atom,
        distance=distance,
        atom_displacement=atom_displacement,
    )


def _subtract_magnetizations(a: Density, b: Density) -> Floats | None:
    one, two = a.magnetization, b.magnetization
    return one - two if one is not None and two is not None and one.shape == two.shape else None


def _describe_difference(a: Density, b: Density) -> dict[str, Any]:
    """The meta of a difference: its kind and a comment. The settings and flags of a and b do not apply to it."""
    names = [str(rho.meta.get("comment") or rho.crystal.formula).strip()[:80] for rho in (a, b)]
    return {"kind": "difference", "comment": f"difference: {names[0]} - {names[1]}"}


def _match_atoms(one: Crystal, two: Crystal) -> float:
    """The largest distance in Å between partners, the atoms of two crystals matched in any order."""
    _refuse_other_cell(one, two)
    if len(one) != len(two):
        raise DifferentCrystalsError(_explain_mismatch(one, two, f"{len(one)} and {len(two)} atoms"))
    free, largest = list(range(len(two))), 0.0  # atoms of the second crystal without a partner yet
    for number, position in zip(one.numbers, one.frac_coords, strict=True):
        candidates = [k for k in free if number in (0, two.numbers[k]) or two.numbers[k] == 0]
        distances = _periodic_distances(two.lattice, two.frac_coords[candidates], position)
        if not candidates or distances.min() > POSITION_TOLERANCE:
            at = ", ".join(f"{x:.4f}" for x in position)
            raise DifferentCrystalsError(_explain_mismatch(one, two, f"the second has no {SYMBOLS[number]} at ({at})"))
        free.remove(candidates[int(distances.argmin())])
        largest = max(largest, float(distances.min()))
    return largest


def _refuse_other_cell(one: Crystal, two: Crystal) -> None:
    from ecd_data.checks.pairs import order_of_axes

    lengths = np.linalg.norm(two.lattice, axis=1)
    apart = np.abs(one.lattice @ one.lattice.T - two.lattice @ two.lattice.T)
    if (apart <= 2 * CELL_TOLERANCE * np.outer(lengths, lengths)).all():
        return
    if len(one) == len(two) and (order := order_of_axes(one, two)) is not None:
        letters = "".join("abc"[axis] for axis in order)
        reason = f"the axes of the first in the order {letters} are those of the second"
        raise DifferentCrystalsError(_explain_mismatch(one, two, reason))
    sides = [" ".join(f"{x:.3f}" for x in np.linalg.norm(c.lattice, axis=1)) for c in (one, two)]
    angles = " or angles" if sides[0] == sides[1] else ""
    reason = f"the cells have sides{angles} of {sides[0]} and {sides[1]} Å"
    raise DifferentCrystalsError(_explain_mismatch(one, two, reason))


def _explain_mismatch(one: Crystal, two: Crystal, reason: str) -> str:
    return (
        f"{one.formula} and {two.formula} are not one crystal in one cell ({reason}), so their densities cannot be "
        "subtracted: give two densities of the same cell and atoms"
    )


def _periodic_distances(lattice: Floats, frac_coords: Floats, point: Floats) -> Floats:
    """The distances in Å [n] of fractional positions [n, 3] from a point, each to its nearest periodic image."""
    vectors = frac_coords.reshape(-1, 3) - point
    vectors -= np.round(vectors)
    shifts = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    images: Floats = np.linalg.norm((vectors[:, None] + shifts) @ lattice, axis=2)
    return images.min(axis=1)


def _find_nearest_atom(crystal: Crystal, point: Floats) -> tuple[str | None, float | None]:
    if not len(crystal):
        return None, None
    distances = _periodic_distances(crystal.lattice, crystal.frac_coords, point)
    nearest = int(distances.argmin())
    return f"{crystal.symbols[nearest]}{nearest + 1}", float(distances[nearest])
