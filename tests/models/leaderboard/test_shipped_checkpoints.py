"""The checkpoints of a race become those that ship: the best seed, or the mean of all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ecd_data.errors import UsageError
from ecd_models import load_model
from ecd_models.checkpoint import load_checkpoint, save_checkpoint
from ecd_models.evaluation.results import read_results
from ecd_models.leaderboard.shipped_checkpoints import (
    ALONE,
    BEST,
    choose_seed,
    find_seeds,
    install_checkpoints,
    store_results,
)
from ecd_models.model import DensityModel
from ecd_models.networks.fourier_density.model import FourierDensity
from ecd_models.report import shipped
from ecd_models.weights.catalogue import PRETRAINED


def add_seed(race: Path, network: str, seed: int, error: float, budget: int = 365) -> Path:
    """The shipped checkpoint of a network as one of a race, with another validation error."""
    path = race / f"{network}-{seed}-{budget}" / BEST
    path.parent.mkdir(parents=True)
    ships = load_checkpoint(PRETRAINED / f"{network}-sample.safetensors")
    save_checkpoint(path, ships.model, ships.metadata | {"validation_error": error})
    return path


def test_the_seed_with_the_smallest_validation_error_is_chosen(tmp_path):
    first, second = add_seed(tmp_path, "charge3net", 42, 0.02), add_seed(tmp_path, "charge3net", 43, 0.01)
    add_seed(tmp_path, "invcharge3net", 42, 0.001)
    assert find_seeds(tmp_path, "charge3net") == [first, second]
    assert choose_seed([first, second]) == second
    add_seed(tmp_path, "charge3net", 44, 0.005, budget=1200)
    with pytest.raises(UsageError, match="budgets 1200, 365"):
        find_seeds(tmp_path, "charge3net")


def test_an_incomplete_race_changes_nothing(tmp_path):
    race, ships = tmp_path / "race", tmp_path / "ships"
    ships.mkdir()
    for network in ALONE:
        add_seed(race, network, 42, 0.01)
    with pytest.raises(UsageError, match="no training of fourier_density"):
        install_checkpoints(race, ships)
    assert not list(ships.iterdir())


def split_members(race: Path) -> None:
    """The networks whose mean ships, as the seeds of a race."""
    whole = load_checkpoint(PRETRAINED / "fourier_density.safetensors")
    model, seeds = whole.model, whole.metadata["seeds"]
    config = replace(model.network.config, members=1)
    for seed, member in zip(seeds, [model.network, *model.network.others], strict=True):
        network = FourierDensity(config)
        network.load_state_dict({k: v for k, v in member.state_dict().items() if not k.startswith("others.")})
        one = DensityModel(network, model.atoms, model.name, model.valences, model.training_valences)
        metadata = whole.metadata | {"config": whole.metadata["config"] | {"seed": seed}}
        path = race / f"fourier_density-{seed}-365" / BEST
        path.parent.mkdir(parents=True)
        save_checkpoint(path, one, {k: v for k, v in metadata.items() if k not in ("seeds", "error_estimate")})


@pytest.mark.slow
def test_the_parts_of_what_ships_become_what_ships(tmp_path):
    race, ships = tmp_path / "race", tmp_path / "ships"
    ships.mkdir()
    for network in ALONE:
        add_seed(race, network, 42, 0.01)
    split_members(race)
    (race / "pair_density").mkdir()
    shutil.copyfile(PRETRAINED / "pair_density.safetensors", race / "pair_density" / BEST)
    install_checkpoints(race, ships)
    assert sorted(file.name for file in ships.iterdir()) == sorted(
        file.name for file in PRETRAINED.glob("*.safetensors")
    )
    for file in ships.iterdir():
        assert load_model(file).weights_sha256 == load_model(PRETRAINED / file.name).weights_sha256, file.name
    found, expected = (
        load_checkpoint(folder / "fourier_density.safetensors").metadata for folder in (ships, PRETRAINED)
    )
    assert found["seeds"] == expected["seeds"]
    weights = [json.loads(metadata["error_estimate"])["weights"] for metadata in (found, expected)]
    assert torch.allclose(*map(torch.tensor, weights), atol=1e-3)


@pytest.mark.slow
def test_only_results_of_other_weights_or_data_are_written_again(tmp_path, monkeypatch):
    stored = tmp_path / "stored"
    shutil.copytree(shipped.STORED, stored)
    monkeypatch.setattr(shipped, "STORED", stored)
    assert store_results(tmp_path / "kept", 1, stored) == []
    missing = stored / "pair_density_test_geometries.json.gz"
    before = read_results(missing)
    missing.unlink()
    assert store_results(tmp_path / "kept", 1, stored) == [missing]
    errors = read_results(missing).eps_mae_percent
    assert errors == pytest.approx(before.eps_mae_percent, rel=1e-3)
