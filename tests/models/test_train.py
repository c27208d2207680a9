from __future__ import annotations

import csv
import errno
import itertools
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ecd_data import load_split, open_store
from ecd_data.errors import EcdError, UsageError
from ecd_data.store import Store
from ecd_data.store.probes.draw import ProbeReader
from ecd_data.store.probes.extract import extract_probes
from ecd_data.work.recent_cache import RecentCache
from ecd_models import cli, evaluate, load_model, predict, train
from ecd_models.atoms.fitted import fit_superposed_atoms
from ecd_models.checkpoint import read_metadata
from ecd_models.training.config import TrainConfig, load_config
from ecd_models.training.distributed import Processes
from ecd_models.training.probe_batches import EpochBatches, ProbeDataset, generator
from tests.conftest import smooth_density


def weights(path: str | Path) -> dict[str, torch.Tensor]:
    return load_model(path).state_dict()


def rows(path: Path) -> list[dict[str, str]]:
    """The log without the column of times."""
    with open(path) as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("difference", [False, True])
def test_the_same_seed_gives_the_same_model(config, difference):
    config = replace(config, difference=difference)
    one = train(config)
    two = train(replace(config, out=config.out + "-again"))
    assert one.best_error == two.best_error
    assert_same(weights(one.best), weights(two.best))
    assert rows(one.log) == rows(two.log)
    other = train(replace(config, out=config.out + "-other", seed=4))
    assert other.best_error != one.best_error


@pytest.mark.parametrize("stop", [3, 4, 7])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(config, stop):
    whole = train(config)
    broken = replace(config, out=config.out + "-broken")

    def interrupt(progress):
        if progress.step == stop:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(broken, interrupt)
    resumed = train(broken)
    assert rows(resumed.log) == rows(whole.log)
    assert_same(weights(resumed.best), weights(whole.best))
    assert_same(weights(Path(broken.out) / "last.safetensors"), weights(Path(config.out) / "last.safetensors"))


def test_a_run_reads_the_extract_of_its_store_and_resumes_exactly(config, small_root, tmp_path, monkeypatch):
    """The same with worker processes, and without an extract, when whole densities are decoded."""
    decoded = train(replace(config, out=config.out + "-decoded"))
    shutil.copytree(small_root, tmp_path / "root")
    extract_probes(tmp_path / "root" / "pbe.ecd")
    config = replace(config, data_dir=str(tmp_path / "root"))

    def interrupt(progress):
        if progress.step == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(config, interrupt)
    monkeypatch.setattr(Store, "__getitem__", lambda store, id: pytest.fail(f"{id} is decoded"))
    resumed = train(replace(config, workers=1))
    assert rows(resumed.log) == rows(decoded.log)
    assert_same(weights(resumed.best), weights(decoded.best))


def test_a_killed_run_repeats_what_its_last_state_does_not_know(config):
    whole = train(config)
    killed = replace(config, out=config.out + "-killed")
    train(replace(killed, steps=8))
    with open(Path(killed.out) / "log.csv", "a") as log:
        log.write("12,0.1,0.1,0.1,0.1,1\r\n")
    assert rows(train(killed).log) == rows(whole.log)


def test_a_run_of_another_configuration_is_not_continued(config):
    train(config)
    with pytest.raises(UsageError, match="another configuration"):
        train(replace(config, lr=0.001))


def test_a_run_is_not_continued_to_fewer_steps_than_it_made(config):
    made = train(config)
    before = (Path(config.out) / "config.json").read_text()
    with pytest.raises(UsageError, match=r"has made 12 steps, more than steps = 8: .* set steps to 12 or more"):
        train(replace(config, steps=8))
    assert (Path(config.out) / "config.json").read_text() == before
    assert train(config).best_error == made.best_error


def test_a_run_with_a_cosine_keeps_its_steps(config):
    """Its learning rates follow from their number, so a longer run would be that of no configuration."""
    config = replace(config, schedule="cosine", steps=4)
    made = train(config)
    with pytest.raises(UsageError, match=r"cosine schedule ends at steps = 4.*name another out"):
        train(replace(config, steps=8))
    assert train(config).best_error == made.best_error
    longer = replace(config, steps=8, start=str(made.best), out=config.out + "-longer")
    assert [row["step"] for row in rows(train(longer).log)] == ["4", "8"]


def test_validation_points_are_the_same_for_all_seeds(config):
    """So the deviation of several seeds is that of the models."""
    start = str(train(config).best)
    judged = replace(config, start=start, fraction=0.0)
    errors = [train(replace(judged, seed=seed, out=f"{config.out}-{seed}")).best_error for seed in (3, 4, 5)]
    assert len(set(errors)) == 1


