"""A small data root cut from the embedded sample, and a network small enough to train in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ecd_data import load_split, open_store
from ecd_data.sample.cells import parent_of
from ecd_data.store import StoreWriter
from ecd_models.training.config import TrainConfig

SMALL = {"mul": 24, "lmax": 2, "num_interactions": 2, "num_basis": 12}


@pytest.fixture(scope="module", autouse=True)
def seed_of_module() -> None:
    """The weights of new networks in the fixtures of a module do not depend on which tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def seed_of_test(seed_of_module: None) -> None:
    """The weights of new networks in a test do not depend on which tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose pbe.ecd has the cells of two compositions of the sample, with its split."""
    root = tmp_path_factory.mktemp("data")
    store, parts = open_store("pbe"), load_split("sample_pbe")
    compositions = {parent_of(id) for id in parts["test_geometries"]}
    chosen = sorted(compositions, key=lambda id: (store.row(id)["natoms"], id))[:2]
    with StoreWriter(root / "pbe.ecd", bound=1e-4) as writer:
        for id in store:
            if parent_of(id) in chosen:
                rho = store[id]
                writer.add(id, rho.resample(tuple(min(n, 20) for n in rho.shape)))  # type: ignore[arg-type]
    return root


@pytest.fixture
def config(small_root: Path, tmp_path: Path) -> TrainConfig:
    """A run of a few seconds."""
    return TrainConfig(
        out=str(tmp_path / "run"),
        task="pbe",
        data_dir=str(small_root),
        options=SMALL,
        steps=12,
        batch_size=2,
        probes=30,
        validate_every=4,
        validation_probes=40,
        seed=3,
    )
