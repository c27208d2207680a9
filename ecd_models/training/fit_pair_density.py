"""Fitting the linear pair model: ridge regression at points of the training crystals, its strength by cross-validation.

The first solution is that of least squares; each further one weighs points by 1 / |error| of the one before, which
leads to least absolute errors, as eps_mae counts them. All errors are relative to a crystal's mean density. The ridge's
strength is that with the least squares on compositions left out in the first pass, with the least absolute errors on
them from the second on: squares are ruled by the few points where densities are steepest.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.spatial import cKDTree

from ecd_data.crystal import SYMBOLS, Floats
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.graph import Neighbors
from ecd_models.networks.pair_density.functions import PairDensityConfig, pairs_of
from ecd_models.networks.pair_density.model import PairDensity
from ecd_models.networks.pair_density.unknowns import Unknowns
from ecd_models.training.probe_batches import generator

log = logging.getLogger("ecd_models")

FOLDS = 5
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the ridge, relative to columns of mean square 1
OWN_STRENGTH = 1e-7  # of the ridge on the elements' own coefficients, in electrons
LEAST_COLUMN = 1e-3  # of the median: columns that hardly occur are not blown up
NEAR, CLOSE = 0.4, 0.4  # the share of points that is drawn near nuclei, and how near in Å
CANDIDATES = 20  # grid points from which one is drawn
ROUNDING = 0.02  # of the mean density: smaller errors weigh no more

Load = Callable[[str], Density]


@dataclass(frozen=True)
class Design:
    """A crystal's equations: shared [p, s] and own columns [p, o] by atomic number, targets and weights [p].

    Columns and targets are divided by the mean density.
    """

    shared: Floats
    own: Mapping[int, Floats]
    target: Floats
    weights: Floats


class Sums:
    """Normal equations of weighted squares over some crystals: of all elements' own columns, then the shared ones."""

    def __init__(self, size: int) -> None:
        self.matrix, self.side = np.zeros((size, size)), np.zeros(size)
        self.square = self.weight = 0.0

    def add(self, columns: NDArray[np.int64], terms: Floats, design: Design, weights: Floats, share: float) -> None:
        """Take in a crystal that counts as `share`, with its columns' numbers and terms [p, c]."""
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
    """A fit of the pair model on crystals by id, pass by pass over them; nothing of a pass but sums is kept.

    formulas: the composition of each; crystals of one composition count as the root of their number in sum, and are in
    one fold of the cross-validation. strength: of the ridge.
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
        self.strength: float | None = None
        self._folds = folds_of(set(self.formulas.values()))
        self._solution: Floats | None = None
        self._left_out: list[Floats] = []  # per fold, the solutions of the others, a column a strength
        self._missed = np.zeros(len(STRENGTHS))  # their absolute errors on the fold
        self._seen = np.zeros((len(SYMBOLS), len(SYMBOLS)), dtype=bool)

    def next_solution(self) -> PairDensity:
        """The model after one more pass over the crystals."""
        sums = self._pass()
        total = Sums(len(sums[0].side))
        for fold in sums:
            total += fold
        if self.strength is None:
            self.strength = self._best_strength(sums, total)
        elif self._left_out:
            for strength, error in zip(STRENGTHS, self._missed / len(self._folds), strict=True):
                log.info("ridge %g: %.3f %% absolute error on compositions left out", strength, 100 * error)
            self.strength, self._left_out = STRENGTHS[int(np.argmin(self._missed))], []
        self._solution = self._solved(total, self.strength)
        return self._model(self._solution)

    def _pass(self) -> list[Sums]:
        """The sums of each fold."""
        size = len(SYMBOLS) * self.unknowns.own + self.unknowns.shared
        sums = [Sums(size) for _ in range(max(self._folds.values()) + 1)]
        counts = {formula: list(self.formulas.values()).count(formula) for formula in self._folds}
        for id, design in self._designs():
            formula = self.formulas[id]
            columns, terms = self._columns(design)
            weights = design.weights / len(design.target)
            if self._left_out:
                missed = abs(terms @ self._left_out[self._folds[formula]][columns] - design.target[:, None])
                self._missed += weights @ missed / counts[formula]
            if self._solution is not None:
                weights = weights * ROUNDING / (abs(terms @ self._solution[columns] - design.target) + ROUNDING)
            sums[self._folds[formula]].add(columns, terms, design, weights, counts[formula] ** -0.5)
        return sums

    def _designs(self) -> Iterator[tuple[str, Design]]:
        for id in self.formulas:
            rho = self.load(id)
            pairs = pairs_of(rho.crystal, self.config.reach)
            numbers = rho.numbers[pairs.atom], rho.numbers[pairs.neighbour]
            self._seen[numbers] = self._seen[numbers[::-1]] = True
            flat, weights = drawn_points(rho, self.points, generator(self.seed, 0, id))
            where = np.stack(np.unravel_index(flat, rho.shape), axis=1) / np.array(rho.shape)
            mean = float(rho.values.mean())
            target = (rho.values.ravel()[flat] - self.atoms(rho.crystal, rho.shape).values.ravel()[flat]) / mean
            own = {z: columns / mean for z, columns in self.unknowns.own_at(rho.crystal, where).items()}
            yield id, Design(self.unknowns.shared_at(rho.crystal, where) / mean, own, target, weights)

    def _columns(self, design: Design) -> tuple[NDArray[np.int64], Floats]:
        own = self.unknowns.own
        places = [np.arange(z * own, (z + 1) * own) for z in design.own]
        first = len(SYMBOLS) * own
        columns = np.concatenate([*places, np.arange(first, first + self.unknowns.shared)])
        return columns, np.concatenate([*design.own.values(), design.shared], axis=1)

    def _best_strength(self, sums: list[Sums], total: Sums) -> float:
        """The strength with the smallest squares on compositions that are left out of the fit, fold by fold."""
        if len(sums) < 2:
            log.warning("one composition allows no cross-validation: the ridge is as strong as it can be")
            return STRENGTHS[-1]
        errors = dict.fromkeys(STRENGTHS, 0.0)
        for fold in sums:
            others = Sums(len(fold.side))
            for other in sums:
                if other is not fold:
                    others += other
            solutions = [self._solved(others, strength) for strength in STRENGTHS]
            for strength, solution in zip(STRENGTHS, solutions, strict=True):
                errors[strength] += fold.error(solution)
            self._left_out.append(np.stack(solutions, axis=1))
        for strength, error in errors.items():
            log.info("ridge %g: %.3f %% rms on compositions left out", strength, 100 * (error / total.weight) ** 0.5)
        return min(errors, key=lambda strength: errors[strength])

    def _solved(self, sums: Sums, strength: float) -> Floats:
        matrix, side = sums.matrix / sums.weight, sums.side / sums.weight
        first = len(SYMBOLS) * self.unknowns.own
        square = np.diag(matrix)[first:]
        least = LEAST_COLUMN**2 * np.median(square[square > 0]) if (square > 0).any() else 1.0
        penalty = np.full(len(side), OWN_STRENGTH)
        penalty[first:] = strength * np.maximum(square, least)
        there = np.flatnonzero(np.diag(matrix) > 0)  # without elements that no crystal has
        solution = np.zeros(len(side))
        block = matrix[np.ix_(there, there)]
        block[np.diag_indices_from(block)] += penalty[there]
        size = np.sqrt(np.diag(block))  # columns differ by orders of magnitude
        block /= size[:, None] * size
        solution[there] = solve(block, side[there] / size, assume_a="pos", overwrite_a=True) / size
        return solution

    def _model(self, solution: Floats) -> PairDensity:
        first = len(SYMBOLS) * self.unknowns.own
        model = PairDensity(self.config)
        with torch.no_grad():
            model.pair.copy_(torch.from_numpy(self.unknowns.pair_weights(solution[first:])))
            own = solution[:first].reshape(len(SYMBOLS), -1)
            model.spherical.copy_(torch.from_numpy(self.unknowns.own_coefficients(own)))
            model.seen.copy_(torch.from_numpy(self._seen))
        return model.eval()


def folds_of(formulas: set[str]) -> dict[str, int]:
    """The fold of each composition, by the order of their hashes."""
    order = sorted(formulas, key=lambda formula: hashlib.sha256(formula.encode()).hexdigest())
    return {formula: rank % FOLDS for rank, formula in enumerate(order)}


def drawn_points(rho: Density, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats]:
    """Flat indices of grid points, some of them near nuclei, where densities are steep, and their weights [count].

    The weights make their mean that of the grid.
    """
    size = rho.values.size
    candidates = rng.choice(size, min(size, CANDIDATES * count), replace=False, shuffle=False)
    where = np.stack(np.unravel_index(candidates, rho.shape), axis=1) / np.array(rho.shape)
    neighbors = Neighbors(rho.crystal, 4 * CLOSE)
    distance, _ = cKDTree(neighbors.images[1]).query(neighbors.positions(where))
    near = np.exp(-((np.minimum(distance, 4 * CLOSE) / CLOSE) ** 2))
    chances = (1 - NEAR) / len(candidates) + NEAR * near / near.sum()
    chosen = rng.choice(len(candidates), count, p=chances / chances.sum())
    return candidates[chosen], 1 / (len(candidates) * chances[chosen])
