"""`load_dataset` of your own store."""

from __future__ import annotations

import datasets
import numpy as np
import pytest

from ecd_data import load_dataset, open_store
from ecd_data.errors import UsageError
from ecd_data.release.own_splits import make_split, write_split
from ecd_data.store import StoreWriter
from tests.conftest import SMALL_STORE_IDS, smooth_density


def test_a_store_alone_is_one_part_with_its_densities(small_store) -> None:
    data = load_dataset(small_store)
    assert list(data) == ["train"]
    assert sorted(data["train"]["id"]) == sorted(SMALL_STORE_IDS)
    row = data["train"][0]
    np.testing.assert_array_equal(row["density"].values, open_store(small_store)[row["id"]].values)


def test_a_split_file_makes_the_parts_and_another_split_other_parts(small_store, tmp_path) -> None:
    for seed in (1, 2):
        split = make_split(open_store(small_store), {"train": 0.6, "validation": 0.2, "test": 0.2}, seed=seed)
        write_split(split, tmp_path / "split.json")
        data = load_dataset(small_store, split_file=str(tmp_path / "split.json"))
        assert {part: sorted(data[part]["id"]) for part in data} == split


def test_probes_and_the_plain_datasets_call(small_store) -> None:
    data = datasets.load_dataset("ecd", "probes-store", data_dir=small_store, n_probes=7, split="train")
    assert np.shape(data[0]["probes"]["frac_coords"]) == (7, 3)


def test_what_does_not_fit_together_is_refused(small_store, tmp_path) -> None:
    with pytest.raises(UsageError, match="name the store"):
        load_dataset("ecd", "store")
    with pytest.raises(UsageError, match="has its own split"):
        load_dataset("ecd", "pbe", split_file=str(tmp_path / "split.json"))
    with pytest.raises(UsageError, match="does not exist"):
        load_dataset(small_store, split_file=str(tmp_path / "split.json"))


def test_properties_that_are_called_like_a_column_keep_their_values(tmp_path) -> None:
    properties = {"density": 1.5, "split": 3.5, "root": 2, "data_origin": 5.0}
    with StoreWriter(tmp_path / "my.ecd") as store:
        store.add("a", smooth_density((4, 5, 6), meta={"properties": properties}))
    row = load_dataset(str(tmp_path / "my.ecd"), cache_dir=str(tmp_path / "cache"))["train"][0]
    assert {name: row["properties"][name] for name in properties} == properties
    assert row["split"] == "train"
    assert row["density"].values.shape == (4, 5, 6)
