"""The prediction of a star's amplitude by superposed atoms: each species has a form factor f(|k|), a spline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ecd_data.codec.operations import Ints, Operations
from ecd_data.codec.stars import Stars
from ecd_data.codec.waves import Complexes
from ecd_data.crystal import Crystal, Floats

SAME_ATOM = 0.05  # Å: an image of an atom that is this near to another atom counts as that atom
SAME_IMAGE = 1e-4  # of a lattice vector: two images that are nearer count as one
RIDGE = 1e-9  # of the largest diagonal entry: keeps the normal equations solvable where species cannot be told apart


@dataclass(frozen=True)
class Orbit:
    """A set of equivalent atoms: the fractional coordinates of one of them, and their number."""

    frac_coords: tuple[float, float, float]
    atoms: int


Species = tuple[tuple[Orbit, ...], ...]  # the orbits of each species


def find_species(crystal: Crystal, operations: Operations) -> Species:
    """The orbits of the atoms of each element, in the order of the atomic numbers."""
    n = np.array(operations.shape)
    species = []
    for number in np.unique(crystal.numbers):
        atoms = crystal.frac_coords[crystal.numbers == number] % 1.0
        orbits = []
        while len(atoms):
            images = operations.rotations @ atoms[0] + operations.shifts / n
            vectors = atoms[:, None] - images
            vectors -= np.round(vectors)
            same = (np.linalg.norm(vectors @ crystal.lattice, axis=-1) < SAME_ATOM).any(axis=1)
            same[0] = True
            orbits.append(Orbit(tuple(atoms[0].tolist()), int(same.sum())))
            atoms = atoms[~same]
        species.append(tuple(orbits))
    return tuple(species)


@lru_cache(maxsize=8)
def structure_factors(stars: Stars, species: Species) -> Complexes:
    """The sums of exp(-2 pi i k.x) over the atoms of each species, as amplitudes of the stars [species, s]."""
    low, high = stars.k.min(axis=0), stars.k.max(axis=0)
    a, b, c = (stars.k - low).T
    result = np.empty((len(species), len(stars)), dtype=np.complex128)
    for row, orbits in enumerate(species):
        atoms, weights = _list_atoms(orbits, stars.operations)
        x, y, z = (np.exp(-2j * np.pi * np.outer(np.arange(low[i], high[i] + 1), atoms[:, i])) for i in range(3))
        plane = (x[:, None] * (y * weights)).reshape(-1, len(atoms))
        box = (plane @ z.T).reshape(len(x), len(y), len(z))
        result[row] = stars.amplitudes(box[a, b, c])
    return result


def _list_atoms(orbits: tuple[Orbit, ...], operations: Operations) -> tuple[Floats, Floats]:
    """The fractional coordinates [n, 3] and weights [n] of the atoms of some orbits.

    Where rounding merges images, the weight of the others rises, so that the weights sum to the number of atoms.
    """
    n = np.array(operations.shape)
    positions, weights = [], []
    for orbit in orbits:
        images = operations.rotations @ np.array(orbit.frac_coords) + operations.shifts / n
        distinct = images[:1]
        for image in images[1:]:
            if len(distinct) == orbit.atoms:
                break
            vectors = distinct - image
            if np.abs(vectors - np.round(vectors)).max(axis=1).min() > SAME_IMAGE:
                distinct = np.concatenate([distinct, image[None]])
        positions.append(distinct)
        weights.append(np.full(len(distinct), orbit.atoms / len(distinct)))
    return np.concatenate(positions), np.concatenate(weights)


@dataclass(frozen=True, eq=False)
class FormFactors:
    """The form factor f(|k|) of each species: a uniform cubic B-spline from k = 0 to the last star.

    integers [knots, species]: coefficient j is integers[j] * 2^exponent / (j + 1), in units of the quantisation step.
    """

    species: Species
    integers: Ints
    exponent: int

    def predict(self, stars: Stars, factors: Complexes) -> Complexes:
        """The amplitudes [s] that the atoms predict, in units of the step; `factors` are from `structure_factors`."""
        knots = len(self.integers)
        coefficients = self.integers * 2.0**self.exponent / np.arange(1, knots + 1)[:, None]
        first, weights = spline_weights(stars, knots)
        rows = first + np.arange(4)[:, None]
        result = np.zeros(len(stars), dtype=np.complex128)
        for number in range(len(self.species)):
            result += (weights * coefficients[rows, number]).sum(axis=0) * factors[number]
        return result


@lru_cache(maxsize=8)
def spline_weights(stars: Stars, knots: int) -> tuple[Ints, Floats]:
    """The first of the four B-splines that are not zero at each star [s], and the values of the four [4, s]."""
    position = np.sqrt(stars.norm / stars.norm[-1]) * (knots - 3)
    first = np.minimum(position.astype(np.int64), knots - 4)
    x = position - first
    weights = np.stack([(1 - x) ** 3, 3 * x**3 - 6 * x**2 + 4, -3 * x**3 + 3 * x**2 + 3 * x + 1, x**3]) / 6
    return first, weights


def fit_form_factors(stars: Stars, factors: Complexes, amplitudes: Complexes, knots: int) -> tuple[Floats, float]:
    """The spline coefficients [knots, species] of a least squares fit to all plane waves, and its stiffness.

    The stiffness is the trace of the normal matrix with each coefficient in its own unit 1/(j + 1): the squared error
    that rounding the coefficients causes.
    """
    first, weights = spline_weights(stars, knots)
    count, species = len(stars), len(factors)
    root = np.sqrt(stars.size)
    entries = (weights[:, None] * factors * root).transpose(2, 0, 1).reshape(count, -1)
    normal, right = np.zeros((knots * species,) * 2), np.zeros(knots * species)
    edges = np.searchsorted(first, np.arange(knots - 2))  # the stars are sorted, so an interval is a slice of them
    for interval in range(knots - 3):
        inside = slice(edges[interval], edges[interval + 1])
        block = slice(interval * species, (interval + 4) * species)
        rows = np.concatenate([entries[inside].real, entries[inside].imag])
        target = amplitudes[inside] * root[inside]
        normal[block, block] += rows.T @ rows
        right[block] += rows.T @ np.concatenate([target.real, target.imag])
    diagonal = normal.diagonal()
    solution = np.linalg.solve(normal + RIDGE * diagonal.max() * np.eye(len(normal)), right)
    units = np.repeat(1.0 / np.arange(1, knots + 1), species)
    return solution.reshape(knots, species), float((diagonal * units**2).sum())
