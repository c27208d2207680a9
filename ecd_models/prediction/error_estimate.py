"""How large the error of fourier_density is on a crystal: an estimate of eps_mae before anybody knows the density.

    log(eps_mae) = w_0 + w_1 log(size) + w_2 log(novelty + 0.02) + w_3 log(strangeness + 0.1)

The size is what the network adds, the norm of its coefficients for each electron: where it changes much, it errs much.
The novelty is how far the crystal's pairs of neighbours are, on average, from the nearest ones of the training, in the
descriptors of the pair model (chemistry of both elements, distance in units of their radii), which are standardised.
The strangeness is the same for the surroundings of atoms whatever the elements: the norm of the angular moments of
their neighbours for each l and window of distances of the pair model. The four weights are fitted on validation
crystals, which trained nothing; they are in the checkpoint with the pairs and surroundings of the training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ecd_data.crystal import ATOMIC_NUMBERS, Crystal, Floats
from ecd_data.errors import FormatError, UsageError
from ecd_models.model import DensityModel
from ecd_models.networks.fourier_density.model import FourierDensity
from ecd_models.networks.pair_density.descriptors import PAIR_DESCRIPTORS, pair_descriptors
from ecd_models.networks.pair_density.functions import PairDensityConfig, describe_surroundings, find_pairs
from ecd_models.prediction.functionals import choose_functional
from ecd_models.prediction.predict import as_crystal
from ecd_models.prediction.vacuum import has_vacuum

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

KEY = "error_estimate"  # among a checkpoint's metadata
FORMAT = 2  # of the record; another one where a number below or a descriptor changes, since the weights belong to them
NEIGHBORS = 1.6  # sums of covalent radii: pairs that are farther are no neighbours
STEP = 0.005  # of stored distances: some 0.01 Å, which changes no estimate
SMALLEST_NOVELTY = 0.02  # pairs of the training themselves have novelty 0
SMALLEST_SIZE = 1e-6  # a network that adds nothing
SMALLEST_STRANGENESS = 0.1  # surroundings of the training themselves have strangeness 0
MOMENT_STEP = 0.02  # of stored moments, a fiftieth of the smallest strangeness in one of twenty
NO_BULK = (
    "the cell has vacuum (a slab, wire, molecule or cluster), and the model learned from bulk crystals without vacuum"
)
SURROUNDINGS = PairDensityConfig()  # whose windows of distances are used, whatever pair model the network has


@dataclass(frozen=True)
class ErrorEstimate:
    """The expected eps_mae of a prediction, a fraction, and the bounds between which half of the errors lie.

    They are a standard deviation of log(error) apart from it, as fitted on validation crystals. That would be two of
    three errors, but on the sample's test parts it is half (docs/fourier.md). All are nan where there is no estimate;
    `unknown` says why.
    """

    eps_mae: float
    lowest: float
    highest: float
    unknown: str = ""

    def __str__(self) -> str:
        if np.isnan(self.eps_mae):
            return "expected eps_mae not known" + (f": {self.unknown}" if self.unknown else "")
        low, expected, high = (f"{100 * value:.2g}" for value in (self.lowest, self.eps_mae, self.highest))
        return f"expected eps_mae {expected} % (half of such errors lie between {low} and {high} %)"


@dataclass(frozen=True)
class Calibration:
    """The weights [4], the standard deviation of log(error), pairs [p, 3] and moments [a, 20] of the training.

    A row of the pairs has two atomic numbers and their distance in units of the sum of their radii; a row of the
    moments belongs to an atom, see `measure_moments`. vacuum: whether cells with vacuum were among the training.
    """

    weights: Floats
    spread: float
    pairs: Floats
    moments: Floats
    vacuum: bool = False

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

    @cached_property
    def _moment_scale(self) -> Floats:
        return self.moments.std(axis=0) + MOMENT_STEP

    @cached_property
    def _moment_tree(self) -> Any:
        return cKDTree(self.moments / self._moment_scale)

    def strangeness(self, crystal: Crystal) -> float:
        """The mean distance of the surroundings of the crystal's atoms to the nearest ones of the training."""
        nearest, _ = self._moment_tree.query(measure_moments(crystal) / self._moment_scale)
        return float(nearest.mean())

    def estimate(self, model: DensityModel, crystal: Crystal) -> ErrorEstimate:
        """The estimate for a prediction of the model that this belongs to."""
        if unknown := self._explain_unknown(model, crystal):
            nan = float("nan")
            return ErrorEstimate(nan, nan, nan, unknown)
        middle = float(self.features(model, crystal) @ self.weights)
        expected, lowest, highest = (float(np.exp(middle + side * self.spread)) for side in (0, -1, 1))
        return ErrorEstimate(expected, lowest, highest)

    def _explain_unknown(self, model: DensityModel, crystal: Crystal) -> str | None:
        """The reason why the error on a crystal cannot be estimated; None if it can."""
        if model.atoms is not None and np.isnan(model.atoms.coefficients[crystal.numbers]).any():
            missing = [s for s in crystal.elements if np.isnan(model.atoms.coefficients[ATOMIC_NUMBERS[s]]).any()]
            return f"the model has no free atom of {', '.join(missing)}"
        if not self.vacuum and has_vacuum(crystal):
            return NO_BULK
        return None if len(list_pairs(crystal)) else "its atoms are too far from each other to be neighbours"

    def features(self, model: DensityModel, crystal: Crystal) -> Floats:
        """What the weights are multiplied by [4]."""
        found = measure_size(model, crystal), self.novelty(crystal), self.strangeness(crystal)
        return np.array([1.0, *np.log(np.add(found, (SMALLEST_SIZE, SMALLEST_NOVELTY, SMALLEST_STRANGENESS)))])

    def to_text(self) -> str:
        """The record for a checkpoint's header."""
        rows = [[int(a), int(b), round(float(d) / STEP)] for a, b, d in self.pairs]
        record = {
            "format": FORMAT,
            "weights": self.weights.tolist(),
            "spread": self.spread,
            "pairs": rows,
            "moments": np.rint(self.moments / MOMENT_STEP).astype(int).tolist(),
        }
        return json.dumps(record | ({"vacuum": True} if self.vacuum else {}), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Calibration:
        """The calibration of a record; raises FormatError if it is damaged."""
        try:
            record = json.loads(text)
            if record["format"] != FORMAT:
                raise ValueError(f"its format is {record['format']}, not {FORMAT}")
            pairs = np.array(record["pairs"], dtype=np.float64) * [1, 1, STEP]
            moments = np.array(record["moments"], dtype=np.float64) * MOMENT_STEP
            weights, vacuum = np.array(record["weights"], dtype=np.float64), record.get("vacuum", False) is True
            return cls(weights, float(record["spread"]), pairs, moments, vacuum)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(
                f"the checkpoint's record of its errors cannot be used ({error}): calibrate it again"
            ) from error


def estimate_error(
    model: DensityModel, crystal: Crystal | Atoms | Structure, functional: str | None = None
) -> ErrorEstimate:
    """The expected eps_mae of the model's density of a crystal, from its atoms alone, in milliseconds.

    It is nan, with the reason, for slabs, wires and molecules in boxes if no cell with vacuum trained the model, for
    atoms without neighbours, and for an element that the model has no free atom of.

    Parameters
    ----------
    model : the model that predicts the density.
    crystal : the crystal, as for `predict`.
    functional : the functional of the prediction, as for `predict`; the record was fitted to the model's first one.

    Raises
    ------
    UsageError : the model was not calibrated (of the shipped models fourier_density is), or lacks the functional.
    """
    calibration = read_calibration(model)
    if calibration is None:
        raise UsageError(
            f"{model.name} has no record of its errors: `python -m ecd_models.evaluation.calibrate_errors FILE` adds it"
            " to a checkpoint of fourier_density"
        )
    with choose_functional(model, functional):
        return calibration.estimate(model, as_crystal(crystal))


def read_calibration(model: DensityModel) -> Calibration | None:
    """The calibration of a model's errors; None if its checkpoint has none."""
    return _parse(model.metadata[KEY]) if KEY in model.metadata else None


@lru_cache(maxsize=4)
def _parse(text: str) -> Calibration:
    """The calibration of a record, which is unpacked once and not for each crystal."""
    return Calibration.from_text(text)


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
    seen = list(training)
    pairs = np.concatenate([list_pairs(crystal) for crystal in seen])
    pairs[:, 2] = np.round(pairs[:, 2] / STEP) * STEP
    moments = np.round(np.concatenate([measure_moments(crystal) for crystal in seen]) / MOMENT_STEP) * MOMENT_STEP
    start = Calibration(np.zeros(4), 0.0, np.unique(pairs, axis=0), np.unique(moments, axis=0))
    features = np.stack([start.features(model, crystal) for crystal in crystals])
    weights: Floats = np.linalg.lstsq(features, np.log(errors), rcond=None)[0].astype(np.float64)
    residuals = np.log(errors) - features @ weights
    # what a residual would be without its crystal in the fit: with few crystals the fit follows each of them
    influence = np.einsum("ci,ic->c", features, np.linalg.pinv(features))
    spread = float(np.sqrt(np.square(residuals / np.maximum(1 - influence, 0.1)).mean()))
    return Calibration(weights, spread, start.pairs, start.moments, any(map(has_vacuum, seen)))


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


def measure_moments(crystal: Crystal) -> Floats:
    """The norm over m of sum_b w_j(d_ab) Y_lm(b - a) of each atom for each l and window w_j [n, 5 * 4]."""
    config = SURROUNDINGS
    shape = len(crystal), len(config.degrees), config.windows, PAIR_DESCRIPTORS
    sums = describe_surroundings(crystal, config).reshape(shape)[..., 0]  # of the descriptor that is 1
    norms = [np.sqrt(np.square(sums[:, config.degrees == l]).sum(axis=1)) for l in range(config.lmax + 1)]
    return np.concatenate(norms, axis=1)


def _describe(pairs: Floats) -> Floats:
    """The descriptors of pairs and their distances [p, 12]."""
    numbers: NDArray[np.int64] = np.rint(pairs[:, :2]).astype(np.int64)
    return np.concatenate([pair_descriptors(numbers[:, 0], numbers[:, 1])[:, 1:], pairs[:, 2:]], axis=1)
