"""The probes in the rows of a configuration."""

import shutil

import numpy as np
import pytest

from ecd_data import load_dataset, open_store
from ecd_data.release import tasks
from ecd_data.store import Store
from ecd_data.store.probes.extract import extract_probes
from tests.data.hf.conftest import write_store

datasets = pytest.importorskip("datasets")


@pytest.mark.parametrize("streaming", [False, True])
def test_probes_are_grid_points_of_the_density(root, streaming):
    options = {"data_dir": str(root), "split": "train", "streaming": streaming}
    rows = list(load_dataset("ecd", "probes-pbe", n_probes=50, seed=3, **options))
    store = open_store(root / "pbe.ecd")
    for row in rows:
        density, probes = store[row["id"]], row["probes"]
        assert probes["frac_coords"].shape == (50, 3)
        steps = probes["frac_coords"] * density.shape
        index = np.rint(steps).astype(int)
        assert np.allclose(steps, index)
        assert np.array_equal(probes["values"], density.values[tuple(index.T)].astype(np.float32))
    other = load_dataset("ecd", "probes-pbe", n_probes=50, seed=4, **options)
    assert not np.array_equal(next(iter(other))["probes"]["values"], rows[0]["probes"]["values"])


@pytest.mark.parametrize("extracted", [False, True])
def test_probes_are_the_store_s(tmp_path, extracted):
    write_store(tmp_path / "hse.ecd", tasks.set_of("hse")["test"][:3])
    if extracted:
        extract_probes(tmp_path / "hse.ecd")
        next((tmp_path / "hse.ecd/parts").iterdir()).unlink()  # the extract is enough
    store = Store(tmp_path / "hse.ecd")
    for row in load_dataset("ecd", "probes-hse", data_dir=str(tmp_path), split="test", n_probes=30, seed=5):
        probes = store.probes(row["id"], 30, seed=5)
        assert np.array_equal(row["probes"]["values"], probes.values)
        assert np.array_equal(row["probes"]["frac_coords"], probes.frac_coords)


def test_the_default_is_a_thousand_probes(root):
    row = load_dataset("ecd", "probes-hse", data_dir=str(root), split="test")[0]
    assert row["probes"]["values"].shape == (1000,)
    assert "density" not in row


@pytest.mark.parametrize("extracted", [False, True])
def test_rows_of_a_replaced_store_have_its_new_densities(tmp_path, extracted):
    """A store that is loaded, made again with other densities of the same ids and loaded again in one process."""
    for scale in (1.0, 3.0):
        shutil.rmtree(tmp_path / "my.ecd", ignore_errors=True)
        write_store(tmp_path / "my.ecd", ["a", "b"], scale)
        if extracted:
            extract_probes(tmp_path / "my.ecd")
        store = Store(tmp_path / "my.ecd")
        for row in load_dataset(str(tmp_path / "my.ecd"), "probes-store", split="train", n_probes=30):
            assert np.array_equal(row["probes"]["values"], store.probes(row["id"], 30).values)
