"""Several processes: the result of one with the larger batch, and exact resume after a kill or a request to end."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ecd_models import load_model, train
from ecd_models.checkpoint import load_checkpoint
from ecd_models.training.config import TrainConfig
from ecd_models.training.distributed import Processes


@pytest.fixture(scope="module")
def starter() -> multiprocessing.context.BaseContext:
    """Processes that are forked off one that has everything imported and has computed nothing."""
    context = multiprocessing.get_context("forkserver")
    data = ["ecd_data.hf.rows", "ecd_data.store"]
    context.set_forkserver_preload(["ecd_models.training.loop", "torch.distributed", *data, __name__])
    return context


@pytest.fixture
def small(config: TrainConfig) -> TrainConfig:
    return replace(config, steps=12, probes=10, validate_every=12, validation_crystals=2, save_every=2, ema=0.9)


PORTS = itertools.count(10_000 + 50 * (os.getpid() % 400))  # below those that a system gives to others unasked


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    return next(port for port in PORTS if is_free(port))


def one_of(rank: int, count: int, port: int, config: TrainConfig, pause: float) -> None:
    """What torchrun would start."""
    if count > 1:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ.update(address, RANK=str(rank), WORLD_SIZE=str(count), LOCAL_RANK=str(rank))
    try:
        train(replace(config, threads=1), lambda p: time.sleep(pause))
    except KeyboardInterrupt:
        os._exit(130)


def start(starter, config: TrainConfig, count: int = 2, pause: float = 0.0) -> list:
    port = free_port()
    runs = [starter.Process(target=one_of, args=(rank, count, port, config, pause)) for rank in range(count)]
    for run in runs:
        run.start()
    return runs


def finish(runs: list) -> list[int]:
    for run in runs:
        run.join(120)
    return [run.exitcode for run in runs]


def last(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_model(Path(config.out) / "last.safetensors").state_dict()


def steps_saved(config: TrainConfig) -> int:
    file = Path(config.out) / "last.safetensors"
    return load_checkpoint(file).metadata["step"] if file.exists() else 0


def end(runs: list, config: TrainConfig, number: int) -> list[int]:
    """Send a run a signal when it has saved once more; its steps must have pauses, or it is done before."""
    before, limit = steps_saved(config), time.monotonic() + 100
    while steps_saved(config) == before and time.monotonic() < limit:
        time.sleep(0.02)
    for run in runs:
        os.kill(run.pid, number)
    return finish(runs)


FOURIER = {
    "model": "fourier_density",
    "options": {"functions": 3, "widest": 0.5, "sharpest": 5.0, "channels": 4, "neighbors": 3.0},
    "whole_grids": True,
}


@pytest.mark.parametrize("kind", [{}, FOURIER], ids=["probes", "whole grids"])
def test_two_processes_give_the_result_of_one_with_the_double_batch(starter, small, kind):
    config = replace(small, clip_norm=1.0, difference=True, steps=4, validate_every=2, validation_crystals=3, **kind)
    two, one = replace(config, out=config.out + "-two"), replace(config, out=config.out + "-one", batch_size=4)
    runs = start(starter, two)
    expected = train(one)
    assert finish(runs) == [0, 0]
    assert_close(last(two), last(one))
    rows = [(Path(run.out) / "log.csv").read_text().splitlines() for run in (one, two)]
    assert len(rows[0]) == len(rows[1]) == 3
    best = load_model(Path(two.out) / "best.safetensors").state_dict()
    assert_close(best, expected.model.state_dict())


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Four steps change a weight by about 1e-2; one without influence on a density changes by rounding, some 1e-6."""
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-5), name


def assert_same_weights(one: TrainConfig, other: TrainConfig) -> None:
    for name, value in last(one).items():
        assert torch.equal(last(other)[name], value), name


def test_a_killed_process_goes_on_within_the_epoch(starter, small):
    whole, broken = replace(small, out=small.out + "-whole"), replace(small, out=small.out + "-broken")
    assert end(start(starter, broken, 1, pause=0.5), broken, signal.SIGKILL) == [-9]
    assert 0 < steps_saved(broken) < small.steps
    for config in (broken, whole):
        train(replace(config, threads=1))
    assert_same_weights(whole, broken)


@pytest.mark.slow
def test_killed_and_ended_processes_go_on_within_the_epoch(starter, small):
    whole, broken = replace(small, out=small.out + "-whole"), replace(small, out=small.out + "-broken")
    assert end(start(starter, broken, pause=0.5), broken, signal.SIGKILL) == [-9, -9]
    assert end(start(starter, broken, pause=0.5), broken, signal.SIGTERM) == [130, 130]
    assert 0 < steps_saved(broken) < small.steps
    runs = start(starter, whole), start(starter, broken)
    assert [finish(run) for run in runs] == [[0, 0], [0, 0]]
    assert_same_weights(whole, broken)


def test_shares_cover_everything_once():
    shares = [Processes(rank, 3).share(range(11)) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(11))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
