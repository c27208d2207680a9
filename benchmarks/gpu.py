"""What a GPU does with the four models: outputs against references, points a second, step times, memory, precision.

    python benchmarks/gpu.py [--device cuda] [--stages check speed profile memory precision steps] [--grid 96]

Needs a GPU that torch sees, and takes under three minutes on one. References are made here: networks of the published
sizes with weights from a seed, in float64 on the processor; tests/models/test_published_parity.py holds these networks
to outputs of the published code. Next to each figure is that of the published code on one H200, where it was run.
Triton compiles the kernels at their first use, which is not part of the times.

Where nothing can be installed, carry what is missing: download wheels for the machine's Python elsewhere,

    pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
        -d wheels e3nn opt_einsum opt_einsum_fx safetensors scipy pyarrow

install them there with `pip install --no-index --no-deps --target /tmp/site wheels/*.whl`, and run with
PYTHONPATH=/tmp/site:<this repository>. Prediction needs numpy, scipy, pyarrow, torch, e3nn and safetensors only; torch
for CUDA brings its Triton.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from crystals import TERNARY

from ecd_data import Crystal
from ecd_data.errors import EcdError
from ecd_models import predict
from ecd_models.batch import make_item
from ecd_models.device import Device
from ecd_models.device.near import Near
from ecd_models.device.plain_decoder import PlainDecoder
from ecd_models.graph import Neighbors
from ecd_models.model import DensityModel
from ecd_models.networks import build_model

MODELS = ["charge3net", "invcharge3net", "deepdft", "invdeepdft"]
# Points a second on MgO on one H200: the published code with its atoms encoded once, without building its graph.
PUBLISHED = {"charge3net": 25_100}
BEFORE = {"charge3net": 135_000, "invcharge3net": 178_000, "deepdft": 57_000, "invdeepdft": 20_000}
GOALS = {"charge3net": 1e7, "invcharge3net": 3e6, "deepdft": 3e6, "invdeepdft": 3e6}
CHECKED = 200  # points of each crystal
CORNERS = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
MGO = Crystal(np.eye(3) * 4.212, np.repeat([12, 8], 4), np.concatenate([CORNERS, (CORNERS + [0.5, 0, 0]) % 1]))
CRYSTALS = {"mgo": MGO, "ternary": TERNARY}


def network(name: str) -> Any:
    """A network of the published size with weights from a seed."""
    torch.manual_seed(0)
    return build_model(name).eval()


def on_device(net: Any, crystal: Crystal, device: torch.device) -> Device:
    """A network on a device, with the atoms of a crystal encoded."""
    neighbors = Neighbors(crystal, net.cutoff)
    net = copy.deepcopy(net).to(device)
    item = make_item(neighbors, crystal.numbers, np.zeros((0, 3))).to(device)
    return Device(net, net.encode(item), item, neighbors)


def exact(net: Any, crystal: Crystal, points: np.ndarray) -> np.ndarray:
    """The network's outputs in float64 on the processor."""
    net = copy.deepcopy(net).double()
    item = make_item(Neighbors(crystal, net.cutoff), crystal.numbers, points, dtype=torch.float64)
    return net.decode(net.encode(item), item).numpy()


def wait(device: torch.device) -> None:
    """Wait for all that a device was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """The shortest wall time of some repeats, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def row(*cells: object) -> None:
    """Print cells in columns."""
    print("".join(str(cell).ljust(18) if k == 0 else str(cell).rjust(14) for k, cell in enumerate(cells)), flush=True)


def ceilings(device: torch.device, options: argparse.Namespace) -> None:
    """The card and its two rates: float32 products and copies."""
    print(f"torch {torch.__version__}; Triton {'there' if importlib.util.find_spec('triton') else 'missing'}")
    if device.type == "cuda":
        print(torch.cuda.get_device_name(device))
    a = torch.randn(4096, 4096, device=device)
    rate = 2 * 4096**3 / seconds(lambda: a @ a, device)
    wide = torch.empty(1 << 28, device=device)
    copied = 8 * wide.numel() / seconds(lambda: wide.clone(), device)
    print(f"float32 products {rate / 1e12:.1f} TFLOP/s, copies {copied / 1e12:.2f} TB/s, both ways counted")


