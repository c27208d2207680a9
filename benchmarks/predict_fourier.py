"""Points a second of fourier_density next to its floor, one inverse FFT; growth with atoms and grid; memory.

    python benchmarks/predict_fourier.py [--threads 2] [--repeats 7] [--grid 96] [--model fourier_density]

Wall time of `predict` with everything (neighbours, network, superposed atoms, pairs, FFT, checks), the best of the
repeats, in a process of its own, whose memory beyond the output array is given; "a core" and all milliseconds are
those of the processor, which a busy machine changes less; "floor" is the transform alone, from
single precision waves to a double precision grid. "plain" is the same without compiled sums.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import torch
from predict import best, peak, primitive, rock_salt
from scipy import fft

from ecd_data import Crystal
from ecd_models import load_model, predict


class Case(NamedTuple):
    """What is predicted, and how."""

    model: str
    crystal: Crystal
    grid: int
    fast: bool | None
    threads: int
    repeats: int


def measure(case: Case) -> tuple[float, float, float, float]:
    """Wall and processor seconds of a prediction, processor seconds of the transform alone, and memory in bytes."""
    torch.set_num_threads(case.threads)
    model, shape = load_model(case.model), (case.grid,) * 3
    predict(model, case.crystal, shape=(24, 24, 24), fast=case.fast)
    before, points = peak(), case.grid**3
    seconds, used = best(lambda: predict(model, case.crystal, shape=shape, fast=case.fast), case.repeats)
    memory = max(0, peak() - before - 8 * points)
    waves = np.zeros((case.grid, case.grid, case.grid // 2 + 1), np.complex64)
    _, floor = best(lambda: fft.irfftn(waves, s=shape, workers=case.threads).astype(np.float64), case.repeats)
    return seconds, used, floor, memory


def row(name: str, case: Case) -> None:
    """Measure a case in a process of its own and print it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        seconds, used, floor, memory = pool.submit(measure, case).result()
    points = case.grid**3
    print(
        f"{name:24}{len(case.crystal):6}{case.grid:6}{points / seconds / 1e6:10.2f}{points / used / 1e6:10.2f}"
        f"{1e3 * used:10.1f}{1e3 * floor:10.1f}{used / floor:8.1f}{memory / 1e6:8.0f}",
        flush=True,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--grid", type=int, default=96)
    parser.add_argument("--model", default="fourier_density")
    options = parser.parse_args()

    def case(crystal: Crystal, grid: int, fast: bool | None = None) -> Case:
        return Case(options.model, crystal, grid, fast, options.threads, options.repeats)

    print(
        f"{'':24}{'atoms':>6}{'grid':>6}{'M points/s':>12}{'a core':>8}{'ms':>10}{'floor ms':>10}{'ratio':>8}{'MB':>8}"
    )
    mgo = rock_salt((1, 1, 1))
    row("MgO", case(mgo, options.grid))
    row("MgO, plain", case(mgo, options.grid // 2, fast=False))
    row("MgO, primitive", case(primitive(), options.grid))
    for repeats in ((2, 1, 1), (2, 2, 1), (2, 2, 2), (3, 3, 2)):
        row("MgO, same grid", case(rock_salt(repeats), options.grid))
    for grid in (48, 144, 192):
        row("MgO, other grids", case(mgo, grid))


if __name__ == "__main__":
    main()
