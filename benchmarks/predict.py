"""Grid points a second and memory of predictions, by model, crystal and path, next to the published code.

    python benchmarks/predict.py [--quick] [--parts models symmetry atoms points] [--models charge3net ...]
                                 [--crystals mgo ternary perovskite] [--threads 2] [--repeats 3] [--points 1e4 2.4e7]

models: every model at its published size, on the compiled kernels ("fast") and by the network's own `decode` ("torch");
symmetry: one point of each orbit; atoms, points: growth with the size of the cell and of the grid. Wall time of
`predict`, neighbour search and encoding of the atoms included, the best of the repeats; each row is measured in a
process of its own, whose memory beyond the output array is given. "a core": points for a second of one processor, which
a busy machine changes less. The bound is what the measured rate of float32 matrix products (on the processor's time,
all threads) would do with the fewest multiplications that we know of.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import torch
from crystals import TERNARY

from ecd_data import Crystal
from ecd_data.symmetry import grid_orbits
from ecd_models import predict
from ecd_models.graph import Neighbors
from ecd_models.kernels import MAKERS
from ecd_models.model import DensityModel
from ecd_models.networks import build_model

MODELS = ["charge3net", "invcharge3net", "deepdft", "invdeepdft"]
# Points a second of the published code (AIforGreatGood/charge3net and peterbjorgensen/DeepDFT), float32 on two quiet
# cores of a Sapphire Rapids server at 2 GHz, without the building of its graphs (10 to 18 us a point more).
PUBLISHED = {
    "charge3net": {"mgo": 122, "ternary": 239},
    "invcharge3net": {"ternary": 6063, "perovskite": 2991, "mgo": 2320},
    "deepdft": {"ternary": 5584, "perovskite": 2570, "mgo": 2011},
    "invdeepdft": {"ternary": 3315, "perovskite": 1422, "mgo": 1272},
}


def rock_salt(repeats: tuple[int, int, int]) -> Crystal:
    """MgO in cubic cells of 8 atoms."""
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cell = np.concatenate([corners, (corners + [0.5, 0, 0]) % 1])
    shifts = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    places = ((cell + shifts) / repeats).reshape(-1, 3)
    return Crystal(np.diag(repeats) * 4.212, np.tile([12] * 4 + [8] * 4, len(shifts)), places)


def primitive() -> Crystal:
    """MgO in its cell of 2 atoms."""
    return Crystal(2.106 * (1 - np.eye(3)), np.array([12, 8]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


CRYSTALS = {
    "mgo": rock_salt((1, 1, 1)),
    "ternary": TERNARY,
    "perovskite": Crystal(  # SrTiO3
        np.eye(3) * 3.905,
        np.array([38, 22, 8, 8, 8]),
        np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    ),
}
GROWTH = [primitive(), *(rock_salt(n) for n in ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 3), (2, 3, 5)))]


@dataclass(frozen=True)
class Case:
    """What one process measures."""

    model: str
    crystal: Crystal
    shape: tuple[int, int, int]
    fast: bool
    symmetry: bool
    threads: int
    repeats: int


class Result(NamedTuple):
    """Points a second, points for a second of one processor, and bytes beyond the output."""

    speed: float
    core: float
    memory: int


def measure(case: Case) -> Result:
    """Predict with random weights; once before, on a small grid, so that kernels are compiled and loaded."""
    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    model = DensityModel(build_model(case.model), name=case.model)
    predict(model, case.crystal, shape=(8, 8, 8), symmetry=case.symmetry, fast=case.fast)
    before, count = peak(), int(np.prod(case.shape))
    wall, core = best(
        lambda: predict(model, case.crystal, shape=case.shape, symmetry=case.symmetry, fast=case.fast), case.repeats
    )
    return Result(count / wall, count / core, max(0, peak() - before - 8 * count))


def best(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The shortest wall and processor seconds."""
    wall = core = np.inf
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        work()
        wall, core = min(wall, time.perf_counter() - start), min(core, time.process_time() - used)
    return wall, core


def peak() -> int:
    """The most memory that this process had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_process(case: Case) -> Result:
    """`measure` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, case).result()


def sgemm_rate() -> float:
    """Multiplications of float32 matrix products for a second of one processor."""
    torch.set_num_threads(1)
    a = torch.randn(1024, 1024)
    return 1024**3 / best(lambda: a @ a, 20)[1]


def neighbours(crystal: Crystal, cutoff: float) -> tuple[float, float]:
    """Edges, and different atoms among their senders, for each grid point."""
    count = 4000
    points = np.random.default_rng(0).random((count, 3))
    edges = Neighbors(crystal, cutoff).probes(points)
    return len(edges.src) / count, len(np.unique(edges.dst * len(crystal) + edges.src)) / count


