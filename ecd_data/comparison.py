"""The comparison of two densities of one crystal: how large their difference is, where, and in how many electrons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ecd_data.arithmetic import DIFFERENCE, combine_magnetizations, describe, name_of
from ecd_data.crystal import Crystal, Floats
from ecd_data.crystal_match import DifferentCrystalsError, match_atoms, periodic_distances, same_orientation
from ecd_data.density import Density

__all__ = ["Comparison", "DifferentCrystalsError", "compare"]

ELECTRON_TOLERANCE = 0.5  # electrons: a prediction is off by less, other valences differ by at least one


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
            reason = "only one density has one, or one is non-collinear"
            if all(spins) and not same_orientation(self.a.crystal, self.b.crystal):
                reason = "the cells have two orientations in space, and whether vectors turned with them is not known"
            notes.append(f"the magnetizations were not compared: {reason}")
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
    to a finer grid is exact. The order of the atoms and the orientation of the cell in space do not matter;
    non-collinear magnetizations are compared where both cells have one orientation.

    Parameters
    ----------
    a, b : two densities of one crystal, in e/Å^3.

    Raises
    ------
    DifferentCrystalsError : the cells differ by more than 5e-4, or an atom has no partner within 0.05 Å.
    """
    atom_displacement = match_atoms(a.crystal, b.crystal)
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
            magnetization=combine_magnetizations(a, b, -1),
            augmentation=None,
            meta=describe(DIFFERENCE, f"{name_of(a)} - {name_of(b)}"),
        ),
        eps_mae=float(np.abs(values).sum()) / reference if reference else float("nan"),
        mean_absolute=float(np.abs(values).mean()),
        largest=float(values[index]),
        point=tuple(point.tolist()),
        atom=atom,
        distance=distance,
        atom_displacement=atom_displacement,
    )


def _find_nearest_atom(crystal: Crystal, point: Floats) -> tuple[str | None, float | None]:
    if not len(crystal):
        return None, None
    distances = periodic_distances(crystal.lattice, crystal.frac_coords, point)
    nearest = int(distances.argmin())
    return f"{crystal.symbols[nearest]}{nearest + 1}", float(distances[nearest])