def check(device: torch.device, options: argparse.Namespace) -> None:
    """Outputs against float64: the largest difference as a part of the largest output."""
    print("\nerror of outputs, parts of the largest (1e-5 is asked for)")
    row("model", "crystal", "torch", "kernels")
    rng = np.random.default_rng(1)
    for name in options.models:
        net = network(name)
        for crystal in CRYSTALS:
            cell = CRYSTALS[crystal]
            points = np.concatenate([rng.random((CHECKED, 3)), cell.frac_coords])
            reference = exact(net, cell, points)
            there = on_device(net, cell, device)
            kernels = there.kernels()
            errors = []
            for decoder in (there.plain, kernels):
                if decoder is None:
                    errors.append("none")
                    continue
                found = there.at_points(decoder, points)[0].cpu().numpy()
                errors.append(f"{np.abs(found - reference).max() / np.abs(reference).max():.1e}")
            row(name, crystal, *errors)


def speed(device: torch.device, options: argparse.Namespace) -> None:
    """Wall time of `predict` on a whole grid: encoding, neighbours, kernels, output on the processor."""
    n = options.grid
    print(f"\npoints a second of predict, MgO on {n}^3; by the network's own decode on half of that each way;")
    print("and what a prediction takes however small it is (512 points)")
    row("model", "kernels", "torch", "least, ms", "atoms, ms", "goal", "before", "published")
    for name in options.models:
        net = network(name)
        model, there = DensityModel(net.to(device), name=name), on_device(net, MGO, device)

        def seconds_on(size: int, fast: bool | None, model: DensityModel = model) -> float:
            return seconds(lambda: predict(model, MGO, shape=(size,) * 3, fast=fast, refuse=False), device)

        cells = [f"{n**3 / seconds_on(n, None):,.0f}", f"{(n // 2) ** 3 / seconds_on(n // 2, False):,.0f}"]
        try:
            least = f"{1e3 * seconds_on(8, True):.1f}"
        except EcdError:
            least = "-"
        encoding = seconds(lambda there=there: there.network.encode(there.encoded), device)  # type: ignore[misc]
        published = f"{PUBLISHED[name]:,}" if name in PUBLISHED else "-"
        row(name, *cells, least, f"{1e3 * encoding:.1f}", f"{GOALS[name]:,.0f}", f"{BEFORE[name]:,}", published)


