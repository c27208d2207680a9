"""Superposed atoms: a spherical form factor f(|k|) for each species, a short spline, predicts the stars' amplitudes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ecd_data.codec.operations import Ints, Operations
from ecd_data.codec.stars import Stars
from ecd_data.codec.waves import Complexes
from ecd_data.crystal import Crystal, Floats

SAME = 0.05  # Å: images of an atom that are this near to another one stand for it
NEAR = 1e-4  # of a lattice vector: two images of one atom
RIDGE = 1e-9


@dataclass(frozen=True)
class Orbit:
    """One of some equivalent atoms: its fractional coordinates and how many they are."""

    frac_coords: tuple[float, float, float]
    atoms: int


Species = tuple[tuple[Orbit, ...], ...]  # the orbits of each species


def species_of(crystal: Crystal, operations: Operations) -> Species:
    """The atoms of each element, one of each orbit."""
    n = np.array(operations.shape)
    found = []
    for number in np.unique(crystal.numbers):
        left = crystal.frac_coords[crystal.numbers == number] % 1.0
        orbits = []
        while len(left):
            images = operations.rotations @ left[0] + operations.shifts / n
            apart = left[:, None] - images
            apart -= np.round(apart)
            same = (np.linalg.norm(apart @ crystal.lattice, axis=-1) < SAME).any(axis=1)
            same[0] = True
            orbits.append(Orbit(tuple(left[0].tolist()), int(same.sum())))
            left = left[~same]
        found.append(tuple(orbits))
    return tuple(found)


@lru_cache(maxsize=8)
def structure_factors(stars: Stars, species: Species) -> Complexes:
    """Sum of exp(-2 pi i k.x) over the atoms of each species, as amplitudes of the stars [species, s]."""
    low, high = stars.k.min(axis=0), stars.k.max(axis=0)
    a, b, c = (stars.k - low).T
    result = np.empty((len(species), len(stars)), dtype=np.complex128)
    for row, orbits in enumerate(species):
        atoms, weights = _atoms(orbits, stars.operations)
        x, y, z = (np.exp(-2j * np.pi * np.outer(np.arange(low[i], high[i] + 1), atoms[:, i])) for i in range(3))
        plane = (x[:, None] * (y * weights)).reshape(-1, len(atoms))
        box = (plane @ z.T).reshape(len(x), len(y), len(z))
        result[row] = stars.amplitudes(box[a, b, c])
    return result


def _atoms(orbits: tuple[Orbit, ...], operations: Operations) -> tuple[Floats, Floats]:
    """Fractional coordinates [n, 3] of the atoms of some orbits, and what each counts for [n]."""
    n = np.array(operations.shape)
    found, weights = [], []
    for orbit in orbits:
        images = operations.rotations @ np.array(orbit.frac_coords) + operations.shifts / n
        distinct = images[:1]
        for image in images[1:]:
            if len(distinct) == orbit.atoms:
                break
            apart = distinct - image
            if np.abs(apart - np.round(apart)).max(axis=1).min() > NEAR:
                distinct = np.concatenate([distinct, image[None]])
        found.append(distinct)
        weights.append(np.full(len(distinct), orbit.atoms / len(distinct)))
    return np.concatenate(found), np.concatenate(weights)


@dataclass(frozen=True, eq=False)
class FormFactors:
    """f(|k|) of each species as a uniform cubic B-spline from k = 0 to the last star.

    integers [knots, species]: coefficient j is integers[j] * 2^exponent / (j + 1), in quantisation steps.
    """

    species: Species
    integers: Ints
    exponent: int

    def predict(self, stars: Stars, factors: Complexes) -> Complexes:
        """The amplitudes of stars by their `structure_factors`, in quantisation steps [s]."""
        knots = len(self.integers)
        coefficients = self.integers * 2.0**self.exponent / np.arange(1, knots + 1)[:, None]
        first, weights = spline(stars, knots)
        places = first + np.arange(4)[:, None]
        result = np.zeros(len(stars), dtype=np.complex128)
        for row in range(len(self.species)):
            result += (weights * coefficients[places, row]).sum(axis=0) * factors[row]
        return result


@lru_cache(maxsize=8)
def spline(stars: Stars, knots: int) -> tuple[Ints, Floats]:
    """For each star the first of its four B-splines [s] and their values [4, s]."""
    place = np.sqrt(stars.norm / stars.norm[-1]) * (knots - 3)
    first = np.minimum(place.astype(np.int64), knots - 4)
    x = place - first
    weights = np.stack([(1 - x) ** 3, 3 * x**3 - 6 * x**2 + 4, -3 * x**3 + 3 * x**2 + 3 * x + 1, x**3]) / 6
    return first, weights


def fitted(stars: Stars, factors: Complexes, amplitudes: Complexes, knots: int) -> tuple[Floats, float]:
    """The spline coefficients [knots, species] of least squares over all plane waves, and the fit's stiffness.

    The stiffness is the trace of the normal matrix, each coefficient measured in its own unit 1/(j + 1).
    """
    first, weights = spline(stars, knots)
    count, species = len(stars), len(factors)
    root = np.sqrt(stars.size)
    entries = (weights[:, None] * factors * root).transpose(2, 0, 1).reshape(count, -1)
    normal, right = np.zeros((knots * species,) * 2), np.zeros(knots * species)
    edges = np.searchsorted(first, np.arange(knots - 2))  # stars are sorted: those of an interval lie side by side
    for interval in range(knots - 3):
        inside = slice(edges[interval], edges[interval + 1])
        here = slice(interval * species, (interval + 4) * species)
        rows = np.concatenate([entries[inside].real, entries[inside].imag])
        wanted = amplitudes[inside] * root[inside]
        normal[here, here] += rows.T @ rows
        right[here] += rows.T @ np.concatenate([wanted.real, wanted.imag])
    diagonal = normal.diagonal()
    solution = np.linalg.solve(normal + RIDGE * diagonal.max() * np.eye(len(normal)), right)
    units = np.repeat(1.0 / np.arange(1, knots + 1), species)
    return solution.reshape(knots, species), float((diagonal * units**2).sum())
