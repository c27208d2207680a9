"""How fast probes come: 16 crystals x 200 independent points a step, from this disk and from a server far away.

    python benchmarks/probes.py [--crystals 256] [--latency 0.03] [--seconds 10]

The floor of a step is 16 reads of 800 bytes: from memory-mapped files, or one round trip. A store of random densities
on 96^3 grids is made and its extract drawn; a server in a process of its own adds the latency to every request. Ways
take turns; the least time of a local step counts, and the mean over all that came of a remote one.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data import Crystal, Density
from ecd_data.store import Store, StoreWriter
from ecd_data.store.probes.draw import ProbeReader
from ecd_data.store.probes.extract import extract_probes
from ecd_data.work.recent_cache import RecentCache
from ecd_models.training.probe_batches import ProbeDataset

CRYSTALS, PROBES = 16, 200
CUTOFF = 4.0
SLOW = (0, 3)  # ways that are taken three times only


def make_store(path: Path, crystals: int, n: int) -> None:
    """A store of smooth random densities of eight atoms a cell, with its extract."""
    rng = np.random.default_rng(0)
    x = np.cos(2 * np.pi * np.arange(n) / n)
    grid = np.exp(2 * x)[:, None, None] * np.exp(x)[None, :, None] * (x + 1.1)
    with StoreWriter(path, bound=1e-4) as store:
        for number in range(crystals):
            crystal = Crystal(np.eye(3) * 6.0, np.full(8, 14), rng.random((8, 3)))
            store.add(f"c{number}", Density(crystal, grid * (1 + number)))
    extract_probes(path)


def serve(folder: str, latency: float, pipe: Any) -> None:
    """Answer range requests for files of a folder, each after the latency."""
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(latency)
        path = Path(folder) / request.path.lstrip("/")
        if not path.is_file():
            return web.Response(status=404)
        wanted = request.http_range
        with open(path, "rb") as file:
            file.seek(wanted.start or 0)
            data = file.read(-1 if wanted.stop is None else wanted.stop - (wanted.start or 0))
        head = {"Content-Length": str(path.stat().st_size)} if request.method == "HEAD" else None
        return web.Response(body=data, status=200 if wanted.stop is None else 206, headers=head)

    async def run() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


def draws(ids: list[str]) -> Iterator[tuple[int, str]]:
    """Epoch after epoch, the ids in an order of its own."""
    for epoch in count():
        for place in np.random.default_rng(epoch).permutation(len(ids)):
            yield epoch, ids[place]


def local_steps(path: Path) -> list[tuple[str, Callable[[int], object]]]:
    """Ways to a step's probes from the disk."""
    store = Store(path)
    chosen = [store.ids[k :: len(store) // CRYSTALS][:CRYSTALS] for k in range(len(store) // CRYSTALS)]

    def draw_from_decoded(step: int) -> None:
        rng = np.random.default_rng(step)
        for id in chosen[step % len(chosen)]:
            values = store[id].values.ravel()
            values[rng.integers(values.size, size=PROBES)]

    def read_extract(step: int) -> object:
        return store.probes(chosen[step % len(chosen)], PROBES, epoch=step)

    options: dict[str, Any] = {"cutoff": CUTOFF, "probes": PROBES, "seed": 0}
    without = ProbeDataset(ProbeReader(f"{path} without its extract", store.__getitem__, RecentCache(0)), **options)
    reading = ProbeDataset(store.probe_reader, **options)

    def trained_without(step: int) -> None:
        for id in chosen[step % len(chosen)]:
            without[step, id]

    def load_batch(step: int) -> object:
        return reading.__getitems__([(step, id) for id in chosen[step % len(chosen)]])

    reader, index = store.probe_reader, store.probe_reader.index
    assert index is not None
    places = [[index.place(id) for id in ids] for ids in chosen]

    def bytes_alone(step: int) -> object:
        at = 4 * PROBES * (step % 50)
        wanted = [(p.file, p.offset + at, p.offset + at + 4 * PROBES) for p in places[step % len(chosen)]]
        return reader._ranges.read(wanted)

    return [
        ("whole densities decoded, then drawn from", draw_from_decoded),
        ("store.probes", read_extract),
        ("floor: 16 x 800 bytes", bytes_alone),
        ("ecd train, decoding, with the probes' edges", trained_without),
        ("ecd train, from the extract, with the edges", load_batch),
    ]


def remote_rates(url: str, seconds: float) -> list[tuple[str, float]]:
    """Probes a second by one step after the other, and by the stream that reads ahead."""
    store = Store(url)
    ids, rates = store.ids, []
    for name, ahead, group in (("one step after the other", 1, CRYSTALS), ("stream, 8 x 32 crystals ahead", 8, 32)):
        probes = store.probe_reader.stream(draws(ids), PROBES, 0, group=group, ahead=ahead)
        for _ in range(2 * group):
            next(probes)
        started, taken = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            taken += len(next(probes))
        rates.append((name, taken / (time.perf_counter() - started)))
        probes.close()  # type: ignore[attr-defined]
    return rates


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=256)
    parser.add_argument("--grid", type=int, default=96)
    parser.add_argument("--latency", type=float, default=0.03, help="seconds a request waits")
    parser.add_argument("--seconds", type=float, default=10, help="of each remote measurement")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.ecd"
        make_store(path, options.crystals, options.grid)
        size = sum(file.stat().st_size for file in (path / "probes").iterdir())
        print(f"{options.crystals} crystals on {options.grid}^3, extract {size / 1e6:.1f} MB")
        print(f"\nfrom the disk, {CRYSTALS} crystals x {PROBES} probes{'ms a step':>24}")
        ways = local_steps(path)
        best = [np.inf] * len(ways)
        for step in range(200):
            for number, (_, way) in enumerate(ways):
                if number not in SLOW or step < 3:
                    started = time.perf_counter()
                    way(step)
                    best[number] = min(best[number], time.perf_counter() - started)
        for (name, _), seconds in zip(ways, best, strict=True):
            print(f"  {name:45}{1e3 * seconds:12.2f}")
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        server = context.Process(target=serve, args=(folder, options.latency, theirs), daemon=True)
        server.start()
        print(f"\nHTTP, {1e3 * options.latency:.0f} ms latency{'probes/s':>45}")
        for name, rate in remote_rates(f"http://127.0.0.1:{ours.recv()}/made.ecd", options.seconds):
            print(f"  {name:45}{rate:12,.0f}")
        server.terminate()


if __name__ == "__main__":
    main()
