"""Attempts on one small store, each in a function that says how something was lost, or nothing where it was not."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data import Store, open_store
from ecd_data.errors import EcdError
from ecd_data.store import StoreWriter
from ecd_data.store.index import Index, make_table, save_index
from ecd_data.store.parts import Extent, PartWriter, read_entries
from tests.conftest import smooth_density

SHAPE, IDS, SLOW = (12, 10, 15), [f"x{number}" for number in range(8)], 20.0  # seconds that no reading takes
Job = tuple[str, int]

ROWS: list[dict[str, Any]] = [
    *({"offset": offset} for offset in (-1, 7, 2**62, None)),
    *({"length": length} for length in (-5, 0, 1, 2**40, 2**62, None)),
    *({"part": part} for part in ("", ".", "..", "../index.parquet", "../../../etc/passwd", "a\0b", "x" * 5000, None)),
    *({"sha256": digest} for digest in ("", "0" * 64, "é", None)),
    *({"id": id} for id in ("", "x1", "../x0", "a/b", "\x1b[31m", "y" * 100_000, None)),
    *({"shape": shape} for shape in ([], [-1, 2, 3], [2**31 - 1] * 3, None)),
    *({"bound": bound} for bound in (float("nan"), -1.0, None)),
]


def small_store(path: Path) -> Path:
    """A store of a few crystals in parts of two, so that the next writer merges them."""
    for start in range(0, len(IDS), 2):
        with StoreWriter(path, part_size=2) as writer:
            for id in IDS[start : start + 2]:
                writer.add(id, smooth_density(SHAPE, seed=int(id[1:]), spin=id == "x1"))
    return path


def right(id: str, values: np.ndarray) -> bool:
    """Whether these are the values of a crystal of `small_store`."""
    true = smooth_density(SHAPE, seed=int(id[1:]), spin=id == "x1").values
    return values.shape == true.shape and bool(np.abs(values - true).mean() <= 1.1e-5 * np.abs(true).mean())


def read_back(root: Path, trusted: bool = True) -> str:
    """What reading every crystal of a store does that it must not: other errors than ours, wrong values, long waits."""
    began = time.monotonic()
    try:
        for id in open_store(root).ids:
            try:
                values = Store(root)[id].values
            except EcdError as error:
                if "\n" in str(error):
                    return f"a message of several lines: {error!r}"
                continue
            if trusted and not right(id, values):
                return f"{id} is read with wrong values"
    except EcdError:
        pass
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:150]}"
    return "" if time.monotonic() - began < SLOW else "it takes long"


def altered(job: Job, alter: Any, trusted: bool = True) -> str:
    """What reading a copy of the job's store does after `alter` was at it."""
    root, seed = job
    with tempfile.TemporaryDirectory(prefix="ecd-soak-") as folder:
        copy = Path(folder) / "s.ecd"
        shutil.copytree(root, copy)
        alter(copy, np.random.default_rng(seed))
        return read_back(copy, trusted)


def flip(path: Path, rng: np.random.Generator) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def flip_part(job: Job) -> str:
    """One bit of one part: its crystal is refused, the others are read."""
    return altered(job, lambda copy, rng: flip(rng.choice(sorted((copy / "parts").iterdir())), rng))


def flip_index(job: Job) -> str:
    """One bit of the index: whatever it then says, no density is wrong."""
    return altered(job, lambda copy, rng: flip(copy / "index.parquet", rng))


def hostile_row(job: Job) -> str:
    """One row of the index that says what cannot be."""

    def alter(copy: Path, _: np.random.Generator) -> None:
        table = Index(copy / "index.parquet").table()
        rows = table.to_pylist()
        rows[0] |= ROWS[job[1]]
        save_index(make_table(rows), copy / "index.parquet")

    return altered(job, alter, trusted="id" not in ROWS[job[1]])


def hostile_payload(job: Job) -> str:
    """A crystal whose bytes are random, cut or changed in places, under the right hash."""

    def alter(copy: Path, rng: np.random.Generator) -> None:
        rows = Index(copy / "index.parquet").table().to_pylist()
        row = rows[int(rng.integers(len(rows)))]
        part = copy / "parts" / row["part"]
        entries = read_entries(str(part), Extent(row["offset"], row["length"], row["sha256"]), row["id"])
        key = str(rng.choice(sorted(entries)))
        entries[key] = spoilt(entries[key], rng)
        with PartWriter(part.with_name("part-00099.zarr.zip")) as writer:
            row |= {"part": "part-00099.zarr.zip", **vars(writer.add(row["id"], entries))}
        save_index(make_table(rows), copy / "index.parquet")

    return altered(job, alter, trusted=False)


def spoilt(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes that were cut, lengthened, exchanged or changed in a few places."""
    kind = int(rng.integers(5))
    if kind == 0:
        return data[: int(rng.integers(len(data)))]
    if kind == 1:
        return data + rng.bytes(int(rng.integers(1, 100)))
    if kind == 2:
        return rng.bytes(len(data))
    changed = bytearray(data)
    for place in rng.integers(0, min(len(data), 64 if kind == 3 else len(data)), int(rng.integers(1, 8))):
        changed[int(place)] = int(rng.integers(256))  # mostly of the header, where kind is 3
    return bytes(changed)


def write_on(path: str, done: Any) -> None:
    """Add crystals one by one, each time merging the small parts, until `done`."""
    number = 100
    while not done.is_set():
        with StoreWriter(path) as writer:
            writer.add(f"x{number}", smooth_density((4, 5, 6), seed=number))
        number += 1


def read_all(path: str) -> str:
    """What a reader of a store that is written meanwhile gets wrong."""
    store = open_store(path)
    try:
        for _ in range(10):
            for id in IDS:
                if not right(id, store[id].values):
                    return f"{id} is read with wrong values"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:150]}"
    return ""
