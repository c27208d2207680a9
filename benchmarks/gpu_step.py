"""What a training step takes on a GPU: time, kernels, memory and error of the four networks at the published sizes.

    python benchmarks/gpu_step.py [--device cuda] [--models charge3net ...] [--seconds 0.5] [--stages steps ...]

A step is 16 crystals x 200 probes of MgO (8 atoms, 28.7 edges a probe), forward, backward, clipping and Adam, with the
copy of a new batch from pinned memory. Everything is made here from seeds: no data set is needed. Errors are those of
the loss and of the gradients of two crystals, against double precision on the processor.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ecd_data.crystal import Crystal
from ecd_models.batch import ProbeBatch, collate, make_item, split_into_passes
from ecd_models.device_batch import BatchBuffer, pack, pack_passes
from ecd_models.graph import Neighbors
from ecd_models.kernels import groups
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from ecd_models.training.config import TrainConfig
from ecd_models.training.distributed import Processes
from ecd_models.training.train_step import Trainer

ROCKSALT = [
    [0, 0, 0],
    [0, 0.5, 0.5],
    [0.5, 0, 0.5],
    [0.5, 0.5, 0],
    [0.5, 0.5, 0.5],
    [0.5, 0, 0],
    [0, 0.5, 0],
    [0, 0, 0.5],
]
MGO = Crystal(4.21 * np.eye(3), np.array([12] * 4 + [8] * 4), np.array(ROCKSALT, dtype=float))
CRYSTALS, PROBES, CUTOFF = 16, 200, 4.0
MODELS = ("charge3net", "invcharge3net", "deepdft", "invdeepdft")
TARGETS = {"charge3net": 10.0, "invcharge3net": 8.0, "deepdft": 12.0, "invdeepdft": 15.0}  # ms
ATOMIC = "graph, atomic sums"
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")


class StepTime(NamedTuple):
    """The time of a step: ms of wall time, ms that kernels ran, their number, and the peak memory in GB."""

    wall: float
    busy: float
    kernels: float
    memory: float


def mgo(seed: int, crystals: int = CRYSTALS, probes: int = PROBES, dtype: torch.dtype = torch.float32) -> ProbeBatch:
    """A batch of MgO whose probes and densities are drawn at random."""
    random = np.random.default_rng(seed)
    items = []
    for _ in range(crystals):
        points, density = random.random((probes, 3)), random.random(probes)
        items.append(make_item(Neighbors(MGO, CUTOFF), MGO.numbers, points, density, dtype=dtype))
    return collate(items)


def make_trainer(name: str, device: str, crystals: int = CRYSTALS, probes: int = PROBES, **settings: Any) -> Trainer:
    """A new trainer of a network of the published sizes, the same weights each time."""
    torch.manual_seed(0)
    model = DensityModel(build_model(name)).to(device)
    config = TrainConfig(out="unused", model=name, batch_size=crystals, probes=probes, clip_norm=10.0, **settings)
    return Trainer(model, config, Processes(device=device))


def pack_batches(name: str, count: int = 4) -> list[BatchBuffer]:
    """Batches of a step in pinned memory."""
    kind = build_model(name, **({"mul": 60} if "charge3net" in name else {})).arrangement
    made = [pack(mgo(seed), kind) for seed in range(count)]
    return [batch.pin_memory() if torch.cuda.is_available() else batch for batch in made]


def seconds_a_step(step: Callable[[int], object], seconds: float) -> float:
    """The mean over steps that follow each other, after some that warm up."""
    for k in range(4):
        step(k)
    torch.cuda.synchronize()
    start, done = time.perf_counter(), 0
    while done < 5 or time.perf_counter() - start < seconds:
        step(done)
        done += 1
        if done % 4 == 0:
            torch.cuda.synchronize()  # a queue of steps would hide where the clock stops
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / done


def kernels_of(step: Callable[[int], object], steps: int = 2) -> tuple[float, float, list[tuple[str, float, int]]]:
    """ms a step that kernels ran, their number, and those that took longest: name, ms, number a step."""
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for k in range(steps):
            step(k)
        torch.cuda.synchronize()
    totals: dict[str, list[float]] = {}
    for event in profiler.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            total = totals.setdefault(event.name, [0.0, 0])
            total[0] += event.self_device_time_total / 1e3 / steps
            total[1] += 1 / steps
    longest = sorted(((name, ms, round(n)) for name, (ms, n) in totals.items()), key=lambda each: -each[1])
    return sum(ms for _, ms, _ in longest), sum(n for _, n in totals.values()), longest[:14]


def measure_step(step: Callable[[int], object], seconds: float) -> tuple[StepTime, list[tuple[str, float, int]]]:
    """The StepTime of a step, and the kernels that took longest."""
    torch.cuda.reset_peak_memory_stats()
    wall = seconds_a_step(step, seconds)
    memory = torch.cuda.max_memory_allocated() / 1e9
    busy, kernels, longest = kernels_of(step)
    return StepTime(1e3 * wall, busy, kernels, memory), longest


@contextmanager
def forbid_waiting() -> Iterator[None]:
    """A context in which an operation that waits for the device is an error."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def waits(trainer: Trainer, batches: list[BatchBuffer]) -> str:
    """ "none", or what waited for the device in three steps."""
    torch.cuda.synchronize()
    try:
        with forbid_waiting():
            for k in range(3):
                trainer.step([batches[k % len(batches)]], 1e-3)
    except RuntimeError:
        lines = traceback.format_exc().splitlines()
        return "; ".join(line.strip() for line in lines if "File" in line)[-300:] + f": {lines[-1]}"
    return "none"


