"""Where the data of a configuration come from: folder, environment, URL, sample; and the errors without them."""

import logging

import numpy as np
import pytest

from ecd_data import convert, load_dataset, load_split, open_store, write
from ecd_data.errors import StoreError, UsageError
from ecd_data.store import data_root
from tests.conftest import smooth_density
from tests.data.hf.conftest import ROOT, SAMPLE_PARTS, ids, write_store

datasets = pytest.importorskip("datasets")


def test_a_root_from_the_environment(root, monkeypatch):
    monkeypatch.setenv("ECD_ROOT", str(root))
    assert len(load_dataset("ecd", "ood", split="test")) == 4


def test_a_folder_that_is_a_store_serves_its_set(root, tmp_path, monkeypatch):
    (tmp_path / "mine").symlink_to(root / "hse.ecd")
    monkeypatch.setenv("ECD_ROOT", str(tmp_path / "mine"))
    assert len(load_dataset("ecd", "ecd_hse", split="train")) == 7
    assert len(load_dataset("ecd", "ecd_hse", data_dir=tmp_path / "mine", split="train")) == 7


@pytest.mark.parametrize(
    ("name", "wanted", "given"), [("hse", "HSE06", "pbe"), ("ecd_pbe", "PBE", "hse"), ("probes-hse", "HSE06", "pbe")]
)
def test_densities_of_another_functional_are_refused(root, tmp_path, name, wanted, given):
    """The sets pbe and hse share their ids, so a store of the one would pass as the other."""
    lists = [load_split(task)["train"][:3] for task in ("ecd_hse", "ecd_pbe")]
    write_store(tmp_path / f"{given}.ecd", list(dict.fromkeys(id for part in lists for id in part)))
    with pytest.raises(UsageError, match=f"{name} needs {wanted} densities, and those of .*{given}.ecd are"):
        load_dataset("ecd", name, data_dir=str(tmp_path / f"{given}.ecd"))


def test_a_store_as_data_root_opens_under_names_of_its_functional_alone(root, monkeypatch, caplog):
    monkeypatch.setenv("ECD_ROOT", str(root / "pbe.ecd"))
    assert open_store("pbe").root == str(root / "pbe.ecd")
    assert "which serves under every name" in caplog.text
    with pytest.raises(UsageError, match=r"hse needs HSE06 densities, and those of .*pbe\.ecd are PBE"):
        open_store("hse")
    monkeypatch.setenv("ECD_ROOT", str(root / "hse.ecd"))
    with pytest.raises(UsageError, match="ood needs PBE densities, and those of"):
        open_store("ood")


def test_a_url_is_a_root(root):
    assert len(load_dataset("ecd", "hse", data_dir=f"file://{root}", split="train")) == 7


def test_what_is_absent_is_said(root, caplog):
    with caplog.at_level(logging.INFO, "ecd_data"):
        load_dataset("ecd", "ood", data_dir=str(root))
    assert "ood: 1992 of the list's 1996 crystals are not in" in caplog.text


@pytest.mark.parametrize("name", ["pbe", "hse", "ecd_pbe", "ecd_hse", "ecd_pbe_hse_tuning"])
def test_the_sample_serves_with_its_own_split(sample, name, caplog):
    data_root._warn_of_sample.cache_clear()
    with caplog.at_level(logging.INFO, "ecd_data"):
        loaded = load_dataset("ecd", name)
    assert {split: sorted(rows) for split, rows in ids(loaded).items()} == {
        split: SAMPLE_PARTS[split] for split in ("train", "validation", "test")
    }
    assert dict(zip(loaded["test"]["id"], loaded["test"]["part"], strict=True)) == {
        "KCl_rs": "compositions",
        "MgO_rs-d1": "geometries",
    }
    assert loaded["validation"]["part"][:] == ["geometries"]
    assert set(loaded["train"]["part"]) == {None}
    assert sum("embedded sample" in record.message for record in caplog.records) == 1


def test_the_sample_keeps_the_parts_of_a_task(sample):
    assert list(load_dataset("ecd", "ecd_pbe_hse")) == ["test"]


def test_the_sample_serves_exp_by_its_own_names(sample):
    rows = load_dataset("ecd", "exp", split="test")
    gaps = {row["id"]: row["properties"]["gap_exp_eV"] for row in rows.remove_columns("density")}
    assert gaps == {"MgO_rs": 7.83, "KCl_rs": 8.5}


@pytest.mark.skipif(not (ROOT / "ecd_data/sample/pbe.ecd").is_dir(), reason="the embedded sample is not built")
@pytest.mark.parametrize("name", ["pbe", "hse"])
def test_the_embedded_sample(name):
    loaded = load_dataset("ecd", name)
    split = load_split(f"sample_{name}")
    assert {part: sorted(rows["id"]) for part, rows in loaded.items()} == {
        part: split[part] for part in ("train", "validation", "test")
    }
    row = loaded["test"][0]
    assert np.array_equal(row["density"].values, open_store(name)[row["id"]].values)


@pytest.mark.parametrize("name", ["mp", "ecd_mp"])
def test_no_data_says_how_to_get_them(name):
    with pytest.raises(UsageError, match="ECD_ROOT"):
        load_dataset("ecd", name)


def test_a_root_without_the_set_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"hse\.ecd is not a store"):
        load_dataset("ecd", "hse", data_dir=str(tmp_path))


def test_a_store_of_other_crystals_is_refused(tmp_path):
    write_store(tmp_path / "mp.ecd", ["mine"])
    with pytest.raises(UsageError, match="none of the 1 crystals"):
        load_dataset("ecd", "mp", data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "near"), [("hsee", "hse"), ("probes-hs", "probes-hse"), (None, "name a configuration")]
)
def test_an_unknown_configuration_suggests_near_names(name, near):
    with pytest.raises(UsageError, match=near):
        load_dataset("ecd", name)


def test_the_paper_s_name_is_a_configuration(root):
    assert list(load_dataset("ecd", "ECD-PBE_HSE-id", data_dir=str(root))) == ["test"]


@pytest.mark.parametrize(("name", "official"), [("hse", False), ("ecd_pbe", True), ("probes-pbe", False)])
def test_rows_and_description_say_that_the_data_are_the_sample(name, official, monkeypatch, tmp_path):
    monkeypatch.delenv("ECD_ROOT", raising=False)
    rows = load_dataset("ecd", name, split="test", cache_dir=str(tmp_path))
    assert set(rows["data_origin"]) == {"sample"}
    assert "data_origin sample: THE EMBEDDED SAMPLE, not the release" in rows.info.description
    assert ("a task of the benchmark: results on them are none of that task" in rows.info.description) == official
    streamed = next(iter(load_dataset("ecd", name, split="test", streaming=True)))
    assert streamed["data_origin"] == "sample"


def test_rows_of_a_store_of_ones_own_carry_its_hash(tmp_path):
    from ecd_data.release.data_origin import store_hash

    write(tmp_path / "a_CHGCAR", smooth_density())
    convert(tmp_path / "a_CHGCAR", tmp_path / "my.ecd")
    rows = load_dataset(str(tmp_path / "my.ecd"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["data_origin"] == [store_hash(open_store(tmp_path / "my.ecd"))]
    assert "SAMPLE" not in rows.info.description
