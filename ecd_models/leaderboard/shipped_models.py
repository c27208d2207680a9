"""The shipped models with their stored results, and the crystals on which each fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecd_data.errors import FormatError
from ecd_data.io.file_bytes import hash_file
from ecd_models.evaluation.crystal_result import CrystalResult
from ecd_models.evaluation.results import Results, read_results
from ecd_models.report.shipped import PARTS, STORED
from ecd_models.task_data import task_data
from ecd_models.weights.catalogue import PRETRAINED, shipped_checkpoints

RANKED_BY = "test_compositions"  # unseen compounds: what a user of a model has
BEYOND = 2.0  # times the mean error of its part: a crystal with more is named as one on which the model fails


@dataclass(frozen=True)
class ShippedModel:
    """A shipped model: the file of its checkpoint with the SHA-256, and its results with their files, both by part."""

    checkpoint: Path
    sha256: str
    files: dict[str, Path]
    results: dict[str, Results]

    @property
    def name(self) -> str:
        """The name of the model, which is that of its checkpoint."""
        return self.checkpoint.stem

    @property
    def weights(self) -> int:
        """The number of weights."""
        return next(iter(self.results.values())).model_card.weights


@dataclass(frozen=True)
class Failure:
    """A crystal on which a model fails; mean_percent: the mean error over the crystals of its part that are within."""

    part: str
    crystal: CrystalResult
    mean_percent: float


def read_shipped_models(pretrained: Path = PRETRAINED, stored: Path = STORED) -> list[ShippedModel]:
    """The shipped models, that with the least mean error on unseen compounds first.

    Parameters
    ----------
    pretrained : the folder with the checkpoints.
    stored : the folder with the results files.

    Raises
    ------
    UsageError : a model has no results on a part.
    FormatError : results are of another checkpoint, of other data than the sample, or lack crystals.
    """
    models = []
    for name, checkpoint in shipped_checkpoints(pretrained).items():
        sha256 = hash_file(checkpoint)
        files = {part: stored / f"{name}_{part}.json.gz" for part in PARTS}
        results = {part: _read_current(path, part, sha256) for part, path in files.items()}
        models.append(ShippedModel(checkpoint, sha256, files, results))
    return sorted(models, key=lambda model: model.results[RANKED_BY].summary.mean_percent)


def _read_current(path: Path, part: str, sha256: str) -> Results:
    """The results in a file, which have to be of a checkpoint and of the whole part of the sample."""
    results, data = read_results(path), task_data(PARTS[part], sample=True)
    if results.model_card.checkpoint_sha256 != sha256:
        fault = "is of another checkpoint than the one that ships"
    elif results.data != (data.task, part, data.origin.store_hash, data.origin.split_hash):
        fault = f"is of other data than {part} of the sample"
    elif results.failures or results.crystals_judged != results.crystals_in_part:
        fault = "has no error for some crystals of its part"
    else:
        return results
    again = (
        f"ecd evaluate {PARTS[part]} --sample --part {part} -m {path.name.removesuffix(f'_{part}.json.gz')} -o {path}"
    )
    raise FormatError(f"{path} {fault}: write it again with `{again}`")


def find_failures(model: ShippedModel) -> list[Failure]:
    """The crystals with more than BEYOND times the mean error of their part, one of a compound; the worst first."""
    found: dict[str, Failure] = {}
    for part, results in model.results.items():
        limit = BEYOND * results.summary.mean_percent
        mean = float(np.mean([one.eps_mae_percent for one in results.crystals if one.eps_mae_percent <= limit]))
        for crystal in rank_crystals(results.crystals):
            if crystal.eps_mae_percent > limit:
                found.setdefault(f"{part} {crystal.compound}", Failure(part, crystal, mean))
    return sorted(found.values(), key=lambda one: -one.crystal.eps_mae_percent)


def rank_crystals(crystals: Sequence[CrystalResult]) -> list[CrystalResult]:
    """Crystals by their error, the largest first."""
    return sorted(crystals, key=lambda crystal: -crystal.eps_mae_percent)


def find_largest_electron_error(model: ShippedModel) -> tuple[float, CrystalResult]:
    """The largest share by which a model misses the electrons of a test crystal, without its sign, and the crystal."""
    crystals = [crystal for results in model.results.values() for crystal in results.crystals]
    return max(((abs(one.predicted_electrons / one.electrons - 1), one) for one in crystals), key=lambda pair: pair[0])
