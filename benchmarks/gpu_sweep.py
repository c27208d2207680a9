"""Times of the GPU kernels by their tuning parameters, and of the other parts of a prediction, in ns a point.

    python benchmarks/gpu_sweep.py [--points 65536] [--seconds 60] [--only K/N]

With --only, every N-th setting from the K-th is only run once: several processes of it compile the kernels side by
side, whose results Triton keeps on disk, and a run without it after them finds all of them there.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from gpu import MGO, network, on_device, wait

from ecd_models.device import Device
from ecd_models.device.bricks import GridBricks
from ecd_models.device.near import Near, count_near, find_near


class Setting(NamedTuple):
    """Points of a brick, channels of a tile, warps, degree of the radial pieces, stages of the loop over images."""

    model: str
    points: int
    width: int
    warps: int
    degree: int = 3
    stages: int = 1


EQUIVARIANT = [
    (32, 64, 4),
    (32, 64, 8),
    (32, 32, 4),
    (32, 32, 2),
    (32, 128, 8),
    (16, 64, 4),
    (16, 32, 2),
    (64, 64, 8),
    (64, 32, 4),
]
SETTINGS = [
    *(Setting("charge3net", *s) for s in EQUIVARIANT),
    *(Setting("charge3net", 32, 64, 4, d) for d in (2, 4)),
    *(Setting("charge3net", 32, 64, 4, 3, n) for n in (2, 3)),
    Setting("charge3net", 32, 32, 4, 2),
    Setting("charge3net", 32, 32, 4, 3, 2),
    Setting("charge3net", 64, 64, 8, 4),
    *(Setting("invcharge3net", *s) for s in EQUIVARIANT),
    *(Setting("invcharge3net", 32, 64, 4, d) for d in (2, 4)),
    Setting("invcharge3net", 32, 64, 4, 3, 2),
    *(
        Setting("deepdft", *s)
        for s in [(32, 32, 4), (32, 64, 8), (32, 32, 8), (16, 32, 4), (16, 32, 2), (16, 64, 4), (64, 32, 8)]
    ),
    *(Setting("deepdft", 32, 32, 4, d) for d in (2, 4)),
    Setting("deepdft", 32, 32, 4, 3, 2),
    *(
        Setting("invdeepdft", *s)
        for s in [(32, 64, 4), (32, 128, 8), (32, 32, 4), (16, 64, 4), (16, 128, 4), (64, 64, 8), (32, 32, 2)]
    ),
    *(Setting("invdeepdft", 32, 64, 4, d) for d in (2, 4)),
]


def options_of(setting: Setting) -> dict[str, int]:
    """The options of the kernels' class."""
    chosen = {"degree": setting.degree, "width": setting.width, "warps": setting.warps}
    return chosen if setting.model == "invdeepdft" else {**chosen, "stages": setting.stages}


def part(there: Device, size: int, points: int) -> tuple[Near, int, Callable[[], Near], Callable[[], object]]:
    """Some bricks of a grid of MgO, their pairs, and what finds and what counts them."""
    bricks = GridBricks((96, 96, 96), there.lattice, size, there.device, there.real)
    bricks.number = min(bricks.number, points // size)
    counts = count_near(there.images, bricks)
    entries = int(counts.entries.sum())

    def find() -> Near:
        return find_near(there.images, bricks, 0, bricks.number, entries)

    return find(), int(counts.pairs.sum()), find, lambda: count_near(there.images, bricks)


def time_work(work: Callable[[], object], device: torch.device, points: int, repeats: int = 5) -> float:
    """ns a point, the best of some repeats by the device's clock."""
    best = float("inf")
    work()
    for _ in range(repeats):
        wait(device)
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            wait(device)
            best = min(best, start.elapsed_time(end) * 1e6 / points)
        else:
            begin = time.perf_counter()
            work()
            best = min(best, (time.perf_counter() - begin) * 1e9 / points)
    return best


def parts_of(decoder: Any, near: Near, pairs: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """The parts of what a decoder does, each to be timed."""
    yield "all", lambda: decoder(near, pairs, 0)
    if hasattr(decoder, "_fields"):
        for l in range(len(decoder._fields)):
            yield f"l={l}", lambda l=l: decoder.messages(near, only=l)
    elif hasattr(decoder, "messages"):
        yield "messages", lambda: [decoder.messages(near, k) for k in range(len(decoder._sent))]
    else:
        from ecd_models.networks.invdeepdft.gpu_kernel import Pairs

        around = Pairs(near, pairs)
        state = torch.randn(near.rows, decoder._h, device=near.points.device)
        messages = decoder._messages(near, around, 1, state)
        yield "messages", lambda: [decoder._messages(near, around, k, state) for k in range(1, len(decoder._sent))]
        yield "sums", lambda: [decoder._sums(near, around, 1, messages) for _ in range(1, len(decoder._sent))]


def main() -> None:
    """Print a line for each setting, and the best of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=65536)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", default="")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    device, start = torch.device(options.device), time.perf_counter()
    chosen = SETTINGS
    if options.only:
        k, n = map(int, options.only.split("/"))
        chosen, options.points = SETTINGS[k::n], 512
    best: dict[str, tuple[float, Setting]] = {}
    with torch.no_grad():
        for name, settings in itertools.groupby(chosen, key=lambda s: s.model):
            there = on_device(network(name), MGO, device)
            for setting in settings:
                if time.perf_counter() - start > options.seconds:
                    print("no time left for", setting)
                    continue
                try:
                    near, pairs, find, count = part(there, setting.points, options.points)
                    decoder = there.make_kernels(**options_of(setting))
                    assert decoder is not None
                    works = dict(parts_of(decoder, near, pairs))
                    if options.only:
                        for work in works.values():
                            work()
                        continue
                    times = {key: time_work(work, device, near.rows) for key, work in works.items()}
                    times["find"], times["count"] = (time_work(work, device, near.rows, 2) for work in (find, count))
                except Exception as error:
                    print(setting, type(error).__name__, str(error).splitlines()[:1], flush=True)
                    continue
                best[name] = min(best.get(name, (float("inf"), setting)), (times["all"] + times["find"], setting))
                cells = "  ".join(f"{key} {value:.1f}" for key, value in times.items())
                label = "/".join(map(str, setting[1:]))
                print(f"{name:14} {label:16} {cells}", flush=True)
    for name, (shortest, setting) in best.items():
        print(f"best of {name}: {shortest:.1f} ns a point with {setting}")


if __name__ == "__main__":
    main()