def operations(name: str, crystal: Crystal) -> float:
    """The fewest multiplications for a point: radial functions are cubics from tables, sums over edges come first.

    ChargE3Net: an edge contracts 2l+1 components; a point has two linear maps a layer. DeepDFT: an edge has scalar and
    vector messages; a point has perceptrons on both. invDeepDFT: each pair of point and atom has a linear map.
    """
    config: Any = build_model(name).config
    edges, pairs = neighbours(crystal, config.cutoff)
    layers = config.num_interactions
    if "charge3net" in name:
        scalars, total = config.channels[0], sum(config.channels)
        edge = sum(n * (3 + 1 + (2 * l + 1) * (l > 0)) for l, n in enumerate(config.channels))
        return edges * layers * edge + layers * total * (scalars + 1) + (layers - 1) * scalars**2 + scalars
    h = config.hidden_state_size
    if name == "deepdft":
        return edges * layers * (9 + 7) * h + layers * (6 + 6 + 5) * h**2
    later = layers - 1
    return edges * layers * 3 * h + pairs * (later * 2 * h**2 + layers * h) + (later * 2 * h**2 + layers * 4 * h**2)


def has_kernel(name: str) -> bool:
    """Whether compiled kernels are there for a model."""
    cls = type(build_model(name))
    return f"{cls.__module__}.{cls.__qualname__}" in MAKERS


WIDTHS = 16, 12, 8, 10, 11, 11, 11, 9, 11, 8


def row(*cells: object) -> None:
    """Print cells in columns."""
    texts = [f"{cell:,.0f}" if isinstance(cell, float) else str(cell) for cell in cells]
    columns = [text.ljust(w) if k < 3 else text.rjust(w) for k, (text, w) in enumerate(zip(texts, WIDTHS))]  # noqa: B905
    print("".join(columns), flush=True)


def by_model(options: argparse.Namespace) -> None:
    """All models on all crystals, compiled and not."""
    rate = sgemm_rate()
    print(f"\nfloat32 matrix products: {rate / 1e9:.1f} GMAC/s a core; {options.threads} threads")
    row("model", "crystal", "path", "edges", "points/s", "a core", "published", "ratio", "bound", "MB")
    for name in options.models:
        for crystal in options.crystals:
            cell = CRYSTALS[crystal]
            known = PUBLISHED[name].get(crystal)
            bound = rate * options.threads / operations(name, cell)
            for fast in (True, False):
                if fast and not has_kernel(name):
                    continue
                n = options.grid if fast else options.grid // 3
                found = in_process(Case(name, cell, (n, n, n), fast, False, options.threads, options.repeats))
                edges = f"{neighbours(cell, 4.0)[0]:.1f}"
                ratio = f"{found.speed / known:.1f}" if known else "-"
                path = "fast" if fast else "torch"
                row(name, crystal, path, edges, *found[:2], known or "-", ratio, bound, found.memory / 1e6)


def by_symmetry(options: argparse.Namespace) -> None:
    """Grid points a second with one point of each orbit asked for, and how many fewer these are."""
    print("\nsymmetry: points of the grid a second")
    row("model", "crystal", "path", "orbits", "points/s", "with", "ratio", "fewer", "MB")
    for name in options.models:
        for crystal in options.crystals:
            for fast in (True, False):
                if fast and not has_kernel(name):
                    continue
                n = options.grid if fast else options.grid // 3
                shape = (n, n, n)
                orbits = len(grid_orbits(CRYSTALS[crystal], shape).points)
                plain, less = (
                    in_process(Case(name, CRYSTALS[crystal], shape, fast, s, options.threads, options.repeats))
                    for s in (False, True)
                )
                path = "fast" if fast else "torch"
                ratio, fewer = f"{less.speed / plain.speed:.1f}", f"{n**3 / orbits:.1f}"
                row(name, crystal, path, orbits, plain.speed, less.speed, ratio, fewer, less.memory / 1e6)


def by_atoms(options: argparse.Namespace) -> None:
    """Growth with the atoms of the cell, on grids of the same number of points."""
    print("\natoms: MgO in cells of 2 to 240")
    row("model", "atoms", "path", "points", "points/s", "a core", "MB")
    n = options.grid
    for name in options.models:
        for cell in GROWTH if not options.quick else GROWTH[::5]:
            fast = has_kernel(name)
            found = in_process(Case(name, cell, (n, n, n), fast, False, options.threads, options.repeats))
            row(name, len(cell), "fast" if fast else "torch", n**3, *found[:2], found.memory / 1e6)


def by_points(options: argparse.Namespace) -> None:
    """Growth with the points of the grid."""
    print("\npoints: MgO, cell of 8 atoms")
    row("model", "", "path", "points", "points/s", "a core", "MB")
    for name in options.models:
        for points in options.points:
            n = round(points ** (1 / 3))
            fast = has_kernel(name)
            repeats = options.repeats if points < 1e6 else 1
            found = in_process(Case(name, CRYSTALS["mgo"], (n, n, n), fast, False, options.threads, repeats))
            row(name, "", "fast" if fast else "torch", n**3, *found[:2], found.memory / 1e6)


PARTS = {"models": by_model, "symmetry": by_symmetry, "atoms": by_atoms, "points": by_points}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small grids of MgO, once: a minute or two")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--crystals", nargs="+", choices=CRYSTALS, default=list(CRYSTALS))
    parser.add_argument("--points", nargs="+", type=float, default=[1e4, 1e5, 1e6, 1e7])
    parser.add_argument("--grid", type=int, default=48, help="points along each axis, a third of them for torch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.quick:
        options.crystals, options.points = ["mgo"], [1e4, 1e5]
        options.grid, options.repeats = 40, 1
    for part in options.parts:
        PARTS[part](options)
        if options.quick:
            options.models = options.models[:1]  # growth and symmetry of one model only


if __name__ == "__main__":
    main()
