"""Where data come from: release, sample or a store's hash, and what bears a task's name without being its data."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from ecd_data import Crystal, Density, load_split, merge, open_store
from ecd_data.errors import UsageError
from ecd_data.release import data_origin
from ecd_data.release.data_origin import (
    check_origin,
    find_origin,
    is_official_name,
    refuse_unofficial,
    split_hash,
    store_hash,
)
from ecd_data.store import Store, StoreWriter


def write_store(path, ids, functional="PBE", value=0.5):
    with StoreWriter(path, pipeline="real") as store:
        for id in ids:
            crystal = Crystal(np.diag([4.0, 5.0, 6.0]), [12, 8], [[0, 0, 0], [0.5, 0.5, 0.25]])
            store.add(id, Density(crystal, np.full((4, 4, 4), value), meta={"functional": functional}))
    return Store(path)


def test_the_hash_of_a_store_is_of_its_crystals_alone(tmp_path):
    one = write_store(tmp_path / "one.ecd", ["a", "b", "c"])
    for ids in (["c"], ["a", "b"]):
        write_store(tmp_path / f"{ids[0]}.ecd", ids)
    merge([tmp_path / "c.ecd", tmp_path / "a.ecd"], tmp_path / "merged.ecd")
    assert store_hash(Store(tmp_path / "merged.ecd")) == store_hash(one)
    others = [
        write_store(tmp_path / "fewer.ecd", ["a", "b"]),
        write_store(tmp_path / "named.ecd", ["a", "b", "d"]),
        write_store(tmp_path / "denser.ecd", ["a", "b", "c"], value=0.6),
    ]
    assert len({store_hash(store) for store in (one, *others)}) == 4


def test_the_hash_of_a_split_is_of_ids_and_parts_and_not_of_their_order():
    split = {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}
    assert split_hash(split) == split_hash({"test": ["d"], "validation": ["c"], "train": ["b", "a"]})
    assert split_hash(split) == split_hash(split | {"all": ["d"]})
    for other in ({"train": ["a"]}, {"train": ["a", "c"], "validation": ["b"]}, {"test": []}, {"test_pairs": ["d"]}):
        assert split_hash(split) != split_hash(split | other)


def test_the_sample_is_known_wherever_it_lies(tmp_path):
    sample = open_store("hse")
    shutil.copytree(sample.root, tmp_path / "hse.ecd")
    parts = load_split("sample_hse")
    found = find_origin("hse", Store(tmp_path / "hse.ecd"), parts)
    assert found.data_origin == "sample"
    assert found == find_origin("ecd_hse", sample, parts)
    assert "the sample" in str(found)


def test_the_release_has_every_crystal_of_the_lists(tmp_path):
    lists = load_split("ecd_hse")
    official = {part: ids[:2] for part, ids in lists.items()}
    ids = [id for part in official.values() for id in part]
    whole, part, own = (
        write_store(tmp_path / f"{n}.ecd", taken, "HSE06") for n, taken in enumerate((ids, ids[:-1], ["mine"]))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_origin, "load_official_split", lambda task: official)
        assert find_origin("ecd_hse", whole, official).data_origin == "release"
        for store in (part, own):
            assert find_origin("ecd_hse", store, official).data_origin == store_hash(store)
    assert find_origin("ecd_hse", whole, official).data_origin == store_hash(whole)


def test_no_data_of_the_list_that_is_ours_are_official(tmp_path):
    store = write_store(tmp_path / "exp.ecd", load_split("exp")["test"])
    assert find_origin("exp", store, load_split("exp")).data_origin == store_hash(store)


@pytest.mark.parametrize(
    "name",
    ["ecd_pbe", "ecd_hse", "ecd_mp", "ecd_pbe_hse", "ecd_pbe_hse_tuning", "ecd_hse_strict", "ood_strict"]
    + ["ECD-PBE-id", "ECD-PBE_HSE_tuning-id", "EXP-id", "OOD-id", " Ecd-Pbe "],
)
def test_tasks_of_the_benchmark_are_refused_without_data(name, tmp_path):
    assert is_official_name(name)
    with pytest.raises(UsageError, match=r"ECD_ROOT.*release"):
        refuse_unofficial(name, None)
    refuse_unofficial(name, "/some/root")
    store = write_store(tmp_path / "own.ecd", ["mine"], "HSE06" if "hse" in name.lower() else "PBE")
    with pytest.raises(UsageError, match="none of the crystals of its lists"):
        check_origin(name, store, sample=False)
    check_origin(name, store, sample=True)


@pytest.mark.parametrize("name", ["pbe", "hse", "ood", "exp", "mp", "probes-pbe", "PBE"])
def test_names_of_sets_promise_nothing(name):
    assert not is_official_name(name)
    refuse_unofficial(name, None)


def test_the_sample_s_option_is_refused_on_the_release(tmp_path):
    store = write_store(tmp_path / "hse.ecd", load_split("ecd_hse")["test"][:2], "HSE06")
    check_origin("ecd_hse", store, sample=False)
    with pytest.raises(UsageError, match="official lists"):
        check_origin("ecd_hse", store, sample=True)


def test_densities_of_another_functional_are_refused(tmp_path):
    ids = load_split("ecd_hse")["test"][:20]
    pbe, unknown = write_store(tmp_path / "a.ecd", ids), write_store(tmp_path / "b.ecd", ids, None)
    hse = write_store(tmp_path / "c.ecd", ids, "HSE06")
    with pytest.raises(UsageError, match=r"needs HSE06 densities, and those of .* are PBE"):
        check_origin("ecd_hse", pbe, sample=False)
    with pytest.raises(UsageError, match="needs PBE densities"):
        check_origin("pbe", hse, sample=False)
    for store in (unknown, hse):
        check_origin("ecd_hse", store, sample=False)