def test_a_first_validation_that_is_no_number_does_not_stay_the_best(config, monkeypatch):
    """A network may explode on a validation crystal early in its training."""
    errors = iter([float("nan"), 0.5, float("nan")])
    monkeypatch.setattr("ecd_models.training.loop.validation_error", lambda *_: next(errors))
    result = train(config)
    assert result.best_error == 0.5
    assert read_metadata(result.best)["step"] == 2 * config.validate_every


@pytest.mark.parametrize("error", [float("nan"), float("inf")])
def test_a_run_without_a_finite_validation_error_fails_and_keeps_no_best_model(config, monkeypatch, error):
    monkeypatch.setattr("ecd_models.training.loop.validation_error", lambda *_: error)
    for _ in range(2):  # the same command says it again
        with pytest.raises(EcdError, match=rf"no validation error .* is {error}: .*lower lr.*another out"):
            train(config)
    assert not Path(config.out, "best.safetensors").exists()
    with pytest.raises(UsageError, match="another configuration"):
        train(replace(config, lr=config.lr / 10))
    monkeypatch.undo()
    assert train(replace(config, lr=config.lr / 10, out=config.out + "-lower")).best_error < 1


def test_a_damaged_record_of_a_run_is_named(config):
    train(config)
    path = Path(config.out) / "config.json"
    path.write_text("")
    with pytest.raises(UsageError, match=r"config.json is damaged .* remove it"):
        train(config)
    path.unlink()
    assert train(config).best_error


def test_a_full_disk_leaves_the_record_of_a_run(config, monkeypatch):
    train(config)
    path = Path(config.out) / "config.json"
    before = path.read_text()
    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_text", fail_to_write)
        with pytest.raises(OSError, match="No space left"):
            train(config)
    assert path.read_text() == before


def fail_to_write(path: Path, *content: object, **options: object) -> None:
    """What `Path.write_text` does where the disk is full: the file is there, and empty."""
    path.open("w").close()
    raise OSError(errno.ENOSPC, "No space left on device")


