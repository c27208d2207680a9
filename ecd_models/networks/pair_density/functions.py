"""The functions in which the pair model is linear: Gaussians on atoms, and windows of distances to neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from e3nn import o3
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import UsageError
from ecd_models.graph import Neighbors
from ecd_models.networks.elements import column, require_properties
from ecd_models.networks.pair_density.descriptors import PAIR_DESCRIPTORS, describe_pairs, order_anchors

MIN_RADIUS = 0.6  # Å: with hydrogen's radius the functions would be sharper than the grids of densities resolve
MAX_EXPONENT = 12.0  # sums over images leave out Gaussians below e^-12, which are negligible


@dataclass(frozen=True)
class PairDensityConfig:
    """The sizes of the model.

    gaussians, widest, sharpest : the number of radial functions of an atom, whose exponents grow geometrically from
        `widest` to `sharpest`, in units of 1 / (covalent radius)^2.
    lmax : the highest angular momentum.
    windows, first_window, window_step, window_width : the number of functions of the distance of two atoms, which are
        centred at first_window, first_window + window_step, ..., in units of the sum of the covalent radii.
    reach : the largest distance of a pair in these units.
    spherical : the number of Gaussians by which atoms of an element differ from free ones, with exponents from 0.15 to
        20 / Å^2.
    anchors : pairs of elements, such as "Al-N"; what is known of them is carried over to pairs that resemble them.

    Raises
    ------
    UsageError : a size is too small, widths are not positive, or an anchor is no pair of elements.
    """

    gaussians: int = 6
    widest: float = 0.25
    sharpest: float = 8.0
    lmax: int = 4
    windows: int = 4
    first_window: float = 0.85
    window_step: float = 0.35
    window_width: float = 0.3
    reach: float = 2.4
    spherical: int = 10
    anchors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "anchors", tuple(self.anchors))  # JSON has lists
        order_anchors(self.anchors)
        if min(self.gaussians, self.windows, self.spherical) < 2 or not 0 <= self.lmax <= 8:
            raise UsageError(f"{self} needs two functions of each kind at least, and lmax from 0 to 8")
        if not (0 < self.widest < self.sharpest and self.window_width > 0 and self.reach > 0):
            raise UsageError(f"{self} needs positive widths and a reach, and widest below sharpest")

    @property
    def exponents(self) -> Floats:
        """Exponents of the Gaussians in units of 1 / radius^2 [gaussians]."""
        return np.geomspace(self.widest, self.sharpest, self.gaussians)

    @property
    def spherical_exponents(self) -> Floats:
        """Exponents of the elements' own Gaussians in 1/Å^2 [spherical]."""
        return np.geomspace(0.15, 20.0, self.spherical)

    @property
    def descriptors(self) -> int:
        """The number of descriptors of a pair of elements."""
        return PAIR_DESCRIPTORS + len(order_anchors(self.anchors))

    @property
    def degrees(self) -> NDArray[np.int64]:
        """The l of each component (l, m) [(lmax + 1)^2]."""
        return np.repeat(np.arange(self.lmax + 1), 2 * np.arange(self.lmax + 1) + 1)


def radii(numbers: NDArray[np.int64]) -> Floats:
    """The unit of length of the functions of each atom in Å [n]."""
    return np.maximum(column("covalent_radius")[numbers], MIN_RADIUS)


def harmonics(vectors: Floats, lmax: int) -> Floats:
    """Real spherical harmonics of the directions of vectors [e, (lmax + 1)^2].

    The sum of their squares over m is 1 for each l; those of l > 0 are 0 for a vector of length 0.
    """
    values = o3.spherical_harmonics(
        list(range(lmax + 1)), torch.from_numpy(np.ascontiguousarray(vectors)), normalize=True, normalization="norm"
    )
    return values.numpy()


class Pairs(NamedTuple):
    """Pairs of an atom a and a neighbour b: indices [e], vectors from a to b in Å [e, 3], scaled distances [e]."""

    atom: NDArray[np.int64]
    neighbour: NDArray[np.int64]
    vectors: Floats
    distances: Floats