def profile(device: torch.device, options: argparse.Namespace) -> None:
    """Kernels, busy share and the largest parts of one prediction."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    n = options.grid
    for name in options.models:
        model = DensityModel(network(name).to(device), name=name)
        predict(model, MGO, shape=(n, n, n), refuse=False)
        wait(device)
        with torch.profiler.profile(activities=activities) as recorded:
            start = time.perf_counter()
            predict(model, MGO, shape=(n, n, n), refuse=False)
            wait(device)
            wall = time.perf_counter() - start
        found = [e for e in recorded.key_averages() if e.device_type != torch.autograd.DeviceType.CPU]
        busy = sum(e.self_device_time_total for e in found) / 1e6
        count = sum(e.count for e in found)
        print(f"\n{name}: {1e3 * wall:.1f} ms, busy {1e3 * busy:.1f} ms ({100 * busy / wall:.0f} %), {count:,} kernels")
        for event in sorted(found, key=lambda e: -e.self_device_time_total)[:8]:
            print(f"  {event.self_device_time_total / 1e3:8.2f} ms {event.count:6d}  {event.key[:90]}")


def memory(device: torch.device, options: argparse.Namespace) -> None:
    """Memory for 24 million points."""
    print("\n24 million points")
    row("model", "seconds", "points/s", "GB at most")
    n = 288
    for name in options.models:
        model = DensityModel(network(name).to(device), name=name)
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        start = time.perf_counter()
        predict(model, MGO, shape=(n, n, n), refuse=False)
        wall = time.perf_counter() - start
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else float("nan")
        row(name, f"{wall:.2f}", f"{n**3 / wall:,.0f}", f"{peak / 1e9:.2f}")


def precision(device: torch.device, options: argparse.Namespace) -> None:
    """What shorter numbers cost in error and bring in time; the kernels know float32 and tf32 only."""
    print("\nshorter numbers: error as a part of the largest output, and ns a point (the network's own decode: torch)")
    row("model", "path", "float32", "tf32", "bfloat16", "float16")
    for name in options.models:
        net = network(name)
        there = on_device(net, MGO, device)
        points = np.random.default_rng(2).random((2000, 3))
        for path, decoder in (("kernels", there.kernels()), ("torch", AutocastDecoder(there, device))):
            if decoder is None:
                continue
            n = options.grid if path == "kernels" else options.grid // 3
            cells = []
            first: Any = None
            for kind in ("float32", "tf32", "bfloat16", "float16"):
                if path == "kernels" and kind not in ("float32", "tf32"):
                    cells.append("-")
                    continue
                try:
                    found, time_taken = _shorter(there, decoder, points, n, kind, device)
                except Exception as error:
                    cells.append(type(error).__name__[:13])
                    continue
                first = found if first is None else first
                difference = float((found - first).abs().max() / first.abs().max())
                cells.append(f"{difference:.0e} {1e9 * time_taken / n**3:.0f}")
            row(name, path, *cells)


class AutocastDecoder(PlainDecoder):
    """The network's own `decode` under autocast to a dtype, which `Device` itself never uses."""

    dtype: torch.dtype | None = None

    def __init__(self, there: Device, device: torch.device):
        super().__init__(there.network, there.features, there.encoded)
        self._device = device

    def __call__(self, near: Near, pairs: int, edges: int) -> torch.Tensor:
        """The outputs at the points of some bricks."""
        with torch.autocast(self._device.type, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            return super().__call__(near, pairs, edges)


def _shorter(there: Device, decoder: Any, points: np.ndarray, n: int, kind: str, device: torch.device) -> Any:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
    if isinstance(decoder, AutocastDecoder):
        decoder.dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(kind)
    try:
        found = there.at_points(decoder, points)[0]
        return found, seconds(lambda: there.on_grid(decoder, (n, n, n)), device, 2)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def steps(device: torch.device, options: argparse.Namespace) -> None:
    """Training steps: the table of benchmarks/gpu_step.py, which prints it line by line."""
    if device.type != "cuda":
        print("\ntraining steps: no CUDA device, none measured")
        return
    import gpu_step

    print()
    with torch.enable_grad():
        gpu_step.step_table(str(device), tuple(options.models))


STAGES = {
    "ceilings": ceilings,
    "check": check,
    "speed": speed,
    "profile": profile,
    "memory": memory,
    "precision": precision,
    "steps": steps,
}


def main() -> None:
    """Print the tables, one stage after the other; a stage that fails says why, and the next one follows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--grid", type=int, default=96)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("ecd_models").setLevel(logging.DEBUG)
    logging.getLogger("ecd_models").addFilter(
        lambda record: "kernels" in record.getMessage() or "Triton" in record.getMessage()
    )
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here: run this where it does, or with --device cpu")
    torch.set_num_threads(min(16, torch.get_num_threads()))
    for name in options.stages:
        start = time.perf_counter()
        try:
            with torch.no_grad():
                STAGES[name](device, options)
        except Exception as error:
            logging.exception("stage %s failed: %s", name, error)
        print(f"[{name}: {time.perf_counter() - start:.1f} s]", flush=True)


if __name__ == "__main__":
    main()
