"""The unknowns of the pair model's regression: its weights without those that charge conservation forbids.

A Gaussian of l = 0 alone would add electrons. Allowed are differences of two Gaussians, and one Gaussian with a
descriptor that is antisymmetric in the two elements of a pair, so that the neighbour loses what the atom gains.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ecd_data.crystal import Crystal, Floats
from ecd_models.networks.pair_density.descriptors import ANTISYMMETRIC, PAIR_DESCRIPTORS, find_antisymmetric
from ecd_models.networks.pair_density.functions import (
    PairDensityConfig,
    describe_surroundings,
    evaluate_functions,
    evaluate_own_functions,
)

CARRIER = 1  # the Gaussian that carries charge between atoms


@dataclass(frozen=True)
class Unknowns:
    """The columns of the regression at points, and the weights of the model from a solution.

    Each element has columns of its own, its Gaussians; those of pairs are shared by all elements.
    """

    config: PairDensityConfig

    @property
    def own(self) -> int:
        """The number of columns of an element."""
        return self.config.spherical - 1

    @property
    def shared(self) -> int:
        """The number of columns of pairs."""
        windows = self.config.windows
        return windows * (self._neutral.shape[1] + self.config.gaussians * self.config.lmax * self.config.descriptors)

    @cached_property
    def _neutral(self) -> Floats:
        """The map from the unknowns of l = 0 in a window to its weights [gaussians * descriptors, unknowns]."""
        differences = _differences(self.config.gaussians, CARRIER)
        carrier = np.eye(self.config.gaussians)[:, [CARRIER]]
        every, moved = np.eye(self.config.descriptors), find_antisymmetric(self.config.anchors)
        return np.concatenate([np.kron(carrier, moved), np.kron(differences, every)], axis=1)

    @cached_property
    def _spherical(self) -> Floats:
        """The map from an element's unknowns to its coefficients [spherical, own]."""
        return _differences(self.config.spherical, self.config.spherical // 3)

    def shared_at(self, crystal: Crystal, points: Floats) -> Floats:
        """The columns of pairs at fractional points, in 1/Å^3 [p, shared]."""
        config, count = self.config, len(points)
        surroundings, functions = describe_surroundings(crystal, config), evaluate_functions(crystal, config, points)
        sizes = config.gaussians, config.windows, config.descriptors
        by_degree = []
        for l in range(config.lmax + 1):
            components = config.degrees == l
            chosen = surroundings[:, components].reshape(-1, surroundings.shape[2])
            terms = np.stack([f[:, :, components].reshape(count, -1) @ chosen for f in functions], axis=1)
            terms = terms.reshape(count, *sizes)
            if l == 0:
                terms = terms.transpose(0, 2, 1, 3).reshape(count, config.windows, -1) @ self._neutral
            by_degree.append(terms.reshape(count, -1))
        return np.concatenate(by_degree, axis=1)

    def own_at(self, crystal: Crystal, points: Floats) -> dict[int, Floats]:
        """The columns of each element at fractional points, in 1/Å^3 [p, own]."""
        return {z: f @ self._spherical for z, f in evaluate_own_functions(crystal, self.config, points).items()}

    def block_means(self, squares: Floats) -> Floats:
        """For each column of pairs, the mean of the `squares` [shared] of the columns with the same functions.

        Such columns differ in the descriptor only. Those of similarities to anchors do not enter the mean, so that
        similarities which are small for all pairs have small columns in comparison.
        """
        size, windows = self.config.descriptors, self.config.windows
        first = windows * self._neutral.shape[1]
        moved = self._neutral.shape[1] - (self.config.gaussians - 1) * size
        scalar = squares[:first].reshape(windows, -1)
        carriers, differences = scalar[:, :moved], scalar[:, moved:].reshape(windows, -1, size)
        carrier_means = _fill_mean(carriers, ANTISYMMETRIC.shape[1])
        difference_means = _fill_mean(differences, PAIR_DESCRIPTORS).reshape(windows, -1)
        rest = _fill_mean(squares[first:].reshape(-1, size), PAIR_DESCRIPTORS)
        return np.concatenate([np.concatenate([carrier_means, difference_means], axis=1).ravel(), rest.ravel()])

    def pair_weights(self, solution: Floats) -> Floats:
        """The weights of pairs from the unknowns of their columns [gaussians, lmax + 1, windows, descriptors]."""
        config = self.config
        first = config.windows * self._neutral.shape[1]
        scalar = solution[:first].reshape(config.windows, -1) @ self._neutral.T
        scalar = scalar.reshape(config.windows, config.gaussians, config.descriptors).transpose(1, 0, 2)
        rest = solution[first:].reshape(config.lmax, config.gaussians, config.windows, config.descriptors)
        return np.concatenate([scalar[:, None], rest.transpose(1, 0, 2, 3)], axis=1)

    def own_coefficients(self, solution: Floats) -> Floats:
        """The coefficients of elements from their unknowns [elements, own] in electrons [elements, spherical]."""
        return solution @ self._spherical.T


def _differences(count: int, reference: int) -> Floats:
    """The differences of all other functions to the reference [count, count - 1]."""
    result = np.delete(np.eye(count), reference, axis=1)
    result[reference] = -1
    return result


def _fill_mean(values: Floats, count: int) -> Floats:
    """An array of that shape with the mean of the first `count` values along the last axis."""
    return np.broadcast_to(values[..., :count].mean(axis=-1, keepdims=True), values.shape)