def find_pairs(crystal: Crystal, reach: float) -> Pairs:
    """The pairs of atoms nearer than `reach` times the sum of their covalent radii.

    Raises
    ------
    UsageError : an element has no covalent radius in the table.
    """
    require_properties(crystal.numbers)
    radius = column("covalent_radius")[crystal.numbers]
    edges = Neighbors(crystal, 2 * reach * radius.max(initial=1.0)).atoms()
    scaled = np.linalg.norm(edges.vec, axis=1) / (radius[edges.src] + radius[edges.dst])
    near = scaled < reach
    return Pairs(edges.dst[near], edges.src[near], -edges.vec[near], scaled[near])


def describe_surroundings(crystal: Crystal, config: PairDensityConfig) -> Floats:
    """The surroundings of each atom: sum_b w_j(d_ab) D_p(a, b) Y_lm(b - a) [n, (lmax + 1)^2, windows * descriptors]."""
    pairs = find_pairs(crystal, config.reach)
    centers = config.first_window + config.window_step * np.arange(config.windows)
    end = (1 - (pairs.distances / config.reach) ** 2) ** 2  # a neighbour that passes the reach changes nothing abruptly
    windows = np.exp(-(((pairs.distances[:, None] - centers) / config.window_width) ** 2)) * end[:, None]
    descriptors = describe_pairs(crystal.numbers[pairs.atom], crystal.numbers[pairs.neighbour], config.anchors)
    width = config.windows * config.descriptors
    terms = (windows[:, :, None] * descriptors[:, None, :]).reshape(len(windows), width)
    products = harmonics(pairs.vectors, config.lmax)[:, :, None] * terms[:, None, :]
    flat = products.reshape(len(terms), len(config.degrees) * width)
    return _sum_rows(pairs.atom, flat, len(crystal)).reshape(len(crystal), len(config.degrees), width)


def evaluate_functions(crystal: Crystal, config: PairDensityConfig, points: Floats) -> Floats:
    """The functions of all atoms, with their images, at fractional points [gaussians, p, n, (lmax + 1)^2] in 1/Å^3.

    S_nlm(r) = (alpha_n / pi)^(3/2) / R^3 exp(-alpha_n x^2) x^l Y_lm(r), x = |r| / R, R the radius of the atom: those of
    l = 0 hold one electron.
    """
    size, count = len(crystal), len(points)
    radius = radii(crystal.numbers)
    reach = float(np.sqrt(MAX_EXPONENT / config.widest) * radius.max())
    edges = Neighbors(crystal, reach).probes(points)
    x = np.linalg.norm(edges.vec, axis=1) / radius[edges.src]
    solid = harmonics(edges.vec, config.lmax) * x[:, None] ** config.degrees / radius[edges.src][:, None] ** 3
    row = edges.dst * size + edges.src
    result = np.empty((config.gaussians, count, size, len(config.degrees)))
    for n, exponent in enumerate(config.exponents):
        near = exponent * x**2 < MAX_EXPONENT
        values = (exponent / np.pi) ** 1.5 * np.exp(-exponent * x[near] ** 2)[:, None] * solid[near]
        result[n] = _sum_rows(row[near], values, count * size).reshape(count, size, -1)
    return result


def evaluate_own_functions(crystal: Crystal, config: PairDensityConfig, points: Floats) -> dict[int, Floats]:
    """For each element, the sums of its Gaussians, of one electron each, at fractional points [p, spherical]."""
    exponents = config.spherical_exponents
    edges = Neighbors(crystal, float(np.sqrt(MAX_EXPONENT / exponents[0]))).probes(points)
    squared = (edges.vec**2).sum(axis=1)
    values = (exponents / np.pi) ** 1.5 * np.exp(-squared[:, None] * exponents)
    kinds = crystal.numbers[edges.src]
    return {
        int(z): _sum_rows(edges.dst[kinds == z], values[kinds == z], len(points)) for z in np.unique(crystal.numbers)
    }


def _sum_rows(index: NDArray[np.int64], rows: Floats, count: int) -> Floats:
    """The sums of the rows [e, c] with each index [count, c]."""
    indicator = csr_matrix((np.ones(len(index)), (index, np.arange(len(index)))), shape=(count, len(index)))
    return np.asarray(indicator @ rows)
