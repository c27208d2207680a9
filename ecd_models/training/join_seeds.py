"""One checkpoint of fourier_density from those of several seeds: its coefficients are the mean of theirs.

A density is linear in the coefficients, so the mean of the densities costs one sum over atoms and one transform. Their
spread says where the networks do not know (`ecd_models.prediction.error_estimate`).

`python -m ecd_models.training.join_seeds A.safetensors B.safetensors ... -o OUT.safetensors` writes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ecd_data.errors import UsageError
from ecd_data.work.programs import run_program
from ecd_models.checkpoint import load_checkpoint, save_checkpoint
from ecd_models.model import DensityModel
from ecd_models.networks.fourier_density.model import FourierDensity
from ecd_models.prediction.error_estimate import KEY as ERROR_ESTIMATE
from ecd_models.training.trained_on import KEY, TrainedOn

DIFFERENT = (
    "seed",
    "out",
    "steps",
    "validate_every",
    "save_every",
    "device",
    "threads",
)  # that may differ between the seeds


def join_seeds(paths: Sequence[str | Path], output: str | Path) -> DensityModel:
    """The model whose coefficients are the mean of those of several checkpoints; it is written to `output`.

    Parameters
    ----------
    paths : checkpoints of fourier_density that differ in their seeds alone.
    output : the file to write.

    Raises
    ------
    UsageError : there are fewer than two, one is another model, two have the same weights, or they differ in more than
        their seeds.
    """
    if len(paths) < 2:
        raise UsageError("a mean of networks needs two checkpoints or more")
    loaded = [load_checkpoint(path) for path in paths]
    models = [checkpoint.model for checkpoint in loaded]
    hashes = [model.weights_sha256 for model in models]
    for path, model in zip(paths, models, strict=True):
        if hashes.count(model.weights_sha256) > 1:
            raise UsageError(f"{path} has the weights of another one of the checkpoints: name each seed's once")
        if not isinstance(model.network, FourierDensity) or model.network.others:
            raise UsageError(f"{path} is not one network of fourier_density: give what `ecd train` wrote")
        if describe_start(model) != describe_start(models[0]):
            raise UsageError(
                f"{path} has other sizes or superposed atoms than {paths[0]}: join runs that differ by seed"
            )
    network = FourierDensity(replace(models[0].network.config, members=len(models)))
    weights = dict(models[0].network.state_dict())
    for k, model in enumerate(models[1:]):
        weights |= {f"others.{k}.{name}": value for name, value in model.network.state_dict().items()}
    network.load_state_dict(weights)
    first = models[0]
    joined = DensityModel(network, first.atoms, first.name, first.valences, first.training_valences).eval()
    save_checkpoint(output, joined, _join_metadata([checkpoint.metadata for checkpoint in loaded], paths))
    return joined


def describe_start(model: DensityModel) -> tuple[object, bytes | None]:
    """What the networks of a mean have in common: their sizes, and the numbers of their superposed atoms."""
    return model.network.config, None if model.atoms is None else model.atoms.key


def _join_metadata(each: Sequence[dict[str, Any]], paths: Sequence[str | Path]) -> dict[str, Any]:
    """The metadata of the first checkpoint, with all seeds and all crystals that trained one of them."""
    settings = [{k: v for k, v in found.get("config", {}).items() if k not in DIFFERENT} for found in each]
    for path, found in zip(paths, settings, strict=True):
        if found != settings[0]:
            key = next(k for k in found | settings[0] if found.get(k) != settings[0].get(k))
            raise UsageError(f"{path} was trained with another {key} than {paths[0]}: join runs that differ by seed")
    metadata = dict(each[0])
    metadata.pop(ERROR_ESTIMATE, None)  # it is that of one network: `calibrate_errors` makes that of the mean
    metadata["seeds"] = [found.get("config", {}).get("seed") for found in each]
    records = [record for found in each if (record := TrainedOn.from_metadata(found)) is not None]
    if len(records) == len(each):
        joined = records[0]
        for record in records[1:]:
            joined = joined.merge(record)
        metadata[KEY] = joined.text
    else:
        metadata.pop(KEY, None)
    return metadata


def main() -> None:
    """Join the checkpoints of the command line."""
    parser = argparse.ArgumentParser(description="Write the mean of fourier_density networks from several seeds.")
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    options = parser.parse_args()
    join_seeds(options.checkpoints, options.output)
    print(f"{options.output}: the mean of {len(options.checkpoints)} networks")


if __name__ == "__main__":
    run_program(main)
