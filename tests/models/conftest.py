"""A small data root cut from the embedded sample, and a network small enough to train in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecd_data import load_split, open_store
from ecd_data.store import StoreWriter
from ecd_models.config import TrainConfig

SMALL = {"mul": 24, "lmax": 2, "num_interactions": 2, "num_basis": 12}


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose pbe.ecd has five training, two validation and two test crystals of the sample."""
    root = tmp_path_factory.mktemp("data")
    store, parts = open_store("pbe"), load_split("sample_pbe")
    small = {part: sorted(ids, key=lambda id: (store.row(id)["natoms"], id)) for part, ids in parts.items()}
    with StoreWriter(root / "pbe.ecd", bound=1e-4) as writer:
        for part, count in (("train", 5), ("validation", 2), ("test_geometries", 1), ("test_compositions", 1)):
            for id in small[part][:count]:
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
