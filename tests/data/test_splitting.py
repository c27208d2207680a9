"""Splits of a store of one's own."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from ecd_data.errors import UsageError
from ecd_data.release.data_origin import split_hash
from ecd_data.release.formula import reduce_formula
from ecd_data.release.own_splits import PARTS, elements_only_outside_train, make_split, read_split, write_split
from ecd_data.sample.table import SAMPLE_FOLDER
from ecd_data.store import open_store


@pytest.fixture(scope="module")
def store():
    return open_store(SAMPLE_FOLDER / "pbe.ecd")


@pytest.mark.parametrize("rule", ["composition", "random"])
def test_parts_hold_every_crystal_once_and_follow_the_fractions(store, rule: str) -> None:
    split = make_split(store, {"train": 0.6, "validation": 0.2, "test": 0.2}, rule=rule, seed=3)
    assert tuple(split) == PARTS
    assert sorted(id for ids in split.values() for id in ids) == sorted(store.ids)
    for part, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert len(split[part]) / len(store) == pytest.approx(share, abs=0.05)


def test_a_full_disk_leaves_the_split_that_was_there(store, tmp_path, monkeypatch) -> None:
    def fail_to_write(path: Path, *content: object, **options: object) -> None:
        path.open("w").close()
        raise OSError(errno.ENOSPC, "No space left on device")

    write_split(split := make_split(store, seed=1), tmp_path / "split.json", seed=1)
    monkeypatch.setattr(Path, "write_text", fail_to_write)
    with pytest.raises(OSError, match="No space left"):
        write_split(make_split(store, seed=2), tmp_path / "split.json", seed=2)
    monkeypatch.undo()
    assert read_split(tmp_path / "split.json") == split
    assert [file.name for file in tmp_path.iterdir()] == ["split.json"]


def test_a_composition_is_on_one_side_only(store) -> None:
    split = make_split(store, rule="composition")
    formulas = dict(zip(store.ids, store.index["formula"], strict=True))
    train, validation, test = ({reduce_formula(formulas[id]) for id in split[part]} for part in PARTS)
    assert train.isdisjoint(validation | test)
    assert validation.isdisjoint(test)


def test_the_same_seed_gives_the_same_split_and_another_seed_another(store) -> None:
    assert make_split(store, seed=1) == make_split(store, seed=1)
    assert make_split(store, seed=1) != make_split(store, seed=2)
    assert split_hash(make_split(store, seed=1)) != split_hash(make_split(store, seed=2))


def test_a_small_store_gives_each_part_a_crystal(store) -> None:
    class Three:
        root = "three.ecd"

        def columns(self, *names):
            return store.columns(*names).slice(0, 3)

    split = make_split(Three(), {"train": 0.98, "validation": 0.01, "test": 0.01}, rule="random")
    assert [len(split[part]) for part in PARTS] == [1, 1, 1]


def test_elements_that_train_lacks_are_named(store) -> None:
    split = {"train": ["MgO_rs", "NaCl_rs"], "validation": ["CaO_rs"], "test": ["MgO_rs-d1"]}
    assert elements_only_outside_train(store, split) == {"validation": ["Ca"]}


@pytest.mark.parametrize(
    ("fractions", "rule", "said"),
    [
        ({"train": 0.5, "test": 0.6}, "random", "add up to 1"),
        ({"train": 1.5, "test": -0.5}, "random", "between 0 and 1"),
        ({"train": 0.5, "holdout": 0.5}, "random", "no part 'holdout'"),
        (None, "by-formula", "no split rule 'by-formula'"),
    ],
)
def test_what_cannot_be_meant_is_refused(store, fractions, rule, said) -> None:
    with pytest.raises(UsageError, match=said):
        make_split(store, fractions, rule=rule)


def test_a_split_survives_its_file(store, tmp_path) -> None:
    split = make_split(store, seed=5)
    write_split(split, tmp_path / "split.json", rule="composition", seed=5)
    assert read_split(tmp_path / "split.json", store) == split
    assert json.loads((tmp_path / "split.json").read_text())["about"] == {"rule": "composition", "seed": 5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "JSON object"),
        ("{", "cannot be read as a split"),
        ('{"train": "MgO_rs"}', "not a list of ids"),
        ('{"train": ["MgO_rs"], "test": ["MgO_rs"]}', "'MgO_rs' stands in 'train' and in 'test'"),
        ('{"train": ["MgO_rs", "MgO_rs"]}', "stands twice"),
        ('{"train": ["MgO_rss"]}', "did you mean 'MgO_rs'"),
    ],
)
def test_a_wrong_file_is_refused_with_what_to_do(store, tmp_path, text, said) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_split(tmp_path / "split.json", store)


def test_a_missing_file_names_the_command_that_makes_it(tmp_path) -> None:
    with pytest.raises(UsageError, match="ecd split make"):
        read_split(tmp_path / "none.json")
