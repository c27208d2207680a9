"""Stores of the release's size: a simulated release, how long it takes to open, and what one crystal costs.

    python benchmarks/store_scale.py LISTS [--folder DIR] [--shapes N]

LISTS is the folder with the release's hse_probe_counts.csv.gz, which has HSE's grid shapes. The simulated release has
the real ids of PBE and HSE; its densities are those of the embedded sample, for HSE resampled to the real grids (with
--shapes to N of the 1,321 distinct ones, and the others to the nearest in size). It stays in DIR and is made once.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import http.server
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ecd_data import Density, Store, load_split, open_store
from ecd_data.store import StoreWriter
from ecd_data.store.index import INDEX, LOCATION_COLUMNS, Index, save_index
from ecd_data.store.packing import PackedCrystal, pack_crystal

TRIES = 3
GROWTH = (1_000, 10_000)
BOUND = 1e-4
RAM_MB, SECONDS = 300, 1.0


def ids_of(task: str) -> list[str]:
    """All ids of a task's set, in the order of its lists."""
    return [id for ids in load_split(task).values() for id in ids]


def grid_shapes(lists: Path) -> dict[str, tuple[int, int, int]]:
    """The real grid of each HSE crystal, by id."""
    with gzip.open(lists / "hse_probe_counts.csv.gz", "rt") as file:
        return {row[0].removesuffix(".chgcar"): (int(row[2]), int(row[3]), int(row[4])) for row in csv.reader(file)}


