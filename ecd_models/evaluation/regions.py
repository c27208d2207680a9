"""The regions of a crystal's grid, near the cores, bonds and interstices, and the electrons around each atom.

With x, the distance of a grid point to a nucleus in covalent radii (Cordero et al., Dalton Trans. 2008, 2832) of the
nucleus for which x is least, the point is

- near a core for x <= 0.5,
- in a bond for 0.5 < x <= 1.25: the middle of a single bond has x = 1, and of the contacts of a metal or an ionic
  crystal 1.1 to 1.2, since these are longer than two covalent radii,
- interstitial beyond: in the voids of a dense packing, in channels, between layers, in vacuum.

The electrons of an atom are those in the sphere of its covalent radius, in which spheres of bonded atoms touch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import SYMBOLS, Crystal, Floats
from ecd_data.density import Density

CORE_LIMIT, BOND_LIMIT = 0.5, 1.25  # covalent radii from the nucleus
REGIONS = ("near_core", "bond", "interstitial")
ROUNDING = 1e-6  # Å: so that points on the border of a region have the same region at equivalent atoms


@dataclass(frozen=True)
class RegionError:
    """The error in one region of a crystal.

    eps_mae : sum|rho - guess| / sum|rho| over its points, a fraction; None where it has no points or no electrons.
    share : its part of the crystal's whole sum|rho - guess|; None where that is zero.
    volume, electrons : its parts of the volume and of sum|rho|.
    """

    eps_mae: float | None
    share: float | None
    volume: float
    electrons: float


@cache
def covalent_radii() -> Floats:
    """The covalent radii in Å by atomic number [119]; NaN where the table has none: unknown elements, Bk and beyond."""
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius  # slow to import

    return np.array([CovalentRadius.radius.get(symbol, np.nan) for symbol in SYMBOLS])


def has_radii(crystal: Crystal) -> bool:
    """Whether each atom of a crystal has a covalent radius, which regions and the electrons of atoms need."""
    return not np.isnan(covalent_radii()[crystal.numbers]).any()


def find_regions(crystal: Crystal, shape: tuple[int, int, int]) -> NDArray[np.int8]:
    """The region of each grid point [a, b, c], as its number in REGIONS."""
    least = np.full(shape, np.inf)
    for position, radius in zip(crystal.frac_coords, covalent_radii()[crystal.numbers], strict=True):
        points, distance = _find_sphere(crystal.lattice, position, BOND_LIMIT * radius, shape)
        np.minimum.at(least.reshape(-1), points, (distance - ROUNDING) / radius)
    return np.digitize(least, [CORE_LIMIT, BOND_LIMIT], right=True).astype(np.int8)


def _find_sphere(
    lattice: Floats, center: Floats, radius: float, shape: tuple[int, int, int]
) -> tuple[NDArray[np.int64], Floats]:
    """The numbers [n] of the grid points in a sphere and their distances in Å from its centre [n].

    A sphere that is larger than the cell has a point as often as it contains its periodic images.
    """
    counts = np.array(shape)
    middle = center * counts
    half = (radius + ROUNDING) * np.linalg.norm(np.linalg.inv(lattice), axis=0) * counts
    steps = [np.arange(np.ceil(m - h), np.floor(m + h) + 1).astype(np.int64) for m, h in zip(middle, half, strict=True)]
    apart = [((s - m) / n)[:, None] * row for s, m, n, row in zip(steps, middle, counts, lattice, strict=True)]
    vectors = apart[0][:, None, None] + apart[1][None, :, None] + apart[2][None, None, :]
    distance = np.sqrt(np.einsum("abcx,abcx->abc", vectors, vectors))
    inside = distance <= radius + ROUNDING
    a, b, c = (s % n for s, n in zip(steps, shape, strict=True))
    numbers = (a[:, None, None] * shape[1] + b[None, :, None]) * shape[2] + c[None, None, :]
    return numbers[inside], distance[inside]


def split_error(guess: Density, rho: Density) -> dict[str, RegionError]:
    """The RegionError of each region by name; the shares of the regions add up to 1."""
    size = len(REGIONS)
    region = find_regions(rho.crystal, rho.shape).ravel()
    error = np.bincount(region, np.abs(guess.values - rho.values).ravel(), size)
    electrons = np.bincount(region, np.abs(rho.values).ravel(), size)
    points = np.bincount(region, minlength=size)
    return {
        name: RegionError(
            eps_mae=float(error[k] / electrons[k]) if electrons[k] > 0 else None,
            share=float(error[k] / error.sum()) if error.sum() > 0 else None,
            volume=float(points[k] / points.sum()),
            electrons=float(electrons[k] / electrons.sum()) if electrons.sum() > 0 else 0.0,
        )
        for k, name in enumerate(REGIONS)
    }


def count_atom_electrons(crystal: Crystal, *grids: Floats) -> Floats:
    """The electrons in the sphere of each atom [m, n], from m densities [a, b, c] in e/Å^3 of a crystal of n atoms."""
    sums = np.zeros((len(grids), len(crystal)))
    for k, (position, radius) in enumerate(zip(crystal.frac_coords, covalent_radii()[crystal.numbers], strict=True)):
        points, _ = _find_sphere(crystal.lattice, position, radius, grids[0].shape)
        sums[:, k] = [grid.ravel()[points].sum() for grid in grids]
    return sums * crystal.volume / grids[0].size
