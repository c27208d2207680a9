"""Training crystals similar to test crystals: by id, formula, prototype and structure, and twins without them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Crystal, Density, load_split, open_store
from ecd_data.errors import EcdError, UsageError
from ecd_data.release.own_splits import read_split
from ecd_data.release.similarity import Crystals, find_overlap, hash_twin, label_prototypes, make_strict_twin
from ecd_data.store import StoreWriter
from ecd_models import cli


def rock_salt(
    a: float, numbers: tuple[int, int], rotation: np.ndarray | None = None, conventional: bool = False
) -> Crystal:
    """A crystal of the structure of NaCl, in its primitive or conventional cell."""
    turn = np.eye(3) if rotation is None else rotation
    if conventional:
        faces = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
        return Crystal(a * turn, [numbers[0]] * 4 + [numbers[1]] * 4, np.concatenate([faces, faces + 0.5]))
    lattice = a / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) @ turn
    return Crystal(lattice, list(numbers), [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two stores: MgO in another cell, turned; NaCl; MgO in the structure of CsCl."""
    where = tmp_path_factory.mktemp("similar")
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    cscl = Crystal(2.7 * np.eye(3), [12, 8], [[0, 0, 0], [0.5, 0.5, 0.5]])
    contents = {
        "train": {
            "same": rock_salt(4.3, (12, 8), turn, True),
            "cscl": cscl,
            "proto": rock_salt(5.6, (11, 17)),
            "t1": cscl,
        },
        "test": {"t1": rock_salt(4.2, (12, 8))},
    }
    for name, crystals in contents.items():
        with StoreWriter(where / f"{name}.ecd", bound=1e-3) as writer:
            for id, crystal in crystals.items():
                writer.add(id, Density(crystal, np.ones((4, 4, 4))))
    return [Crystals(open_store(where / f"{name}.ecd"), list(contents[name])) for name in contents]


@pytest.mark.parametrize(
    ("rule", "found"),
    [("id", {"t1"}), ("formula", {"same", "cscl", "t1"}), ("prototype", {"same", "proto"}), ("structure", {"same"})],
)
def test_each_rule_finds_what_it_says(stores, rule, found):
    overlap = find_overlap(*stores, rule)
    assert set(overlap.matches) == found
    assert overlap.affected == {"t1"}
    assert not overlap.unreadable


def test_prototypes_do_not_depend_on_elements_cell_and_orientation():
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    crystals = {"a": rock_salt(4.2, (12, 8)), "b": rock_salt(6, (55, 9), turn, True)}
    labels = label_prototypes(crystals)
    assert labels["a"] == labels["b"]
    assert labels["a"].startswith("AB_cF8_225")


def test_an_unknown_rule_is_named(stores):
    with pytest.raises(UsageError, match="no rule 'shape'"):
        find_overlap(*stores, "shape")


def test_a_twin_without_training_crystals_is_refused(stores):
    overlap = find_overlap(*stores, "formula")
    with pytest.raises(EcdError, match="none is left"):
        make_strict_twin({"train": sorted(overlap.matches), "test": ["t1"]}, [overlap])


def test_the_hash_of_a_twin_depends_on_its_crystals_alone():
    about = {"rules": ["id"]}
    assert hash_twin({"train": ["a", "b"]}, about) == hash_twin({"train": ["b", "a"]}, about)
    assert hash_twin({"train": ["a"]}, about) != hash_twin({"train": ["b"]}, about)


def test_the_command_writes_a_twin_that_is_a_split(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("ECD_ROOT", raising=False)
    file = tmp_path / "twin.json"
    assert cli._run(["similar", "pbe", "--by", "formula", "-o", str(file), "-q"]) == 0
    assert "70 of 152 training crystals" in capsys.readouterr().out
    twin = read_split(file, open_store("pbe"))
    record = json.loads(file.read_text())
    official = load_split("sample_pbe")
    assert set(twin["train"]) | set(record["about"]["dropped"]["formula"]) == set(official["train"])
    assert sorted(twin["test"]) == sorted(official["test"])
    again = tmp_path / "again.json"
    assert cli._run(["similar", "pbe", "--by", "formula", "-o", str(again), "-q"]) == 0
    assert again.read_text() == file.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ecd_mp"], 2, "its data are not here"),
        (["nothing"], 2, "no configuration"),
        (["pbe", "--by", "nonsense"], 2, "no rule 'nonsense'"),
        (["pbe", "-o", "nowhere/x.json"], 2, "does not exist"),
    ],
)
def test_wrong_arguments_are_named(arguments, code, message, capsys, monkeypatch):
    monkeypatch.delenv("ECD_ROOT", raising=False)
    assert cli._run(["similar", *arguments, "-q"]) == code
    assert message in capsys.readouterr().err


def test_a_task_without_training_crystals_is_compared_with_what_trains_its_model(tmp_path, monkeypatch, capsys):
    """As for ecd_mp, whose model trains on ecd_pbe: here with a data root of a few crystals under official ids."""
    train, test = (load_split("ecd_pbe")["train"][:3], load_split("ecd_mp")["test"][:2])
    crystals = [rock_salt(4.2, (12, 8)), rock_salt(5.6, (11, 17)), rock_salt(4.0, (3, 9))]
    for name, ids in (("pbe", train), ("mp", test)):
        with StoreWriter(tmp_path / f"{name}.ecd", bound=1e-3) as writer:
            for id, crystal in zip(ids, crystals, strict=False):
                writer.add(id, Density(crystal, np.ones((4, 4, 4)), meta={"functional": "PBE"}))
    monkeypatch.setenv("ECD_ROOT", str(tmp_path))
    file = Path(tmp_path) / "twin.json"
    assert cli._run(["similar", "ecd_mp", "-o", str(file), "-q"]) == 0
    assert "the same structure: 2 of 2 test crystals, 2 of 3 training crystals" in capsys.readouterr().out
    assert json.loads(file.read_text())["train"] == [train[2]]
