"""Published networks by name, from a server on this machine with stand-in files: fetched once, resumed, checked."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ecd_data.download.transfer import Connection, Patience
from ecd_data.errors import EcdError, UsageError
from ecd_models import load_model
from ecd_models.checkpoint import export_published
from ecd_models.cli import _run
from ecd_models.networks import build_model
from ecd_models.weights import cache
from ecd_models.weights.cache import cached_path, compute_git_hash, fetch_weights, is_cached
from ecd_models.weights.catalogue import MIRROR, PublishedWeights, published_weights
from tests.data.bad_server import BadServer, bad_server

NAMES = ["ecd-pbe", "ecd-pbe-v2", "ecd-hse-tuned", "charge3net-mp", "charge3net-nmc", "charge3net-qm9"]
QUICK = Patience(retries=2, pause=0.01, stall=1.0)  # longer than the server waits for a processor on a busy machine


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[BadServer]:
    monkeypatch.setenv("ECD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "PATIENCE", QUICK)
    monkeypatch.setattr(fetch_weights, "__defaults__", (QUICK,))
    with bad_server() as running:
        monkeypatch.setenv(MIRROR, running.url)
        yield running


@pytest.fixture
def stand_in(server: BadServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PublishedWeights:
    """A small network in the place of charge3net-mp, served under its address and recorded under its name."""
    torch.manual_seed(0)
    file = tmp_path / "stand-in.pt"
    export_published(build_model("charge3net", num_interactions=1, mul=10, lmax=1), file)
    return serve(file, server, monkeypatch)


def serve(
    file: Path, server: BadServer, monkeypatch: pytest.MonkeyPatch, name: str = "charge3net-mp"
) -> PublishedWeights:
    weights = replace(published_weights()[name], blob=compute_git_hash(file))
    monkeypatch.setitem(published_weights(), name, weights)
    server.files[address(weights, server)] = file.read_bytes()
    return weights


def address(weights: PublishedWeights, server: BadServer) -> str:
    """The path on the server."""
    return weights.url.removeprefix(server.url.removesuffix("/base"))


def refused(name: str = "charge3net-mp") -> str:
    with pytest.raises(EcdError) as error:
        load_model(name)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def test_the_hash_is_gits(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 5000)
    done = subprocess.run(["git", "hash-object", str(file)], capture_output=True, text=True, check=True)
    assert compute_git_hash(file) == done.stdout.strip()


def test_each_name_has_a_commit_a_hash_and_an_address_on_github(monkeypatch):
    monkeypatch.delenv(MIRROR, raising=False)
    assert list(published_weights()) == NAMES
    for weights in published_weights().values():
        assert len(weights.commit) == len(weights.blob) == 40
        assert weights.url.startswith(f"https://raw.githubusercontent.com/{weights.repository}/{weights.commit}/models")
    assert len({weights.blob for weights in published_weights().values()}) == len(NAMES)


def test_a_network_is_fetched_once_and_then_read_without_the_server(server, stand_in):
    first = load_model("charge3net-mp")
    assert first.name == "charge3net-mp"
    assert first.network.cutoff == 4.0
    assert "VASP with PAW" in first.training_valences.made_by
    server.files.clear()
    asked = len(server.requests)
    again = load_model("charge3net-mp")
    assert len(server.requests) == asked == 1
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


@pytest.mark.parametrize("fault", ["drop", "stall", "busy", "reset", "cut", "error"])
def test_what_a_server_does_wrong_is_repeated(fault, server, stand_in):
    server.faults[address(stand_in, server)] = [fault]
    load_model("charge3net-mp")
    assert [path.suffix for path in cached_path(stand_in).parent.iterdir()] == [".pt"]


def test_an_interrupted_download_goes_on_where_it_stopped(server, stand_in, monkeypatch):
    where, size = address(stand_in, server), len(server.files[address(stand_in, server)])
    server.faults[where] = ["drop"]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr("ecd_data.download.transfer.RequestGate.wait", lambda self, s=0.0: interrupt() if s else None)
        with pytest.raises(KeyboardInterrupt):
            load_model("charge3net-mp")
    assert not is_cached(stand_in)
    load_model("charge3net-mp")
    assert server.requests[-1] == ("GET", where, f"bytes={size // 2}-")


def test_another_content_than_recorded_is_never_loaded(server, stand_in):
    where = address(stand_in, server)
    server.files[where] = server.files[where][:-1] + b"!"
    message = refused()
    assert "is not the file that was published" in message
    assert stand_in.blob in message
    assert len(server.requests) == 2
    assert not list(cached_path(stand_in).parent.iterdir())


def test_a_truncated_file_is_not_taken_for_the_whole(server, stand_in):
    server.faults[address(stand_in, server)] = ["cut", "cut"]
    assert "is not the file that was published" in refused()


def test_a_damaged_file_in_the_cache_is_fetched_again(server, stand_in):
    path = fetch_weights(stand_in)
    path.write_bytes(path.read_bytes()[:-100])
    assert not is_cached(stand_in)
    load_model("charge3net-mp")
    assert is_cached(stand_in)


def test_without_network_and_cache_the_file_and_its_place_are_named(server, stand_in, monkeypatch):
    monkeypatch.setenv(MIRROR, "http://127.0.0.1:9")
    message = refused()
    assert "not in the cache" in message
    assert str(cached_path(stand_in)) in message
    assert stand_in.blob in message
    monkeypatch.setenv(MIRROR, "somewhere")
    with pytest.raises(UsageError, match="https://"):
        load_model("charge3net-mp")


def test_a_file_brought_by_hand_is_taken(server, stand_in):
    path = cached_path(stand_in)
    path.parent.mkdir(parents=True)
    path.write_bytes(server.files.pop(address(stand_in, server)))
    assert load_model("charge3net-mp").name == "charge3net-mp"
    assert server.requests == []


def test_a_missing_file_and_a_web_page_are_named(server, stand_in):
    server.faults[address(stand_in, server)] = ["page"]
    assert "is a web page (Maintenance)" in refused()
    server.files.clear()
    assert "does not exist on the server (404)" in refused()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_cache_that_cannot_be_written_is_named(number, server, stand_in, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(number, "as the disk says")

    monkeypatch.setattr(Connection, "download", fail)
    message = refused()
    assert str(cached_path(stand_in).parent) in message
    assert ("the disk is full" in message) == (number == errno.ENOSPC)


def test_processes_that_want_the_same_file_wait_for_each_other(server, stand_in):
    server.delay = 0.1
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: fetch_weights(replace(stand_in)), range(4)))
    assert paths == {cached_path(stand_in)}
    assert len(server.requests) == 1


def test_a_cache_that_is_a_file_is_named(server, stand_in, monkeypatch, tmp_path):
    (tmp_path / "taken").touch()
    monkeypatch.setenv("ECD_CACHE", str(tmp_path / "taken"))
    assert "$ECD_CACHE" in refused()


def test_a_pointer_of_git_lfs_is_no_network(server, monkeypatch, tmp_path):
    file = tmp_path / "pointer"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    serve(file, server, monkeypatch)
    assert "Git LFS" in refused()


class Trap:
    def __init__(self, call: Callable, *given: object):
        self.call, self.given = call, given

    def __reduce__(self) -> tuple:
        return self.call, self.given


class Settings:
    """As a configuration library leaves them in a checkpoint."""

    def __init__(self) -> None:
        self.cutoff = 4.0


def test_what_a_training_left_beside_the_weights_is_not_run_and_not_needed(server, stand_in, monkeypatch, tmp_path):
    content = torch.load(cached_copy(server, stand_in, tmp_path), weights_only=True)
    odd = {"network." + name: value for name, value in content["model"].items()}
    trap = Trap(shutil.copyfile, __file__, str(tmp_path / "ran"))
    beside = {"trap": trap, "hyper_parameters": Settings(), "optimizer": torch.optim.Adam}
    file = tmp_path / "lightning.pt"
    torch.save({"state_dict": odd, "pytorch-lightning_version": "1.9.0", **beside}, file)
    serve(file, server, monkeypatch, "ecd-pbe")
    assert load_model("ecd-pbe").name == "ecd-pbe"
    assert not (tmp_path / "ran").exists()
    with pytest.raises(EcdError, match="was refused"):
        load_model(file)
    assert not (tmp_path / "ran").exists()


def test_a_file_that_would_run_code_is_refused_even_with_the_recorded_hash(server, monkeypatch, tmp_path):
    file, ran = tmp_path / "trap.pt", tmp_path / "ran"
    torch.save({"model": Trap(Path.touch, ran)}, file)
    serve(file, server, monkeypatch, "ecd-pbe")
    refused("ecd-pbe")
    file.write_bytes(pickle.dumps({"model": Trap(shutil.copyfile, __file__, str(ran))}))
    serve(file, server, monkeypatch, "ecd-pbe-v2")
    refused("ecd-pbe-v2")
    assert not ran.exists()


def cached_copy(server: BadServer, weights: PublishedWeights, folder: Path) -> Path:
    path = folder / "copy.pt"
    path.write_bytes(server.files[address(weights, server)])
    return path


def test_the_list_has_shipped_and_published_models(server, stand_in, capsys):
    assert _run(["models", "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(NAMES) < set(listed)
    assert Path(listed["charge3net-sample"]["path"]).is_file()
    assert listed["charge3net-mp"]["path"] is None
    assert "AIforGreatGood/charge3net @ 18290c63c030" in listed["charge3net-mp"]["source"]
    assert all(row["licence"] == "MIT" and row["trained_on"] for row in listed.values())
    load_model("charge3net-mp")
    assert _run(["models"]) == 0
    said = capsys.readouterr().out
    assert str(cached_path(stand_in)) in said
    assert said.count("not fetched yet") == len(NAMES) - 1


def test_an_unknown_name_is_answered_with_those_that_exist():
    with pytest.raises(UsageError, match="charge3net-mp") as error:
        load_model("charge3net-nm")
    assert "\n" not in str(error.value)


def test_elements_that_a_network_never_saw_are_told(caplog):
    learned = published_weights()["charge3net-qm9"].training_valences
    assert learned.saw("C")
    assert not learned.saw("Fe")
    assert published_weights()["ecd-pbe"].training_valences.saw("Fe")