def payloads() -> list[PackedCrystal]:
    """Crystals of the embedded sample, packed as a conversion would."""
    sample = open_store("pbe")
    return [pack_crystal(id, sample[id], bound=BOUND) for id in sample.ids[:: len(sample) // 80]]


def rename_crystal(item: PackedCrystal, id: str, number: int) -> PackedCrystal:
    """The crystal under another id, with a geometry of its own, since equal ones would compress as real ones do not."""
    rng = np.random.default_rng(number)
    moved = np.array(item.row["frac_coords"]) + rng.normal(scale=1e-3, size=(item.row["natoms"], 3))
    row = {"id": id, "source": f"{id}.chgcar", "source_sha256": rng.bytes(32).hex()}
    row |= {"frac_coords": moved.tolist(), "lattice": (np.array(item.row["lattice"]) * rng.normal(1, 1e-3)).tolist()}
    described = json.loads(item.entries["zarr.json"])
    described["attributes"] |= row
    entries = item.entries | {"zarr.json": json.dumps(described, indent=2).encode()}
    return PackedCrystal(entries, item.row | row)


def write(path: Path, ids: list[str], items: Iterator[PackedCrystal]) -> float:
    """Seconds that writing took; nothing where the store is there."""
    if (path / INDEX).exists() and len(Store(path)) == len(ids):
        return 0.0
    spent = 0.0
    with StoreWriter(path) as writer:
        for number, (id, item) in enumerate(track(zip(ids, items, strict=True), total=len(ids), description=path.name)):
            if id not in writer:
                again = rename_crystal(item, id, number)
                started = time.perf_counter()
                writer.put(again)
                spent += time.perf_counter() - started
    return spent


def measure_saving(path: Path) -> float:
    """Seconds that replacing the index takes, as after each part."""
    table = Index(path / INDEX).table()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        save_index(table, Path(folder) / INDEX)
        return time.perf_counter() - started


def hse_items(ids: list[str], shapes: dict[str, tuple[int, int, int]], wanted: int | None) -> Iterator[PackedCrystal]:
    """A density on the real grid for each HSE id; only `wanted` distinct grids are computed."""
    distinct = sorted({shapes[id] for id in ids}, key=lambda shape: (int(np.prod(shape)), shape))
    chosen = (
        distinct if wanted is None else [distinct[i] for i in np.linspace(0, len(distinct) - 1, wanted).astype(int)]
    )
    sizes = np.array([np.prod(shape) for shape in chosen])
    sample = open_store("hse")
    made: dict[tuple[int, int, int], PackedCrystal] = {}
    for id in ids:
        shape = chosen[int(np.abs(sizes - np.prod(shapes[id])).argmin())] if wanted else shapes[id]
        if shape not in made:
            rho: Density = sample[sample.ids[len(made) % len(sample)]].resample(shape)
            made[shape] = pack_crystal(id, rho, bound=BOUND)
        yield made[shape]


MEASURE = """
import json, sys, time
started = time.perf_counter()
from ecd_data import open_store
imported = time.perf_counter()
store = open_store(sys.argv[1])
opened = time.perf_counter()
count, ids = len(store), store.ids
listed = time.perf_counter()
rho = store[ids[count // 2]]
first = time.perf_counter()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
rss = int(status["VmHWM"].split()[0]) / 1024  # getrusage would tell the peak of the process that started this one
more = [ids[int(i * count / 20)] for i in range(20)]
for id in more:
    store.place(id)
begun = time.perf_counter()
for id in more:
    store[id]
done = time.perf_counter()
print(json.dumps({"import": imported - started, "open": opened - imported, "ids": listed - opened,
                  "first": first - listed, "crystal": (done - begun) / 20, "rss": rss, "count": count}))
"""


WHOLE = """
import sys
from ecd_data import open_store
store = open_store(sys.argv[1])
store[store.ids[0]]
"""
FLOOR = "import numpy, pyarrow.parquet"


def process(code: str, *words: str) -> float:
    """Seconds from the start of an interpreter to its end."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *words], check=True)
    return time.perf_counter() - started


def measure_opening(url: str) -> dict[str, float]:
    """The least of several fresh interpreters for each figure."""
    runs = []
    for _ in range(TRIES):
        out = subprocess.run([sys.executable, "-c", MEASURE, url], capture_output=True, text=True, check=True).stdout
        runs.append(json.loads(out))
    return {name: min(run[name] for run in runs) for name in runs[0]}


class Ranges(http.server.SimpleHTTPRequestHandler):
    """A static server with range support that counts requests and bytes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the answer's body waits 40 ms for the client to have seen its head
    requests = 0
    sent = 0

    def send_head(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        size, wanted = path.stat().st_size, self.headers.get("Range")
        first, last = 0, size - 1
        if wanted:
            a, b = wanted.removeprefix("bytes=").split("-")
            first, last = (int(a), min(int(b), size - 1) if b else size - 1) if a else (size - int(b), size - 1)
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last + 1 - first))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        Ranges.requests += 1
        if self.command == "GET":
            Ranges.sent += last + 1 - first
            with path.open("rb") as file:
                file.seek(first)
                self.wfile.write(file.read(last + 1 - first))
        return None

    def do_GET(self) -> None:
        self.send_head()

    def log_message(self, *_: object) -> None:
        pass


def table_of_growth(folder: Path, names: list[str], base: str) -> Table:
    """Opening and reading each store, from the disk and over HTTP."""
    title = f"one fresh interpreter each, least of {TRIES}; target {SECONDS:g} s for the whole process and {RAM_MB} MB"
    table = Table(title=title)
    columns = ["store", "crystals", "from", "index MB", "objects", "open + ids ms", "first crystal ms"]
    columns += ["import ms", "whole process ms", "another ms", "peak MB", "requests", "MB"]
    for column in columns:
        table.add_column(column, justify="left" if column in ("store", "from") else "right")
    for name in names:
        size = (folder / name / INDEX).stat().st_size / 1e6
        objects = sum(1 for path in (folder / name).rglob("*") if path.is_file())
        for place, url in (("disk", str(folder / name)), ("http", f"{base}/{name}")):
            whole = min(process(WHOLE, url) for _ in range(TRIES))
            Ranges.requests = Ranges.sent = 0
            got = measure_opening(url) | {"process": whole}
            opening = got["open"] + got["ids"]
            figures = [f"{got['count']:,}", place, f"{size:.2f}", f"{objects}", f"{1e3 * opening:.0f}"]
            figures += [f"{1e3 * got[name]:.0f}" for name in ("first", "import", "process")]
            figures += [f"{1e3 * got['crystal']:.1f}", f"{got['rss']:.0f}"]
            asked = [f"{Ranges.requests / TRIES:.0f}", f"{Ranges.sent / TRIES / 1e6:.2f}"]
            figures += asked if place == "http" else ["", ""]
            table.add_row(name, *figures)
    return table


def main() -> None:
    """Make the simulated release where it is not, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "ecd-release")
    parser.add_argument("--shapes", type=int, default=None)
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    pbe, hse = ids_of("ecd_pbe"), ids_of("ecd_hse")
    items = payloads()
    console = Console(width=170)
    writing = Table(title="writing packed crystals")
    for column in ("store", "crystals", "ms a crystal", "index saved in ms"):
        writing.add_column(column, justify="right")
    stores = {f"pbe-{count}.ecd": pbe[:count] for count in GROWTH} | {"hse.ecd": hse, "pbe.ecd": pbe}
    for name, ids in stores.items():
        given = (items[i % len(items)] for i in range(len(ids)))
        source = hse_items(ids, grid_shapes(options.lists), options.shapes) if name == "hse.ecd" else given
        seconds = write(folder / name, ids, source)
        spent = f"{1e3 * seconds / len(ids):.2f}" if seconds else "was there"
        writing.add_row(name, f"{len(ids):,}", spent, f"{1e3 * measure_saving(folder / name):.0f}")
    console.print(writing)
    handler = lambda *args: Ranges(*args, directory=str(folder))  # noqa: E731
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        console.print(table_of_growth(folder, list(stores), f"http://127.0.0.1:{server.server_port}"))
        server.shutdown()
    floor = 1e3 * min(process(FLOOR) for _ in range(TRIES))
    console.print(f"whole process: import, open, ids, first crystal; importing NumPy and Arrow alone: {floor:.0f} ms")
    console.print(f"columns read when opening: {', '.join(LOCATION_COLUMNS)}; the simulated release is in {folder}")


if __name__ == "__main__":
    main()
