"""Training and evaluation on a store of one's own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from ecd_data import open_store
from ecd_data.errors import EcdError, UsageError
from ecd_data.release.own_splits import make_split, read_split, write_split
from ecd_data.store import StoreWriter
from ecd_models import evaluate, load_model, train
from ecd_models.atoms.fitted import fit_superposed_atoms
from ecd_models.training.config import TrainConfig, load_config
from tests.conftest import SMALL_STORE_IDS, smooth_density

SMALL = {"lmax": 1, "mul": 8, "num_interactions": 1, "cutoff": 3.0}


def config_of(store: str, split, out) -> TrainConfig:
    options = {"options": SMALL, "batch_size": 2, "probes": 20, "validation_probes": 20, "validate_every": 2}
    return TrainConfig(out=str(out), store=store, split=split, steps=2, **options)


@pytest.mark.parametrize("difference", [False, True])
def test_a_density_that_is_zero_everywhere_is_named(tmp_path, difference):
    rho = smooth_density()
    with StoreWriter(tmp_path / "my.ecd") as writer:
        writer.add("good", rho)
        writer.add("other", smooth_density(seed=1))
        writer.add("empty", replace(rho, values=0 * rho.values))
    (tmp_path / "split.json").write_text('{"train": ["good", "empty"], "validation": ["other"]}')
    store, split = str(tmp_path / "my.ecd"), str(tmp_path / "split.json")
    config = TrainConfig(out=str(tmp_path / "run"), store=store, split=split, difference=difference)
    with pytest.raises(EcdError, match=r"the density of empty in .*my.ecd is zero everywhere: leave it out"):
        train(config)
    with pytest.raises(UsageError, match=r"a density of MgO2 has 0.0 electrons"):
        fit_superposed_atoms([rho, replace(rho, values=0 * rho.values)])


def test_a_split_file_decides_what_trains_and_what_is_judged(small_store, tmp_path) -> None:
    split = make_split(open_store(small_store), seed=1)
    write_split(split, tmp_path / "split.json")
    result = train(config_of(small_store, str(tmp_path / "split.json"), tmp_path / "run"))
    model = load_model(tmp_path / "run/best.safetensors")
    unseen = evaluate(model, small_store, split=tmp_path / "split.json", part="test")
    assert sorted(unseen.errors) == split["test"]
    assert set(unseen.seen.values()) == {"unseen"}
    assert unseen.origin == result.origin
    assert result.origin.data_origin == result.origin.store_hash
    seen = evaluate(model, open_store(small_store), ids=split["train"][:2])
    assert set(seen.seen.values()) == {"crystal"}


def test_fractions_make_the_split_that_the_rule_makes(small_store, tmp_path) -> None:
    fractions = {"train": 0.6, "validation": 0.2, "test": 0.2}
    by_file = make_split(open_store(small_store), fractions, rule="random", seed=3)
    write_split(by_file, tmp_path / "split.json")
    one = train(config_of(small_store, {**fractions, "rule": "random", "seed": 3}, tmp_path / "a"))
    two = train(config_of(small_store, str(tmp_path / "split.json"), tmp_path / "b"))
    assert one.origin == two.origin
    assert one.best_error == two.best_error


def test_a_run_goes_on_with_its_own_crystals_only(small_store, tmp_path) -> None:
    path = tmp_path / "split.json"
    write_split(make_split(open_store(small_store), rule="random", seed=1), path)
    config = config_of(small_store, str(path), tmp_path / "run")
    before = train(config)
    assert train(replace(config, steps=3)).origin == before.origin
    write_split(make_split(open_store(small_store), rule="random", seed=2), path)
    assert read_split(path) != make_split(open_store(small_store), rule="random", seed=1)
    with pytest.raises(UsageError, match="other crystals"):
        train(replace(config, steps=4))


def test_a_run_does_not_go_on_with_other_densities_of_the_same_ids(small_store, tmp_path) -> None:
    own, path = tmp_path / "own.ecd", tmp_path / "split.json"
    write_split(make_split(open_store(small_store), rule="random", seed=1), path)
    shutil.copytree(small_store, own)
    config = config_of(str(own), str(path), tmp_path / "run")
    before = train(config)
    shutil.rmtree(own)
    with StoreWriter(own) as writer:
        for id in (store := open_store(small_store)):
            writer.add(id, replace(store[id], values=1.01 * store[id].values))
    with pytest.raises(UsageError, match=r"run holds a run on other densities, .* name another out"):
        train(replace(config, steps=3))
    shutil.rmtree(own)
    shutil.copytree(small_store, own)
    assert train(replace(config, steps=3)).origin == before.origin


def test_without_a_split_all_crystals_are_judged(small_store) -> None:
    model = load_model("invcharge3net-sample")
    result = evaluate(model, small_store, limit=2)
    assert (result.part, len(result.errors), result.listed) == ("all", 2, len(SMALL_STORE_IDS))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ids": ["MgO_rs", "MgO_rs"]}, "'MgO_rs' stands twice"),
        ({"ids": ["MgO_rss"]}, "did you mean 'MgO_rs'"),
        ({"part": "train"}, "no crystals in part 'train'"),
        ({"sample": True}, "belong to a task"),
        ({"data_dir": "elsewhere"}, "belong to a task"),
    ],
)
def test_what_a_store_cannot_answer_is_refused(small_store, given, said) -> None:
    with pytest.raises(UsageError, match=said):
        evaluate(load_model("invcharge3net-sample"), small_store, **given)


def test_a_task_has_a_split_of_its_own(tmp_path) -> None:
    with pytest.raises(UsageError, match="has its own split"):
        evaluate(load_model("invcharge3net-sample"), "pbe", split=tmp_path / "split.json")


def test_a_configuration_names_a_store_with_a_split_or_a_task(tmp_path) -> None:
    with pytest.raises(UsageError, match="belong together"):
        TrainConfig(out="x", store="mine.ecd")
    path = tmp_path / "both.toml"
    path.write_text('out = "x"\ntask = "pbe"\nstore = "mine.ecd"\nsplit = "split.json"\n')
    with pytest.raises(UsageError, match="a task and a store"):
        load_config(path)
    path.write_text('out = "x"\nstore = "mine.ecd"\n[split]\ntrain = 0.5\ntest = 0.5\nseed = 2\n')
    assert load_config(path).split == {"train": 0.5, "test": 0.5, "seed": 2}


def test_the_record_of_a_run_names_store_and_split(small_store, tmp_path) -> None:
    train(config_of(small_store, {"rule": "random"}, tmp_path / "run"))
    record = json.loads((tmp_path / "run/config.json").read_text())
    assert record["store"] == small_store
    assert record["split"] == {"rule": "random"}
    assert record["data_origin"] == record["store_hash"]
