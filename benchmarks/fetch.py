"""How fast `ecd fetch` turns files of a web server into a store, with one and more processes that decode and encode.

    python benchmarks/fetch.py [--files 24] [--grid 96] [--workers 1 2] [--tries 3]

A server in a process of its own gives archives like the release's, whose densities are smooth random ones of eight
atoms on grid^3 points (HSE's mean is 95^3). The floor is a plain download of the same files over as many connections.
Ways take turns, the least time counts; the processes' start is in it.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import io
import multiprocessing
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import requests

from ecd_data import Crystal, Density, fetch
from ecd_data.download.plan import plan_fetch
from ecd_data.formats import find_renderer

CONNECTIONS = 4
FIRST = 4  # distinct densities


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A static server."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


def serve(folder: str, pipe: Any) -> None:
    """Answer requests for files of a folder."""
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        pipe.send(server.server_port)
        server.serve_forever()


def archive(n: int, seed: int) -> bytes:
    """A CHGCAR of eight atoms on n^3 points in a .tar.gz."""
    rng = np.random.default_rng(seed)
    coords = rng.random((8, 3))
    grid = np.zeros((n, n, n))
    axis = np.arange(n) / n
    for atom in coords:
        near = [(axis - x + 0.5) % 1 - 0.5 for x in atom]
        a, b, c = (np.exp(-80 * each**2) for each in near)
        grid += a[:, None, None] * b[:, None] * c
    text = find_renderer("CHGCAR")(Density(Crystal(np.eye(3) * 6.0, np.full(8, 14), coords), grid))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as tar:
        info = tarfile.TarInfo("CHGCAR")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return buffer.getvalue()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--grid", type=int, default=96)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tries", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_fetch("hmat_*", limit=options.files)
        bodies = [archive(options.grid, seed) for seed in range(FIRST)]
        for number, id in enumerate(plan.ids):
            Path(folder, id).write_bytes(bodies[number % FIRST])
        size = sum(len(bodies[number % FIRST]) for number in range(options.files))
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        server = context.Process(target=serve, args=(folder, theirs), daemon=True)
        server.start()
        mirror = f"http://127.0.0.1:{ours.recv()}/{{id}}"
        urls = [mirror.replace("{id}", id) for id in plan.ids]

        def downloaded(_: Path) -> None:
            with ThreadPoolExecutor(CONNECTIONS) as threads:
                list(threads.map(lambda url: len(requests.get(url, timeout=60).content), urls))

        def fetched(dest: Path, workers: int) -> None:
            report = fetch("hmat_*", dest, limit=options.files, mirror=mirror, connections=CONNECTIONS, workers=workers)
            assert len(report.added) == options.files, report

        ways: dict[str, Callable[[Path], None]] = {"download alone": downloaded}
        ways |= {f"fetch, workers {n}": functools.partial(fetched, workers=n) for n in options.workers}
        best = dict.fromkeys(ways, np.inf)
        for number in range(options.tries):
            for name, way in ways.items():
                started = time.perf_counter()
                way(Path(folder, f"{number} {name}.ecd"))
                best[name] = min(best[name], time.perf_counter() - started)
        server.terminate()
    print(f"{options.files} files of {options.grid}^3 values, {size / 1e6:.0f} MB; {CONNECTIONS} connections")
    for name, seconds in best.items():
        print(f"{name:20}{options.files / seconds:8.1f} files/s{size / 1e6 / seconds:8.1f} MB/s")


if __name__ == "__main__":
    main()
