"""Crystals from store to store, byte for byte: what lies side by side is read in one request."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ecd_data.errors import MovedError, UsageError
from ecd_data.io.locations import read_url
from ecd_data.store.index import PLACE, Row
from ecd_data.store.live_index import Place, whereabouts_of
from ecd_data.store.packing import Packed
from ecd_data.store.parts import Extent, entries_in, read_entries
from ecd_data.store.reader import Store
from ecd_data.store.writer import StoreWriter
from ecd_data.work.interrupts import stop_between_steps
from ecd_data.work.process_pool import in_order
from ecd_data.work.progress import tracked

log = logging.getLogger("ecd_data")

RUN = 1 << 25  # bytes of one request
GAP = 1 << 16  # bytes that cost less to read than another request
AT_ONCE = 4  # requests under way
ROWS = 1000  # index rows that are Python objects at a time


@dataclass
class Copy:
    """What a copy did: ids added to the store, and ids that were there already with the same bytes."""

    store: Path
    added: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """Crystals that lie side by side in a part of the store at `root`, by their index rows in order."""

    root: str
    rows: list[Row]

    @property
    def start(self) -> int:
        """The first byte."""
        return int(self.rows[0]["offset"])

    @property
    def stop(self) -> int:
        """The byte after the last."""
        return int(self.rows[-1]["offset"] + self.rows[-1]["length"])

    @property
    def url(self) -> str:
        """The part."""
        return f"{self.root}/parts/{self.rows[0]['part']}"

    def read(self) -> bytes:
        """The bytes, by one request; none where the part is gone, whose crystals may lie elsewhere by now."""
        try:
            data = read_url(self.url, self.start, self.stop)
        except FileNotFoundError:
            return b""
        whole = len(data) > self.stop - self.start  # of a web server without ranges
        return data[self.start : self.stop] if whole else data

    def entries(self, data: bytes, row: Row) -> dict[str, bytes]:
        """The checked keys and bytes of one crystal, in what `read` gave or where it lies by now.

        Raises StoreError where it is lost, or has other bytes by now than the row is of.
        """
        id, place = row["id"], Place(row["part"], Extent(row["offset"], row["length"], row["sha256"]))
        start = row["offset"] - self.start
        try:
            return entries_in(data[start : start + row["length"]], self.url, row["sha256"], id)
        except MovedError:  # read alone it says whether it is missing, altered or elsewhere

            def alone(url: str, at: Extent) -> dict[str, bytes]:
                return read_entries(url, at.offset, at.length, at.sha256, id)

            return whereabouts_of(self.root).read(id, place, alone, same=True)


def runs(root: str, table: pa.Table) -> Iterator[Run]:
    """The rows of an index table as runs that one request reads each, in the order of the table."""
    together: list[Row] = []
    for start in range(0, len(table), ROWS):
        for row in table.slice(start, ROWS).to_pylist():
            if together and not _continues(together, row):
                yield Run(root, together)
                together = []
            together.append(row)
    if together:
        yield Run(root, together)


def _continues(together: list[Row], row: Row) -> bool:
    first, last = together[0], together[-1]
    gap = row["offset"] - last["offset"] - last["length"]
    length = row["offset"] + row["length"] - first["offset"]
    return row["part"] == first["part"] and 0 <= gap <= GAP and length <= RUN


def copy(chosen: Iterable[tuple[Store, pa.Array]], dest: str | Path, *, what: str, progress: bool = False) -> Copy:
    """What was done in copying crystals, given by the numbers of their rows in each store, into the store `dest`.

    Nothing is decoded; hashes are checked. A second call continues. Raises UsageError where `dest` is a source, or has
    one of the ids with other content.
    """
    chosen = list(chosen)
    report = Copy(Path(dest))
    for store, _ in chosen:
        if "://" not in store.root and Path(store.root).resolve() == Path(dest).resolve():
            raise UsageError(f"{dest} is read and written at once: name a new store")
    total = sum(len(rows) for _, rows in chosen)
    with stop_between_steps() as stopped, StoreWriter(dest) as writer:
        stored = writer.digests()
        found = [
            run for store, rows in chosen for run in runs(store.root, _left(store, rows, stored, report))
        ]  # rows of what is left to copy; refused here where the store has something else
        with ThreadPoolExecutor(AT_ONCE) as threads:
            read = in_order(lambda: threads, Run.read, found, AT_ONCE, stopped)
            with closing(read):
                for item in tracked(_items(read), total - len(report.skipped), what, progress, lambda item: item.id):
                    writer.put(item)
                    report.added.append(item.id)
        if stopped():
            raise KeyboardInterrupt
    return report


def _left(store: Store, rows: pa.Array, stored: dict[str, str], report: Copy) -> pa.Table:
    """The index rows of those crystals that `stored` does not have yet."""
    table = store.columns().take(rows)
    keep = []
    for number, (id, sha256) in enumerate(zip(*(table[n].to_pylist() for n in ("id", "sha256")), strict=True)):
        if id not in stored:
            keep.append(number)
        elif stored[id] == sha256:
            report.skipped.append(id)
        else:
            raise UsageError(f"{id} is in {report.store} already with other content: name a new store")
    return table.take(pa.array(keep, pa.int64()))


def _items(read: Iterable[tuple[Run, Any]]) -> Iterator[Packed]:
    for run, data in read:
        for row in run.rows:
            yield Packed(run.entries(data, row), {name: value for name, value in row.items() if name not in UNPLACED})


UNPLACED = set(PLACE) - {"id"}
