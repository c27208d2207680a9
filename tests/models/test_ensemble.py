"""Ensembles: the mean of models, their spread, and what cannot be averaged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ecd_data.errors import UsageError
from ecd_models import load_model, predict
from ecd_models.atoms.valences import TrainingValences
from ecd_models.checkpoint import save_checkpoint
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from ecd_models.prediction.ensemble import Ensemble, load_ensemble
from tests.models.test_atoms import cell
from tests.models.test_fourier_density import SMALL, network

CRYSTAL, SHAPE = cell(0, (12, 8)), (6, 7, 8)


def model(seed: int, **options: int) -> DensityModel:
    torch.manual_seed(seed)
    network = build_model("invdeepdft", hidden_state_size=8, num_interactions=1, **options)
    return DensityModel(network, name=f"model-{seed}").eval()


def densities(models: list[DensityModel]) -> np.ndarray:
    return np.stack([predict(one, CRYSTAL, shape=SHAPE, refuse=False).values for one in models])


def test_the_prediction_is_the_mean_and_the_spread_the_deviation():
    models = [model(seed) for seed in range(3)]
    found, values = Ensemble(models).predict(CRYSTAL, shape=SHAPE, refuse=False), densities(models)
    np.testing.assert_allclose(found.density.values, values.mean(0))
    np.testing.assert_allclose(found.spread, np.sqrt(((values - values.mean(0)) ** 2).sum(0) / 2))
    assert found.relative_spread == pytest.approx(found.spread.mean() / np.abs(values.mean(0)).mean())
    names = " + ".join(f"{one.name} {one.weights_sha256[:8]}" for one in models)
    assert found.density.meta["comment"] == f"predicted by the mean of 3 models: {names}"


def test_a_model_that_stands_there_twice_is_refused(tmp_path):
    """Its spread of zero would look like certainty."""
    save_checkpoint(tmp_path / "a.safetensors", model(1))
    save_checkpoint(tmp_path / "b.safetensors", model(1))
    with pytest.raises(UsageError, match="the same weights twice"):
        load_ensemble([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])
    with pytest.raises(UsageError, match="the same weights twice"):
        load_ensemble(["pair_density", "pair_density"])


def test_models_of_different_functionals_have_no_mean():
    def of(seed: int, functional: str) -> DensityModel:
        one = model(seed)
        one.training_valences = TrainingValences({"Mg": 10.0, "O": 6.0}, functional=functional)
        return one

    Ensemble([of(0, "PBE"), of(1, "PBE, PBE+U"), of(2, "")])
    with pytest.raises(UsageError, match=r"model-1 .*HSE06.* and those before it .*PBE"):
        Ensemble([of(0, "PBE"), of(1, "HSE06")])
    both = replace(SMALL, functionals=("PBE", "HSE06"))
    several = [DensityModel(network(seed, both), name="both") for seed in (0, 1)]
    Ensemble([of(0, "PBE"), *several])
    with pytest.raises(UsageError, match="functional"):
        Ensemble([*several, of(0, "HSE06")])


def test_files_and_names_are_loaded(tmp_path):
    for seed in (0, 1):
        save_checkpoint(tmp_path / f"{seed}.safetensors", model(seed))
    ensemble = load_ensemble([tmp_path / "0.safetensors", tmp_path / "1.safetensors"])
    found = ensemble.predict(CRYSTAL, shape=SHAPE, refuse=False)
    np.testing.assert_allclose(found.density.values, densities([model(0), model(1)]).mean(0))


def test_what_has_no_mean_is_refused():
    with pytest.raises(UsageError, match="two or more models, not of 1"):
        Ensemble([model(0)])
    with pytest.raises(UsageError, match="model-1 predicts the magnetization"):
        Ensemble([model(0), model(1, outputs=2)])
    with pytest.raises(UsageError, match="whole grids"):
        Ensemble([model(0), model(1)]).predict(CRYSTAL, points=[[0, 0, 0]])
    with pytest.raises(UsageError, match="wants a list"):
        load_ensemble("pair_density")
    ours, theirs = load_model("pair_density"), model(0)
    known = ours.training_valences
    assert known is not None
    theirs.training_valences = replace(known, valences=known.valences | {"O": 8.0})
    with pytest.raises(UsageError, match="different kinds of densities"):
        Ensemble([ours, theirs])
