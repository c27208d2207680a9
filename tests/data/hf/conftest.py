"""Data roots with a few crystals under official ids, and a cache of `datasets` for each test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Crystal, Density, load_split
from ecd_data.release import tasks
from ecd_data.store import StoreWriter, data_root

ROOT = Path(__file__).parents[3]
SAMPLE_PARTS = {
    "train": ["MgO_rs", "NaCl_rs"],
    "validation": ["NaCl_rs-d1"],
    "test": ["KCl_rs", "MgO_rs-d1"],
    "validation_geometries": ["NaCl_rs-d1"],
    "test_geometries": ["MgO_rs-d1"],
    "test_compositions": ["KCl_rs"],
}


def write_store(path, ids, scale=1.0):
    with StoreWriter(path, pipeline="real") as store:
        for seed, id in enumerate(ids):
            values = scale * np.random.default_rng(seed).random((4 + seed % 3, 5, 6))
            crystal = Crystal(np.diag([4.0, 5.0, 6.0]), [12, 8], [[0, 0, 0], [0.5, 0.5, 0.25]])
            properties = {"energy_eV": -1.5 * seed} if seed % 2 else {"gap_eV": 1.0, "cpu_seconds": 2}
            meta = {"functional": "HSE06" if path.stem == "hse" else "PBE", "properties": properties}
            store.add(id, Density(crystal, values, meta=meta))


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A data root with a few crystals of each set under their official ids."""
    root = tmp_path_factory.mktemp("release")
    for name in ("pbe", "hse", "mp"):
        parts = tasks.set_of(name)
        ids = parts["train"][:7] + parts["validation"][:2] + parts["test"][:3]
        write_store(root / f"{name}.ecd", [*ids, "not_in_any_list"])
    write_store(root / "ood.ecd", load_split("ood")["test"][:4])
    write_store(root / "exp.ecd", load_split("exp")["test"][:3])
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    monkeypatch.delenv("ECD_ROOT", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """An embedded sample of five crystals in place of the real one."""
    for name in ("pbe", "hse"):
        write_store(tmp_path / f"{name}.ecd", ["MgO_rs", "NaCl_rs", "NaCl_rs-d1", "KCl_rs", "MgO_rs-d1"])
    (tmp_path / "splits.json").write_text(json.dumps({"pbe": SAMPLE_PARTS, "hse": SAMPLE_PARTS}))
    monkeypatch.setattr(tasks, "SAMPLE_SPLIT_FILE", tmp_path / "splits.json")
    monkeypatch.setattr(data_root, "sample_store", lambda name: str(tmp_path / f"{data_root.SAMPLE_STORES[name]}.ecd"))
    return tmp_path


def ids(dataset):
    return {split: list(rows["id"]) for split, rows in dataset.items()}


def run(code, tmp_path, root):
    """What a new interpreter prints with a data root."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "HF_DATASETS_CACHE": str(tmp_path / "hf"), "ECD_ROOT": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
