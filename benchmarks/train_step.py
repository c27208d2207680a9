"""Seconds of a training step (forward, backward, Adam) at the published sizes, and what loading its samples takes.

    python benchmarks/train_step.py [--threads 2] [--repeats 5] [--models charge3net deepdft ...]

The crystal is the triclinic cell of 8 atoms on which the published code was timed (two quiet cores, float32); the best
of the repeats counts. Loading is of the same cell on a grid of 645,120 points, about ECD's median, from a store.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from crystals import TERNARY

from ecd_data import open_store
from ecd_data.store import StoreWriter
from ecd_data.store.probes.draw import ProbeReader
from ecd_data.store.probes.extract import extract_probes
from ecd_models.atoms.fitted import EXPONENTS, MAX_ELEMENT, SuperposedAtoms
from ecd_models.batch import ProbeBatch, collate
from ecd_models.networks import build_model
from ecd_models.training.probe_batches import ProbeDataset

SHAPE = (80, 84, 96)
# Published training settings: crystals and probes of a step. Seconds a step of the published code, where it was timed.
SETTINGS = {
    "charge3net": [(1, 200), (16, 200)],
    "charge3net-4layer": [(1, 200)],
    "invcharge3net": [(1, 200), (16, 200)],
    "deepdft": [(1, 200), (2, 200), (4, 200), (2, 1000)],
    "invdeepdft": [(1, 200), (2, 1000)],
}
PUBLISHED = {
    ("charge3net", 1, 200): 3.16,
    ("deepdft", 1, 200): 0.093,
    ("deepdft", 2, 200): 0.255,
    ("deepdft", 4, 200): 0.57,
}
PUBLISHED_LOADING = "20 to 41"  # ms a sample


def made_store(folder: Path) -> Path:
    """A store with one density: Gaussian atoms of 1/Å^2 widths that a grid of this size resolves."""
    coefficients = np.full((MAX_ELEMENT + 1, len(EXPONENTS)), np.nan)
    for z, electrons in ((8, 6.0), (11, 9.0), (23, 13.0)):
        coefficients[z] = electrons * np.eye(len(EXPONENTS))[6:12].mean(axis=0)
    with StoreWriter(folder / "made.ecd") as writer:
        writer.add("ternary", SuperposedAtoms(coefficients)(TERNARY, SHAPE))
    return folder / "made.ecd"


def fastest(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The shortest wall and processor seconds: the second says what a busy machine hides, most with one thread."""
    times = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    walls, processors = zip(*times, strict=True)
    return min(walls), min(processors)


def step_seconds(name: str, batch: ProbeBatch, repeats: int) -> tuple[float, float]:
    """A step of a new network of this name, wall and processor."""
    torch.manual_seed(0)
    network = build_model(name)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        assert batch.target is not None
        (network(batch) - batch.target).abs().mean().backward()
        optimizer.step()

    step()
    return fastest(step, repeats)


def print_loading(store: Path, step: float, repeats: int) -> None:
    """What a sample takes in each way of keeping densities, next to a step of one crystal."""

    def samples(path: Path) -> ProbeDataset:
        opened = open_store(path)
        return ProbeDataset(ProbeReader(opened.root, opened.__getitem__), cutoff=4.0, probes=200, seed=0)

    held = samples(store)
    held[0, "ternary"]
    ways = {
        "decoded from the store": lambda: samples(store)[1, "ternary"],
        "kept in memory": lambda: held[1, "ternary"],
    }
    seconds = {way: fastest(work, 4 * repeats)[0] for way, work in ways.items()}
    extract_probes(store)
    extracted = samples(store)
    seconds["extract of `ecd probes` on disk"] = fastest(lambda: extracted[1, "ternary"], 4 * repeats)[0]
    print(f"\n{'a sample of 200 probes':32} {'ms':>8} {'share of a ChargE3Net step':>28}")
    for way, taken in seconds.items():
        print(f"{way:32} {1e3 * taken:8.2f} {100 * taken / step:27.1f} %")
    print(f"{'published code':32} {PUBLISHED_LOADING:>8}")


parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--repeats", type=int, default=5)
parser.add_argument("--models", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
options = parser.parse_args()
torch.set_num_threads(options.threads)
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    store = made_store(folder)
    columns = f"{'model':18} {'crystals x probes':>18} {'s a step':>10} {'processor s':>12} {'crystals/s':>11}"
    print(f"{columns} {'published s':>12} {'ratio':>7}")
    steps = {}
    for model in options.models:
        for crystals, probes in SETTINGS[model]:
            samples = ProbeDataset(open_store(store).probe_reader, cutoff=4.0, probes=probes, seed=0)
            batch = collate([samples[epoch, "ternary"] for epoch in range(crystals)])
            seconds, processor = step_seconds(model, batch, options.repeats)
            steps[model, crystals] = seconds
            known = PUBLISHED.get((model, crystals, probes))
            last = f"{known:12.3f} {known / seconds:7.1f}" if known else f"{'not timed':>12}"
            size = f"{crystals} x {probes}"
            print(
                f"{model:18} {size:>18} {seconds:10.3f} {processor:12.3f} {crystals / seconds:11.1f} {last}", flush=True
            )
    print_loading(store, steps.get(("charge3net", 1), float("nan")), options.repeats)
