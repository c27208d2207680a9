"""Seen and unseen: what checkpoints record of their training, and what evaluation makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ecd_data import open_store
from ecd_data.errors import FormatError, UsageError
from ecd_data.release.data_origin import Origin
from ecd_models import cli, evaluate, load_model, train
from ecd_models.checkpoint import load_checkpoint, save_checkpoint
from ecd_models.evaluation.evaluate import INCOMPLETE, UNKNOWN, evaluate_ids
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from ecd_models.task_data import task_data
from ecd_models.training import loop as training
from ecd_models.training.config import TrainConfig
from ecd_models.training.trained_on import KEY, TrainedOn
from ecd_models.weights.catalogue import PRETRAINED, shipped_checkpoints
from tests.models.conftest import SMALL

HERE = Origin("sample", "0" * 16, "1" * 16)


def recorded(path: str | Path) -> TrainedOn:
    found = TrainedOn.from_metadata(load_checkpoint(path).metadata)
    assert found is not None
    return found


@pytest.fixture
def untold(tmp_path) -> Path:
    """A checkpoint as others may write it: nothing says what trained it."""
    path = tmp_path / "untold.safetensors"
    save_checkpoint(path, DensityModel(build_model("charge3net", **SMALL), name="charge3net"), {"step": 3})
    return path


@pytest.mark.parametrize("names", [[], ["one"], [f"icsd-{n}-Å{n}" for n in range(5000)]])
def test_a_record_reads_back(names):
    record = TrainedOn(frozenset(names), frozenset(names[:3]), HERE, complete=len(names) != 1)
    assert TrainedOn.from_metadata({KEY: record.text}) == record
    assert len(record.text) < 400 + 12 * len(names)


@pytest.mark.parametrize(
    "change", [{"ids": "???"}, {"crystals": 7}, {"formulas": None}, {"ids": ""}, {"store_hash": ...}]
)
def test_a_damaged_record_is_refused(change):
    record = json.loads(TrainedOn(frozenset("ab"), frozenset("c"), HERE).text)
    record = {key: value for key, value in (record | change).items() if value is not ...}
    with pytest.raises(FormatError, match="record of its training data is damaged"):
        TrainedOn.from_metadata({KEY: json.dumps(record)})
    with pytest.raises(FormatError, match="damaged"):
        TrainedOn.from_metadata({KEY: "no JSON"})


def test_what_was_seen_of_a_crystal():
    record = TrainedOn(frozenset(["a", "b"]), frozenset(["MgO"]), HERE)
    assert record.seen("a", "Mg4O4") == "crystal"
    assert record.seen("c", "O2Mg2") == "composition"
    assert record.seen("d", "Si2") == "unseen"
    assert record.seen("a", "Si2") == "unseen"  # another crystal of the same name


def test_a_run_records_its_crystals_and_origin(config):
    result = train(replace(config, steps=4, fraction=0.5))
    data = task_data("pbe", config.data_dir)
    for file in ("best", "last"):
        record = recorded(Path(config.out) / f"{file}.safetensors")
        assert record.ids < set(data.ids("train"))
        assert record.complete
        assert record.origin == data.origin == result.origin
    text = json.loads((Path(config.out) / "config.json").read_text())
    assert {key: text[key] for key in data.origin.to_dict()} == data.origin.to_dict()
    seen = evaluate_ids(result.model, data, data.ids("train"), "train").seen
    assert seen is not None
    assert {id for id, kind in seen.items() if kind == "crystal"} == record.ids


def test_a_run_that_starts_from_another_saw_what_that_saw(config, untold):
    first = train(replace(config, steps=4, fraction=0.4))
    second = replace(config, steps=4, out=config.out + "-2", start=str(first.best), fraction=0.0)
    assert recorded(train(second).best).ids == recorded(first.best).ids
    third = train(replace(config, steps=2, out=config.out + "-3", start=str(untold)))
    record = recorded(third.best)
    assert not record.complete
    assert evaluate(third.model, "pbe", data_dir=config.data_dir, limit=1).caution == INCOMPLETE
    Path(untold).unlink()  # the record of a run that goes on is its own
    assert recorded(train(replace(config, steps=4, out=config.out + "-3", start=str(untold))).best) == record


def test_a_run_warns_of_validation_crystals_that_trained_its_start(config, caplog):
    """The ids decide: the third run validates on what trained the first."""
    first = train(replace(config, steps=2))
    train(replace(config, steps=2, out=config.out + "-2", start=str(first.best)))
    assert "validation crystals trained" not in caplog.text
    data = task_data("pbe", config.data_dir)
    ids = data.ids("train")
    split = Path(config.out).with_name("split.json")
    split.write_text(json.dumps({"train": data.ids("test"), "validation": ids[:2], "test": []}))
    own = {"task": TrainConfig.task, "data_dir": "", "store": str(data.store.root), "split": str(split)}
    train(replace(config, **own, steps=2, out=config.out + "-3", start=str(first.best)))
    assert "2 of the 2 validation crystals trained" in caplog.text


def test_a_run_does_not_go_on_with_other_crystals(config, tmp_path):
    train(replace(config, steps=2))
    with pytest.raises(UsageError, match="a run on other crystals"):
        train(replace(config, steps=4, data_dir=""))


def test_an_error_of_zero_is_an_error(config, monkeypatch):
    monkeypatch.setattr(training, "validation_error", lambda *_: 0.0)
    assert train(replace(config, steps=2, validate_every=2)).best_error == 0.0


def test_a_checkpoint_without_a_record_is_judged_and_said_to_tell_nothing(untold, small_root, tmp_path):
    result = evaluate(load_model(untold), "pbe", data_dir=str(small_root), limit=1)
    assert result.seen is None
    assert result.groups == {}
    assert result.caution == UNKNOWN
    result.save(tmp_path / "x.json")
    record = json.loads((tmp_path / "x.json").read_text())["seen_in_training"]
    assert (record["known"], record["caution"]) == (False, UNKNOWN)


@pytest.mark.parametrize("path", shipped_checkpoints().values(), ids=lambda path: path.stem)
def test_shipped_checkpoints_record_the_sample_s_training_crystals(path):
    """Former densities of the same cells, in a store of another hash, trained some of them."""
    data = task_data("pbe")
    record = recorded(path)
    assert record.ids == set(data.ids("train"))
    assert record.complete
    assert replace(record.origin, store_hash=data.origin.store_hash) == data.origin
    assert record.origin.data_origin == "sample"


@pytest.mark.parametrize("path", shipped_checkpoints().values(), ids=lambda path: path.stem)
def test_no_shipped_checkpoint_saw_a_test_crystal(path):
    record = recorded(path)
    for name in ("pbe", "ood"):
        data = task_data(name)
        formulas = data.store.index.set_index("id")["formula"]
        assert not record.ids & set(data.ids("test"))
        for part in ("test_compositions", "test_pairs", "test_rare_elements"):
            assert {record.seen(id, formulas[id]) for id in data.parts[part]} <= {"unseen"}


def test_thirty_five_of_the_experimental_list_trained_the_networks():
    data = task_data("exp")
    formulas = open_store("pbe").index.set_index("id")["formula"]
    record = recorded(PRETRAINED / "charge3net-sample.safetensors")
    seen = [record.seen(id, formulas[id]) for id in data.ids("test")]
    assert (seen.count("crystal"), len(seen)) == (35, 46)


def test_geometries_are_of_seen_compositions_and_compositions_are_not():
    data, record = task_data("pbe"), recorded(PRETRAINED / "charge3net-sample.safetensors")
    formulas = data.store.index.set_index("id")["formula"]
    for part, kind in (("test_geometries", "composition"), ("test_compositions", "unseen")):
        assert {record.seen(id, formulas[id]) for id in data.ids(part)} == {kind}


def run(*arguments: str) -> int:
    return cli._run(list(arguments))


def test_several_models_are_rows_of_one_table_with_a_json_each(small_root, untold, tmp_path, capsys):
    models = ("-m", "charge3net-sample", "-m", str(untold))
    options = ("--data", str(small_root), "--limit", "2", "-q", "-o", str(tmp_path / "errors.json"))
    assert run("evaluate", "pbe", "--part", "test_geometries", *models, *options) == 0
    printed = capsys.readouterr().out
    rows = [line.split("  ")[0] for line in printed.splitlines()]
    assert "charge3net-sample" in rows
    assert str(untold) in rows
    assert f"{untold}: {UNKNOWN}" in printed
    files = sorted(tmp_path.glob("errors_*.json"))
    results = [json.loads(file.read_text()) for file in files]
    assert {result["model"] for result in results} == {"charge3net-sample", str(untold)}
    assert len({result["summary"]["mean_percent"] for result in results}) == 2
    assert run("evaluate", "pbe", "-m", "charge3net-sample", "-m", "charge3net-sample") == 2


def test_a_task_of_the_benchmark_on_the_sample_is_refused_or_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ECD_ROOT", raising=False)
    for name in ("ecd_pbe", "ECD-HSE-id", "ecd_mp"):
        assert run("evaluate", name, "-m", "charge3net-sample") == 2
        with pytest.raises(UsageError, match="benchmark"):
            evaluate(load_model(), name)
    file = tmp_path / "errors.json"
    options = ("--sample", "--limit", "1", "-q", "-o", str(file))
    assert run("evaluate", "ecd_pbe", "-m", "charge3net-sample", *options) == 0
    assert "of the sample" in capsys.readouterr().out
    record = json.loads(file.read_text())
    assert (record["task"], record["data_origin"], record["crystals_judged"]) == ("ecd_pbe", "sample", 1)
    assert record["split_hash"] == task_data("pbe").origin.split_hash


def test_training_a_task_of_the_benchmark_wants_its_data_or_the_sample_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECD_ROOT", raising=False)
    (tmp_path / "run.toml").write_text('out = "run"\ntask = "ecd_pbe"\nsteps = 1\n')
    assert run("train", "run.toml", "-q") == 2
    assert not (tmp_path / "run").exists()
    (tmp_path / "run.toml").write_text('out = "run"\ndata_origin = "release"\n')
    assert run("train", "run.toml", "-q", "--sample") == 2
