"""The fit of the linear pair model: ridge regression at points of the training crystals, with cross-validation.

The first solution has the least squared errors. Each further pass weighs the points by 1 / |error| of the solution
before, which leads to the least absolute errors, as eps_mae counts them. All errors are relative to a crystal's mean
density. The strength of the ridge is the one with the smallest errors on compositions that are left out of a fit:
squared errors in the first pass, absolute ones from the second on, since a few points where densities are steepest
dominate the squares.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.spatial import cKDTree

from ecd_data.crystal import SYMBOLS, Floats
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.fixed_order import order_key
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.graph import Neighbors
from ecd_models.networks.pair_density.descriptors import choose_anchors
from ecd_models.networks.pair_density.functions import PairDensityConfig, find_pairs
from ecd_models.networks.pair_density.model import PairDensity
from ecd_models.networks.pair_density.unknowns import Unknowns
from ecd_models.training.probe_batches import generator

log = logging.getLogger("ecd_models")

FOLDS = 5  # of the cross-validation
STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # of the ridge, relative to columns of mean square 1
OWN_STRENGTH = 1e-7  # of the ridge on the elements' own coefficients, in electrons
MIN_COLUMN = 1e-3  # of the median size of a column: keeps the ridge on columns that hardly occur
NUCLEAR_SHARE = 0.4  # of the points, drawn near nuclei, where densities are steep
NUCLEAR_WIDTH = 0.4  # Å: the width of the Gaussian around nuclei that they are drawn from
CANDIDATES = 20  # grid points for each point that is drawn: distances to nuclei are computed for these only
MIN_ERROR = 0.02  # of the mean density: smaller errors get no larger weights

Load = Callable[[str], Density]


@dataclass(frozen=True)
class Design:
    """The equations of a crystal at p points, divided by its mean density.

    shared : the columns that all elements share [p, s].
    own : the columns of each element [p, o], by atomic number.
    target, weights : [p].
    """

    shared: Floats
    own: Mapping[int, Floats]
    target: Floats
    weights: Floats


class Sums:
    """The normal equations of weighted squares over crystals: the columns of each element, then the shared ones."""

    def __init__(self, size: int) -> None:
        self.matrix, self.side = np.zeros((size, size)), np.zeros(size)
        self.square = self.weight = 0.0

    def add(self, columns: NDArray[np.int64], terms: Floats, design: Design, weights: Floats, share: float) -> None:
        """Add a crystal with weight `share`; columns: the numbers [c] of the columns in `terms` [p, c]."""
        weighted = terms * weights[:, None]
        self.matrix[np.ix_(columns, columns)] += share * (terms.T @ weighted)
        self.side[columns] += share * (weighted.T @ design.target)
        self.square += share * float(weights @ design.target**2)
        self.weight += share

    def __iadd__(self, other: Sums) -> Sums:
        self.matrix += other.matrix
        self.side += other.side
        self.square, self.weight = self.square + other.square, self.weight + other.weight
        return self

    def error(self, solution: Floats) -> float:
        """The weighted sum of squared errors of a solution."""
        return float(solution @ self.matrix @ solution - 2 * solution @ self.side + self.square)


class PairFit:
    """A fit of the pair model on crystals, one pass over them after another; only sums are kept in memory.

    Crystals of one composition are in one fold of the cross-validation, and together count as the root of their number.

    Parameters
    ----------
    load : returns the density of an id.
    formulas : the composition of each crystal, by id.
    atoms : the superposed atoms that the model is added to.
    config : the sizes of the model.
    points : grid points of each crystal in a pass.
    seed : of the points.
    """

    def __init__(
        self,
        load: Load,
        formulas: Mapping[str, str],
        atoms: SuperposedAtoms,
        config: PairDensityConfig | None = None,
        points: int = 600,
        seed: int = 42,
    ) -> None:
        if not formulas:
            raise UsageError("no density to fit the pair model on: the training split is empty")
        self.load, self.formulas, self.atoms = load, dict(formulas), atoms
        self.config, self.points, self.seed = config or PairDensityConfig(), points, seed
        self.unknowns = Unknowns(self.config)
        self.strength: float | None = None  # of the ridge
        self._folds = assign_folds(set(self.formulas.values()))
        self._solution: Floats | None = None
        self._fold_solutions: list[Floats] = []  # fitted without each fold, a column for each strength
        self._fold_errors = np.zeros(len(STRENGTHS))  # absolute errors of these solutions on their folds
        self._seen = np.zeros((len(SYMBOLS), len(SYMBOLS)), dtype=bool)

    def next_solution(self) -> PairDensity:
        """The model after one more pass over the crystals."""
        sums = self._sum_folds()
        total = Sums(len(sums[0].side))
        for fold in sums:
            total += fold
        if self.strength is None:
            self.strength = self._best_strength(sums, total)
        elif self._fold_solutions:
            for strength, error in zip(STRENGTHS, self._fold_errors / len(self._folds), strict=True):
                log.info("ridge %g: %.3f %% absolute error on compositions left out", strength, 100 * error)
            self.strength, self._fold_solutions = STRENGTHS[int(np.argmin(self._fold_errors))], []
        self._solution = self._solve(total, self.strength)
        return self._build_model(self._solution)

    def _sum_folds(self) -> list[Sums]:
        """The sums of each fold, from one pass over the crystals."""
        size = len(SYMBOLS) * self.unknowns.own + self.unknowns.shared
        sums = [Sums(size) for _ in range(max(self._folds.values()) + 1)]
        counts = {formula: list(self.formulas.values()).count(formula) for formula in self._folds}
        for id, design in self._make_designs():
            formula = self.formulas[id]
            columns, terms = self._join_columns(design)
            weights = design.weights / len(design.target)
            if self._fold_solutions:
                fold_errors = abs(terms @ self._fold_solutions[self._folds[formula]][columns] - design.target[:, None])
                self._fold_errors += weights @ fold_errors / counts[formula]
            if self._solution is not None:
                weights = weights * MIN_ERROR / (abs(terms @ self._solution[columns] - design.target) + MIN_ERROR)
            sums[self._folds[formula]].add(columns, terms, design, weights, counts[formula] ** -0.5)
        return sums

    def _make_designs(self) -> Iterator[tuple[str, Design]]:
        for id in self.formulas:
            rho = self.load(id)
            pairs = find_pairs(rho.crystal, self.config.reach)
            numbers = rho.numbers[pairs.atom], rho.numbers[pairs.neighbour]
            self._seen[numbers] = self._seen[numbers[::-1]] = True
            flat, weights = draw_points(rho, self.points, generator(self.seed, 0, id))
            where = np.stack(np.unravel_index(flat, rho.shape), axis=1) / np.array(rho.shape)
            mean = float(rho.values.mean())
            target = (rho.values.ravel()[flat] - self.atoms(rho.crystal, rho.shape).values.ravel()[flat]) / mean
            own = {z: columns / mean for z, columns in self.unknowns.own_at(rho.crystal, where).items()}
            yield id, Design(self.unknowns.shared_at(rho.crystal, where) / mean, own, target, weights)

    def _join_columns(self, design: Design) -> tuple[NDArray[np.int64], Floats]:
        own = self.unknowns.own
        ranges = [np.arange(z * own, (z + 1) * own) for z in design.own]
        first = len(SYMBOLS) * own
        columns = np.concatenate([*ranges, np.arange(first, first + self.unknowns.shared)])
        return columns, np.concatenate([*design.own.values(), design.shared], axis=1)

    def _best_strength(self, sums: list[Sums], total: Sums) -> float:
        """The strength with the smallest squared errors on the folds, each of which is left out of one fit."""
        if len(sums) < 2:
            log.warning("the training crystals have one composition: no cross-validation, the strongest ridge is used")
            return STRENGTHS[-1]
        errors = dict.fromkeys(STRENGTHS, 0.0)
        for fold in sums:
            others = Sums(len(fold.side))
            for other in sums:
                if other is not fold:
                    others += other
            solutions = [self._solve(others, strength) for strength in STRENGTHS]
            for strength, solution in zip(STRENGTHS, solutions, strict=True):
                errors[strength] += fold.error(solution)
            self._fold_solutions.append(np.stack(solutions, axis=1))
        for strength, error in errors.items():
            log.info("ridge %g: %.3f %% rms on compositions left out", strength, 100 * (error / total.weight) ** 0.5)
        return min(errors, key=lambda strength: errors[strength])

    def _solve(self, sums: Sums, strength: float) -> Floats:
        matrix, side = sums.matrix / sums.weight, sums.side / sums.weight
        first = len(SYMBOLS) * self.unknowns.own
        square = np.diag(matrix)[first:]
        smallest = MIN_COLUMN**2 * np.median(square[square > 0]) if (square > 0).any() else 1.0
        penalty = np.full(len(side), OWN_STRENGTH)
        penalty[first:] = strength * np.maximum(self.unknowns.block_means(square), smallest)
        used = np.flatnonzero(np.diag(matrix) > 0)  # leaves out elements that no crystal has
        solution = np.zeros(len(side))
        block = matrix[np.ix_(used, used)]
        block[np.diag_indices_from(block)] += penalty[used]
        size = np.sqrt(np.diag(block))  # the columns are scaled, since they differ by orders of magnitude
        block /= size[:, None] * size
        solution[used] = solve(block, side[used] / size, assume_a="pos", overwrite_a=True) / size
        return solution

    def _build_model(self, solution: Floats) -> PairDensity:
        first = len(SYMBOLS) * self.unknowns.own
        model = PairDensity(self.config)
        with torch.no_grad():
            model.pair.copy_(torch.from_numpy(self.unknowns.pair_weights(solution[first:])))
            own = solution[:first].reshape(len(SYMBOLS), -1)
            model.spherical.copy_(torch.from_numpy(self.unknowns.own_coefficients(own)))
            model.seen.copy_(torch.from_numpy(self._seen))
        return model.eval()


def find_anchors(load: Load, ids: Iterable[str], reach: float, count: int) -> tuple[str, ...]:
    """Up to `count` anchors among the pairs of elements that are neighbours in the crystals; see `choose_anchors`."""
    seen: set[tuple[int, int]] = set()
    for id in ids:
        crystal = load(id).crystal
        numbers, pairs = crystal.numbers, find_pairs(crystal, reach)
        seen |= set(zip(numbers[pairs.atom].tolist(), numbers[pairs.neighbour].tolist(), strict=True))
    return choose_anchors(seen, count)


def assign_folds(formulas: set[str]) -> dict[str, int]:
    """The fold of each composition; the order of their hashes decides, so that it looks random."""
    order = sorted(formulas, key=order_key)
    return {formula: rank % FOLDS for rank, formula in enumerate(order)}


def draw_points(rho: Density, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats]:
    """Flat indices of grid points and their weights [count]; more points are drawn near nuclei than elsewhere.

    The weights compensate for that: weighted means over the points are those of the grid, on average.
    """
    size = rho.values.size
    candidates = rng.choice(size, min(size, CANDIDATES * count), replace=False, shuffle=False)
    where = np.stack(np.unravel_index(candidates, rho.shape), axis=1) / np.array(rho.shape)
    neighbors = Neighbors(rho.crystal, 4 * NUCLEAR_WIDTH)
    distance, _ = cKDTree(neighbors.images[1]).query(neighbors.positions(where))
    near = np.exp(-((np.minimum(distance, 4 * NUCLEAR_WIDTH) / NUCLEAR_WIDTH) ** 2))
    chances = (1 - NUCLEAR_SHARE) / len(candidates) + NUCLEAR_SHARE * near / near.sum()
    chosen = rng.choice(len(candidates), count, p=chances / chances.sum())
    return candidates[chosen], 1 / (len(candidates) * chances[chosen])
