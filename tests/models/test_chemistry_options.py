"""Options by which any network learns across elements: descriptors in place of one-hot species, a relative loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ecd_data import open_store
from ecd_data.errors import UsageError
from ecd_models import load_model, predict, train
from ecd_models.checkpoint import export_published
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from ecd_models.networks.elements import descriptors
from ecd_models.training.config import TrainConfig
from tests.models.test_atoms import cell

SIZES = {
    "charge3net": {"mul": 24, "lmax": 2, "num_interactions": 1, "num_basis": 8},
    "deepdft": {"hidden_state_size": 8, "num_interactions": 1},
    "invdeepdft": {"hidden_state_size": 8, "num_interactions": 1},
}


def last(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_model(Path(config.out) / "last.safetensors").state_dict()


@pytest.mark.parametrize("name", SIZES)
def test_descriptors_and_a_relative_loss_train_and_resume_exactly(config, name):
    options = {**SIZES[name], "species": "descriptors"}
    brief = replace(config, model=name, options=options, relative_loss=True, steps=4, validate_every=2, difference=True)
    through = replace(brief, out=brief.out + "-through")
    train(through)
    train(replace(brief, steps=2))
    train(brief)
    for key, value in last(through).items():
        torch.testing.assert_close(last(brief)[key], value, rtol=0, atol=0)
    assert any("layers.0" in key for key in last(brief))


@pytest.mark.parametrize("name", SIZES)
def test_similar_elements_give_similar_densities(name):
    torch.manual_seed(0)
    network = DensityModel(build_model(name, **SIZES[name], species="descriptors")).eval()
    values = {z: predict(network, cell(0, (z, 9, 9)), shape=(8, 8, 8), fast=False).values for z in (57, 58, 1)}
    near, far = (np.abs(values[57] - values[z]).mean() for z in (58, 1))
    assert near < 0.5 * far


def test_a_relative_loss_is_the_loss_divided_by_the_mean_density(config, small_root):
    losses = []
    for relative in (False, True):
        run = replace(config, out=f"{config.out}-{relative}", relative_loss=relative, steps=2, batch_size=1)
        train(run, lambda progress: losses.append(progress.loss))
    store = open_store(small_root / "pbe.ecd")
    means = [store[id].values.mean() for id in store]
    assert min(abs(losses[0] / losses[2] / np.array(means) - 1)) < 1e-4


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(UsageError, match="one-hot"):
        build_model("deepdft", species="letters")
    with pytest.raises(UsageError, match="descriptors"):
        export_published(build_model("deepdft", species="descriptors", hidden_state_size=8), tmp_path / "m.pt")
    with pytest.raises(UsageError, match="bounded"):
        export_published(build_model("deepdft", bounded=True, hidden_state_size=8), tmp_path / "m.pt")


def test_descriptors_are_standardised_and_tell_all_elements_apart():
    table = descriptors()[1:97]
    assert table.mean(0).abs().max() < 1e-9
    assert len({tuple(row.tolist()) for row in table}) == 96
    assert descriptors()[97:].isnan().all()
