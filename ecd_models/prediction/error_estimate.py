"""How large the error of fourier_density is on a crystal: an estimate of eps_mae before anybody knows the density.

    log(eps_mae) = w_0 + w_1 log(size) + w_2 log(novelty + 0.02)

The size is what the network adds, the norm of its coefficients for each electron: where it changes much, it errs much.
The novelty is how far the crystal's pairs of neighbours are, on average, from the nearest ones of the training, in the
descriptors of the pair model (chemistry of both elements, distance in units of their radii), which are standardised.
The three weights are fitted on validation crystals, which trained nothing; they are in the checkpoint with the pairs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import FormatError, UsageError
from ecd_models.model import DensityModel
from ecd_models.networks.fourier_density.model import FourierDensity
from ecd_models.networks.pair_density.functions import find_pairs, pair_descriptors

KEY = "error_estimate"  # among a checkpoint's metadata
NEIGHBORS = 1.6  # sums of covalent radii: pairs that are farther are no neighbours
STEP = 0.005  # of stored distances: some 0.01 Å, which changes no estimate
SMALLEST_NOVELTY = 0.02  # pairs of the training themselves have novelty 0
SMALLEST_SIZE = 1e-6  # a network that adds nothing


@dataclass(frozen=True)
class ErrorEstimate:
    """The expected eps_mae of a prediction, a fraction, and the bounds between which two of three errors lie."""

    eps_mae: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        low, expected, high = (f"{100 * value:.2g}" for value in (self.lowest, self.eps_mae, self.highest))
        return f"expected eps_mae {expected} % (two of three between {low} and {high} %)"


@dataclass(frozen=True)
class Calibration:
    """The weights [3] of the estimate, the spread of log(error) around it, and the pairs of the training [p, 3].

    A row of the pairs has two atomic numbers and their distance in units of the sum of their radii.
    """

    weights: Floats
    spread: float
    pairs: Floats

    @cached_property
    def _scale(self) -> tuple[Floats, Floats]:
        described = _describe(self.pairs)
        return described.mean(axis=0), described.std(axis=0) + 1e-3

    @cached_property
    def _tree(self) -> Any:
        return cKDTree(self._standardise(self.pairs))

    def _standardise(self, pairs: Floats) -> Floats:
        mean, width = self._scale
        return (_describe(pairs) - mean) / width

    def novelty(self, crystal: Crystal) -> float:
        """The mean distance of the crystal's pairs to the nearest ones of the training; nan for lone atoms."""
        pairs = list_pairs(crystal)
        if not len(pairs):
            return float("nan")
        nearest, _ = self._tree.query(self._standardise(pairs))
        return float(nearest.mean())

    def estimate(self, model: DensityModel, crystal: Crystal) -> ErrorEstimate:
        """The estimate for a prediction of the model that this belongs to."""
        middle = float(self.features(model, crystal) @ self.weights)
        return ErrorEstimate(*(float(np.exp(middle + side * self.spread)) for side in (0, -1, 1)))

    def features(self, model: DensityModel, crystal: Crystal) -> Floats:
        """What the weights are multiplied by [3]."""
        size, novelty = measure_size(model, crystal), self.novelty(crystal)
        return np.array([1.0, np.log(size + SMALLEST_SIZE), np.log(novelty + SMALLEST_NOVELTY)])

    def to_text(self) -> str:
        """The record for a checkpoint's header."""
        rows = [[int(a), int(b), round(float(d) / STEP)] for a, b, d in self.pairs]
        return json.dumps({"weights": self.weights.tolist(), "spread": self.spread, "pairs": rows})

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Calibration | None:
        """The calibration in a checkpoint's metadata, None if it has none; raises FormatError if it is damaged."""
        if KEY not in metadata:
            return None
        try:
            record = json.loads(metadata[KEY])
            pairs = np.array(record["pairs"], dtype=np.float64) * [1, 1, STEP]
            return cls(np.array(record["weights"], dtype=np.float64), float(record["spread"]), pairs)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"the checkpoint's record of its errors is damaged ({error}): copy it again") from error


def estimate_error(model: DensityModel, crystal: Crystal) -> ErrorEstimate:
    """The expected eps_mae of the model's density of a crystal, from its atoms alone, in milliseconds.

    It is nan for a crystal without neighbours, such as a lone atom.

    Raises
    ------
    UsageError : the model was not calibrated; of the shipped models fourier_density is.
    """
    calibration = read_calibration(model)
    if calibration is None:
        raise UsageError(
            f"{model.name} has no record of its errors: `python -m ecd_models.evaluation.calibrate_errors FILE` adds it"
            " to a checkpoint of fourier_density"
        )
    return calibration.estimate(model, crystal)


def read_calibration(model: DensityModel) -> Calibration | None:
    """The calibration of a model's errors, read once; None if its checkpoint has none."""
    if not hasattr(model, "calibration"):
        model.calibration = Calibration.from_metadata(model.metadata)
    return model.calibration


def fit_calibration(
    model: DensityModel, training: Iterable[Crystal], crystals: Iterable[Crystal], errors: Floats
) -> Calibration:
    """The calibration by least squares on log(error).

    Parameters
    ----------
    model : a fourier_density that learned the difference to superposed atoms.
    training : the crystals that trained it.
    crystals, errors : crystals that trained nothing, and the eps_mae of the model on them [c].

    Raises
    ------
    UsageError : the model is another one.
    """
    if not isinstance(model.network, FourierDensity) or model.atoms is None:
        raise UsageError(f"{model.name} is no fourier_density with superposed atoms: its errors cannot be estimated")
    pairs = np.concatenate([list_pairs(crystal) for crystal in training])
    pairs[:, 2] = np.round(pairs[:, 2] / STEP) * STEP
    start = Calibration(np.zeros(3), 0.0, np.unique(pairs, axis=0))
    features = np.stack([start.features(model, crystal) for crystal in crystals])
    weights = np.linalg.lstsq(features, np.log(errors), rcond=None)[0]
    spread = float(np.sqrt(np.square(np.log(errors) - features @ weights).sum() / max(1, len(errors) - 3)))
    return Calibration(weights, spread, start.pairs)


def measure_size(model: DensityModel, crystal: Crystal) -> float:
    """What the network adds: the norm of each atom's coefficients, summed, for each electron."""
    with torch.no_grad():
        coefficients = model.network.coefficients(crystal)
    electrons = model.atoms.coefficients[crystal.numbers].sum() if model.atoms is not None else 1.0
    return float(coefficients.flatten(1).norm(dim=1).sum() / electrons)


def list_pairs(crystal: Crystal) -> Floats:
    """The pairs of neighbours: two atomic numbers, and the distance in units of the sum of radii [p, 3]."""
    pairs = find_pairs(crystal, NEIGHBORS)
    return np.stack([crystal.numbers[pairs.atom], crystal.numbers[pairs.neighbour], pairs.distances], axis=1)


def _describe(pairs: Floats) -> Floats:
    """The descriptors of pairs and their distances [p, 12]."""
    numbers: NDArray[np.int64] = np.rint(pairs[:, :2]).astype(np.int64)
    return np.concatenate([pair_descriptors(numbers[:, 0], numbers[:, 1])[:, 1:], pairs[:, 2:]], axis=1)
