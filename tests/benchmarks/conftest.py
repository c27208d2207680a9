"""A data root of a few tiny densities, on which the scripts run in seconds, and recipes that are as small."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import race
import race_training
import torch

from ecd_data import open_store
from ecd_data.store import StoreWriter
from ecd_models.training.config import TrainConfig

LIF_AND_LIH = ["LiF_rs", "LiH_rs", "LiH_rs-d1", "LiF_rs-d3", "LiH_rs-d5", "LiF_rs-d1", "LiH_rs-d3", "MgO_rs"]
SMALL = {"functions": 3, "widest": 0.5, "sharpest": 5.0, "channels": 4, "layers": 1}
load_recipe = race_training.load_recipe


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the cells of two training formulas as pbe.ecd, two unseen pairs as ood.ecd, and all as both.ecd."""
    root = tmp_path_factory.mktemp("benchmarks")
    densities = {
        name: {id: open_store(name)[id].resample((15, 15, 15)) for id in ids}
        for name, ids in (("pbe", LIF_AND_LIH), ("ood", ["LiBr_rs", "NaH_rs"]))
    }
    for name, of_store in {**densities, "both": densities["pbe"] | densities["ood"]}.items():
        with StoreWriter(root / f"{name}.ecd", bound=1e-4) as writer:
            for id, rho in of_store.items():
                writer.add(id, rho)
    return root


@pytest.fixture
def data_root(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small data as those of every task."""
    monkeypatch.setenv("ECD_ROOT", str(small_data))
    return small_data


@pytest.fixture
def small_recipes(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes of a small network and of a small pair model, whose atoms are fitted on all densities."""

    def load_small(model: str) -> TrainConfig:
        recipe = load_recipe(model)
        if model == "pair_density":
            atoms, sizes = str(small_data / "both.ecd"), {"gaussians": 2, "windows": 2, "spherical": 2, "lmax": 1}
            return replace(recipe, steps=1, probes=20, anchors=0, atoms=atoms, options=sizes)
        return replace(recipe, options=SMALL)

    monkeypatch.setattr(race_training, "load_recipe", load_small)
    for name, small in {"SPEED_GRID": (12, 12, 12), "FIRST": 2, "TRIAL": 4, "FEWEST": 5}.items():
        monkeypatch.setattr(race_training, name, small)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The folders of the entries that were given to `run_all`, which runs in this process."""
    folders: list[Path] = []

    def run_here(
        work: Callable[[race.Entry], None], entries: Sequence[race.Entry], processes: int, word: str = ""
    ) -> None:
        for entry in entries:
            folders.append(entry.folder)
            work(entry)

    monkeypatch.setattr(race, "run_all", run_here)
    threads, log = torch.get_num_threads(), logging.getLogger("ecd_models")
    level = log.level
    yield folders
    torch.set_num_threads(threads)
    log.setLevel(level)
