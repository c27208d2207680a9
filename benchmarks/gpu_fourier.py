"""What a GPU does with fourier_density: its densities against those of a processor, points a second, a training step.

    python benchmarks/gpu_fourier.py [--device cuda] [--model fourier_density] [--repeats 7] [--steps 40]

Takes under a minute on a GPU. Times are wall times with the device's work done, the best of the repeats for
predictions (neighbours, network, atoms, transform and the copy to the processor included) and the median of the steps
after the first ones for training; memory is the largest that torch allocated on the device.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from crystals import TERNARY
from predict import rock_salt

from ecd_data import Crystal, open_store
from ecd_data.density_error import eps_mae
from ecd_models import load_model, predict, train
from ecd_models.training.config import load_config

RECIPE = Path(__file__).resolve().parents[1] / "examples" / "fourier_density_sample.toml"
CHECKED = ("MgO_rs", "Si_diamond", "C_diamond")  # crystals of the sample
FIRST = 15  # steps that decode densities


def check(name: str, device: str) -> None:
    """Print how far densities of the device are from those of the processor."""
    on_cpu, on_device = load_model(name), load_model(name).to(device)
    store = open_store("pbe")
    cases: dict[str, tuple[Crystal, tuple[int, int, int]]] = {
        id: (store[id].crystal, store[id].shape) for id in CHECKED if id in store
    }
    cases |= {"Na2V2O4": (TERNARY, (60, 64, 72)), "MgO": (rock_salt((1, 1, 1)), (48, 48, 48))}
    for label, (crystal, shape) in cases.items():
        one, other = predict(on_cpu, crystal, shape=shape), predict(on_device, crystal, shape=shape)
        largest = np.abs(one.values - other.values).max() / np.abs(one.values).max()
        print(
            f"{label:14} eps_mae {100 * eps_mae(other, one):.2e} %, largest {largest:.1e} of the largest density",
            flush=True,
        )


def measure(name: str, device: str, repeats: int) -> None:
    """Print points a second, milliseconds and memory by crystal and grid."""
    model = load_model(name).to(device)
    print(f"\n{'atoms':>6}{'grid':>6}{'ms':>10}{'M points/s':>12}{'MB of the device':>18}")
    for cells, grid in ((1, 96), (2, 96), (2, 192), (3, 192), (5, 320)):
        crystal, times = rock_salt((cells,) * 3), []
        predict(model, crystal, shape=(24, 24, 24))
        reset_memory(device)
        for _ in range(repeats if cells < 5 else 2):
            start = time.perf_counter()
            predict(model, crystal, shape=(grid,) * 3)
            times.append(time.perf_counter() - start)
        row = f"{len(crystal):6}{grid:6}{1e3 * min(times):10.1f}{grid**3 / min(times) / 1e6:12.1f}"
        print(f"{row}{peak_memory(device):18.0f}", flush=True)


def time_steps(device: str, steps: int) -> None:
    """Print the time of a training step on the sample by crystals in it."""
    print(f"\n{'crystals':>8}{'ms a step':>12}{'MB of the device':>18}")
    for crystals in (4, 16):
        times: list[float] = []
        reset_memory(device)
        with tempfile.TemporaryDirectory() as folder:
            recipe = load_config(RECIPE, settings=[f"device={device}", f"steps={FIRST + steps}"])
            changes = {"fraction": 0.25, "batch_size": crystals, "validate_every": FIRST + steps, "save_every": 0}
            train(
                replace(recipe, out=folder, **changes), lambda progress, times=times: times.append(time.perf_counter())
            )
        took = np.diff(times[FIRST:-1])
        print(f"{crystals:8}{1e3 * float(np.median(took)):12.1f}{peak_memory(device):18.0f}", flush=True)


def reset_memory(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device: str) -> float:
    """The largest memory in MB that torch allocated on a GPU; 0 for a processor."""
    return torch.cuda.max_memory_allocated() / 1e6 if device.startswith("cuda") else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="fourier_density")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    if options.device.startswith("cuda"):
        print(torch.cuda.get_device_name())
    check(options.model, options.device)
    time_steps(options.device, options.steps)
    measure(options.model, options.device, options.repeats)


if __name__ == "__main__":
    main()