def gradients(name: str, device: str, batch: Any, precision: str) -> tuple[float, Tensor]:
    """Loss and all gradients of two crystals; nothing is learned."""
    trainer = make_trainer(name, device, crystals=2, probes=100, precision=precision)
    for _ in range(12 if precision == "float16" else 1):  # until the scale of the loss lets no gradient overflow
        loss = trainer.step([batch], 0.0).read().loss
    return loss, torch.cat([p.grad.double().cpu().flatten() for p in trainer.model.parameters() if p.grad is not None])


def errors(name: str, device: str, precisions: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Relative errors of the loss and of all gradients together, by precision."""
    trainer = make_trainer(name, "cpu", crystals=2, probes=100)
    plain = mgo(99, 2, 100, torch.float64)
    trainer.model.double()
    exact = trainer.step([plain], 0.0).read().loss
    expected = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
    batch, found = pack(plain.to(dtype=torch.float32), trainer.model.network.arrangement), {}
    for precision in precisions:
        loss, gradient = gradients(name, device, batch, precision)
        difference = gradient - expected
        found[precision] = abs(loss / exact - 1), float(difference.norm() / expected.norm())
    return found


def compile_network(trainer: Trainer) -> None:
    """Have the network's passes compiled; recorded graphs hold the compiled kernels then."""
    trainer.model.network.forward = torch.compile(trainer.model.network.forward, dynamic=False)


def ways(name: str, device: str, compile_too: bool) -> list[tuple[str, Callable[[], Trainer]]]:
    """The ways to make a step that are compared."""

    def with_compiler() -> Trainer:
        trainer = make_trainer(name, device)
        compile_network(trainer)
        return trainer

    if compile_too:
        return [("graph, compiled", with_compiler)]
    by_precision = [(f"graph, {each}", partial(make_trainer, name, device, precision=each)) for each in PRECISIONS]
    plain = ("kernel by kernel", partial(make_trainer, name, device, cuda_graphs=False))
    return [by_precision[0], plain, *by_precision[1:], (ATOMIC, partial(make_trainer, name, device))]


@contextmanager
def disable_triton() -> Iterator[None]:
    """A context in which sums are atomic additions."""
    found, groups.triton = groups.triton, None
    try:
        yield
    finally:
        groups.triton = found


def way_line(make: Callable[[], Trainer], batches: list[BatchBuffer], seconds: float) -> tuple[str, list[str]]:
    """The figures of one way, and the kernels that took longest."""
    start = time.perf_counter()
    trainer = make()
    trainer.step([batches[0]], 1e-3).read()
    first = time.perf_counter() - start
    times, longest = measure_step(lambda k: trainer.step([batches[k % len(batches)]], 1e-3), seconds)
    line = f"{times.wall:8.2f} {times.busy:8.2f} {times.kernels:8.0f} {times.memory:8.2f} {first:8.1f}"
    graphs = "" if trainer.graphs is None or trainer.graphs.possible else "  NO GRAPH"
    kernels = [f"    {ms:7.3f} ms {count:5d} x {kernel[:100]}" for kernel, ms, count in longest]
    return f"{line}  waits: {waits(trainer, batches)}{graphs}", kernels


def model_lines(name: str, device: str, seconds: float, compile_too: bool = False) -> list[str]:
    """The lines of one network."""
    batches, lines = pack_batches(name), []
    for way, make in ways(name, device, compile_too):
        try:
            with disable_triton() if way == ATOMIC else nullcontext():
                line, kernels = way_line(make, batches, seconds)
        except Exception as error:  # a way that fails is a line of the table, the others go on
            traceback.print_exc()
            line, kernels = f"failed: {str(error).splitlines()[0][:120]}", []
        lines.append(f"{name:14} {way:18} {line}")
        print("\n".join([lines[-1], *(kernels if "float32" in way or "compiled" in way else [])]), flush=True)
        torch.cuda.empty_cache()
    for precision, (loss, gradient) in errors(name, device, () if compile_too else PRECISIONS).items():
        lines.append(f"{name:14} {precision:18} relative error of the loss {loss:.1e}, of the gradients {gradient:.1e}")
        print(lines[-1], flush=True)
    return [*lines, f"{name:14} target: {TARGETS[name]:g} ms"]


@contextmanager
def as_torchrun_does(port: int) -> Iterator[None]:
    """The variables by which torchrun tells one process that it is one of one."""
    variables = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "gpu_step"}
    os.environ.update(variables, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        yield
    finally:
        for name in (*variables, "MASTER_ADDR", "MASTER_PORT"):
            del os.environ[name]


def training_lines(device: str, name: str = "charge3net", steps: int = 12) -> list[str]:
    """Whole trainings on the sample: the same weights with nccl, without it, and after an interruption."""
    from ecd_models.checkpoint import load_checkpoint
    from ecd_models.training.loop import train

    found = {}
    with tempfile.TemporaryDirectory() as folder:

        def config(out: str, steps: int) -> TrainConfig:
            sizes = {"batch_size": 4, "validate_every": 4, "validation_crystals": 4, "save_every": 3}
            data = {"sample": True, "pool": 2048, "workers": 2, "clip_norm": 10.0, "ema": 0.9}
            return TrainConfig(out=f"{folder}/{out}", model=name, device=device, steps=steps, **sizes, **data)

        for out, joined, parts in (("alone", False, [steps]), ("nccl", True, [steps]), ("resumed", True, [7, steps])):
            for k, part in enumerate(parts):
                with as_torchrun_does(29500 + 10 * len(found) + k) if joined else nullcontext():
                    train(config(out, part))
            last = load_checkpoint(f"{folder}/{out}/last.safetensors")
            found[out] = dict(last.model.state_dict()) | {f"state.{key}": v for key, v in last.state.items()}
    lines = []
    for out in ("nccl", "resumed"):
        wrong = [key for key, value in found["alone"].items() if not torch.equal(value, found[out][key])]
        verdict = "equal to the last bit"
        if wrong:
            most = max(float((found["alone"][key] - found[out][key]).abs().max()) for key in wrong)
            verdict = f"{len(wrong)} tensors DIFFER by up to {most:.1e}, such as {wrong[0]}"
        lines.append(f"{name}, {steps} steps of train(): {out} against alone: {verdict}")
        print(lines[-1], flush=True)
    return lines


def made_store(path: Path, crystals: int) -> None:
    """A store of crystals of 4 to 40 atoms, 15 Å^3 each, with the extract of its probes."""
    from ecd_data.density import Density
    from ecd_data.store import StoreWriter
    from ecd_data.store.probes.extract import extract_probes

    random, wave = np.random.default_rng(0), 2 + np.cos(2 * np.pi * np.arange(32) / 32)
    density = np.multiply.outer(np.outer(wave, wave), wave) / 27
    with StoreWriter(path, bound=1e-4) as store:
        for k in range(crystals):
            atoms = int(random.integers(4, 41))
            lattice = (15 * atoms) ** (1 / 3) * (np.eye(3) + random.normal(0, 0.05, (3, 3)))
            sites = np.stack(np.meshgrid(*[np.arange(4) / 4] * 3), axis=-1).reshape(-1, 3)
            positions = random.permutation(sites)[:atoms] + random.normal(0, 0.02, (atoms, 3))
            store.add(f"c{k}", Density(Crystal(lattice, random.integers(1, 90, atoms), positions), density))
    extract_probes(path)


def pace_lines(device: str, models: tuple[str, ...], steps: int = 100, workers: int = 12) -> list[str]:
    """Steps of train() on crystals that differ: with the loader, the recordings and the reading of sums."""
    from ecd_models.training.loop import train

    lines = []
    with tempfile.TemporaryDirectory() as folder:
        made_store(Path(folder) / "made.ecd", 64)
        data = {
            "store": f"{folder}/made.ecd",
            "split": {"train": 0.8, "validation": 0.1, "test": 0.1, "rule": "random"},
        }
        for name in models:
            times: list[float] = []

            def note_time(_: object, times: list[float] = times) -> None:
                times.append(time.perf_counter())

            sizes = {"validation_crystals": 6, "validate_every": steps, "save_every": 0, "clip_norm": 1.0}
            more = {"workers": workers, "device": device, "lr": 1e-5}
            train(TrainConfig(out=f"{folder}/{name}", model=name, steps=steps, **data, **sizes, **more), note_time)
            late = np.diff(times[steps // 2 : steps - 1])
            lines.append(
                f"{name:14} train(), 4 to 40 atoms, {workers} workers: median {1e3 * np.median(late):.2f} ms, "
                f"mean {1e3 * late.mean():.2f} ms a step in its second half, {CRYSTALS / late.mean():,.0f} crystals/s"
            )
            print(lines[-1], flush=True)
    return lines


def loader_lines(workers: int = 15, seconds: float = 1.5) -> list[str]:
    """Crystals a second that worker processes draw and arrange, from an extract on the disk, without a network."""
    from torch.utils.data import DataLoader

    from ecd_data.store import open_store
    from ecd_models.training.probe_batches import EpochBatches, ProbeDataset

    lines = []
    with tempfile.TemporaryDirectory() as folder:
        made_store(Path(folder) / "made.ecd", 32)
        store = open_store(Path(folder) / "made.ecd")
        data = ProbeDataset(store.probe_reader, cutoff=CUTOFF, probes=PROBES, seed=0)
        for kind in ("pairs", "blocks"):
            for count in sorted({1, workers}):
                made = partial(pack_passes, partial(split_into_passes, crystals=CRYSTALS), kind)
                draws = EpochBatches(store.ids, CRYSTALS, 0, 0, 10**6)
                loader = iter(DataLoader(data, batch_sampler=draws, collate_fn=made, num_workers=count))
                for _ in range(4 * count):
                    next(loader)
                start, done = time.perf_counter(), 0
                while time.perf_counter() - start < seconds:
                    next(loader)
                    done += 1
                speed = CRYSTALS * done / (time.perf_counter() - start)
                del loader
                lines.append(f"loader, {kind}, 4 to 40 atoms, {count} workers: {speed:,.0f} crystals/s")
                print(lines[-1], flush=True)
    return lines


STAGES = ("steps", "train", "pace", "loader", "compile")


def step_table(
    device: str = "cuda", models: tuple[str, ...] = MODELS, seconds: float = 0.5, stages: tuple[str, ...] = STAGES[:1]
) -> str:
    """The table of all networks, then the lines of further stages."""
    head = f"{'model':14} {'way':18} {'wall ms':>8} {'busy ms':>8} {'kernels':>8} {'peak GB':>8} {'first s':>8}"
    lines = [f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}: a step of 16 x 200, MgO", head]
    print("\n".join(lines), flush=True)
    work: dict[str, list[Callable[[], list[str]]]] = {
        "steps": [partial(model_lines, name, device, seconds) for name in models],
        "train": [partial(training_lines, device)],
        "pace": [partial(pace_lines, device, models)],
        "loader": [loader_lines],
        "compile": [partial(model_lines, name, device, seconds, compile_too=True) for name in models],
    }
    for stage in stages:
        for part in work[stage]:
            try:
                lines += part()
            except Exception as error:  # a stage that fails is a line of the table, the others go on
                traceback.print_exc()
                lines.append(f"{stage} failed: {error}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    options = parser.parse_args()
    print(step_table(options.device, tuple(options.models), options.seconds, tuple(options.stages)))