def test_two_trainings_do_not_share_a_folder(config):
    def train_again(progress):
        if progress.step == 3:
            with pytest.raises(UsageError, match=r"another training writes .*run"):
                train(config)

    assert [row["step"] for row in rows(train(config, train_again).log)] == ["4", "8", "12"]
    assert train(config).best_error


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_worker_is_one_sentence(config, small_root, tmp_path, workers):
    shutil.copytree(small_root, tmp_path / "root")
    store = Store(tmp_path / "root" / "pbe.ecd")
    for row in map(store.row, set(store.ids) & set(load_split("sample_pbe")["train"])):  # validation reads the others
        path = tmp_path / "root" / "pbe.ecd" / "parts" / row["part"]
        data = bytearray(path.read_bytes())
        data[row["offset"] + row["length"] // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(EcdError, match="cut or altered") as told:
        train(replace(config, data_dir=str(tmp_path / "root"), workers=workers))
    assert "\n" not in str(told.value)


def test_an_interrupted_training_goes_on_while_its_workers_still_live(config):
    """As in a notebook, which keeps the exception and with it the processes that draw probes."""

    def interrupt(progress):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as held:
        train(replace(config, workers=1), interrupt)
    assert train(config).best_error
    assert held.value is not None


def test_a_part_to_evaluate_that_does_not_exist_is_refused_before_the_training(config, tmp_path, capsys):
    file = tmp_path / "run.toml"
    file.write_text(f'out = "{config.out}"\ntask = "pbe"\ndata_dir = "{config.data_dir}"\nsteps = 1000000\n')
    assert cli._run(["train", str(file), "--evaluate", "tset"]) == 2
    assert "no crystals in part 'tset'" in capsys.readouterr().err
    assert not Path(config.out).exists()


def test_training_lowers_the_error(config):
    result = train(replace(config, steps=60, validate_every=20, probes=100, difference=True))
    errors = [float(row["validation_error_percent"]) for row in rows(result.log)]
    assert min(errors) == pytest.approx(100 * result.best_error, abs=1e-3)
    assert min(errors) < errors[0]


def test_the_run_folder_records_the_run(config):
    result = train(config)
    record = json.loads((Path(config.out) / "config.json").read_text())
    assert TrainConfig.from_dict(record) == config
    assert [row["step"] for row in rows(result.log)] == ["4", "8", "12"]


def test_a_trained_model_predicts_and_is_evaluated(config, small_root):
    model = train(replace(config, difference=True)).model
    result = evaluate(model, "pbe", data_dir=str(small_root))
    assert len(result.errors) == 2
    assert result.atom_errors is not None
    assert result.errors.keys() == result.atom_errors.keys()
    store = open_store(small_root / "pbe.ecd")
    rho = store[store.ids[0]]
    assert predict(model, rho.crystal, shape=rho.shape).shape == rho.shape


def test_an_exploding_loss_is_told(config):
    with pytest.raises(EcdError, match="lower lr"):
        train(replace(config, lr=1e30))


def test_probes_depend_on_seed_epoch_and_id_alone():
    load = {"a": smooth_density(seed=1), "b": smooth_density(seed=2)}.__getitem__
    data = ProbeDataset(ProbeReader("nowhere", load), cutoff=3.0, probes=20, seed=5)
    again = ProbeDataset(ProbeReader("nowhere", load, RecentCache(1)), cutoff=3.0, probes=20, seed=5)
    again[0, "b"]
    for draw in ((0, "a"), (1, "a"), (0, "b")):
        assert torch.equal(data[draw].target, again[draw].target)
    targets = [data[draw].target for draw in ((0, "a"), (1, "a"), (0, "b"))]
    assert not any(torch.equal(x, y) for x, y in itertools.combinations(targets, 2))
    assert generator(1, 2, "x").random() == generator(1, 2, "x").random()


def test_targets_are_the_density_at_the_drawn_points_and_uniform_over_the_grid():
    rho = smooth_density(seed=3)
    data = ProbeDataset(ProbeReader("nowhere", lambda id: rho), cutoff=3.0, probes=400, seed=0)
    target = np.concatenate([data[epoch, id].target.numpy() for epoch in range(4) for id in "abc"])
    assert np.isin(target, rho.values.astype(np.float32)).all()
    standard_error = rho.values.std() / np.sqrt(len(target))
    assert abs(target.mean() - rho.values.mean()) < 4 * standard_error


def test_items_have_the_atoms_and_the_mean_of_their_crystal(small_root):
    store = open_store(small_root / "pbe.ecd")
    rho = store[store.ids[0]]
    atoms = fit_superposed_atoms([rho])
    options = {"cutoff": 3.0, "probes": 50, "seed": 1, "atoms": atoms}
    data = ProbeDataset(store.probe_reader, nelect=lambda id: store.row(id)["nelect"], **options)
    for epoch in range(3):
        item, probes = data[epoch, store.ids[0]], store.probes(store.ids[0], 50, seed=1, epoch=epoch)
        np.testing.assert_array_equal(item.target, probes.values)
        np.testing.assert_allclose(item.baseline, atoms(rho.crystal, rho.shape).values.ravel()[probes.index], rtol=1e-6)
        assert float(item.mean) == pytest.approx(rho.values.mean(), rel=1e-6)


def test_an_epoch_visits_every_crystal_once_and_any_step_can_be_the_first():
    ids = [f"id{k}" for k in range(7)]
    batches = list(EpochBatches(ids, 3, seed=0, first=0, steps=7))
    draws = [draw for batch in batches for draw in batch]
    for epoch in range(3):
        assert sorted(id for e, id in draws if e == epoch) == ids
    assert [id for e, id in draws if e == 0] != [id for e, id in draws if e == 1]
    assert list(EpochBatches(ids, 3, seed=0, first=12, steps=3)) == batches[4:]
    shares = [list(EpochBatches(ids, 6, 0, 0, 3, Processes(rank, 2).share)) for rank in (0, 1)]
    together = [sorted(a + b) for a, b in zip(*shares, strict=True)]
    assert together == [sorted(one + two) for one, two in zip(batches[:6:2], batches[1:6:2], strict=True)]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("out = 'x'\nstep = 5", "did you mean 'steps'"),
        ("out = 'x'\nsteps = 'many'", "int is due"),
        ("steps = 5", "lacks 'out'"),
        ("out = 'x'\nsteps = 0", "at least 1"),
        ("out = ", "not TOML"),
    ],
)
def test_wrong_configurations_are_explained(tmp_path, text, word):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=word):
        load_config(path)


def test_a_configuration_reads_back(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("out = 'x'\nlr = 1\ndifference = true\n[options]\nmul = 8\n")
    assert load_config(path) == TrainConfig(out="x", lr=1, difference=True, options={"mul": 8})


def test_the_defaults_are_the_papers_training():
    config = TrainConfig(out="x")
    assert (config.steps, config.batch_size, config.probes, config.lr) == (1_000_000, 16, 200, 0.005)
    assert config.lr_decay ** (6000 / config.lr_decay_steps) == pytest.approx(0.96**2)
