"""Copying crystals from store to store, byte for byte; one request reads crystals that are adjacent in a part."""

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
from ecd_data.store.index import LOCATION_COLUMNS, Row
from ecd_data.store.live_index import Location, shared_live_index
from ecd_data.store.packing import PackedCrystal
from ecd_data.store.parts import Extent, entries_in, read_entries
from ecd_data.store.reader import Store
from ecd_data.store.writer import StoreWriter
from ecd_data.work.interrupts import stop_between_steps
from ecd_data.work.process_pool import run_in_order
from ecd_data.work.progress import track_progress

log = logging.getLogger("ecd_data")

REQUEST_BYTES = 1 << 25  # largest size of one request
GAP_BYTES = 1 << 16  # between two crystals that one request reads: they cost less than a second request
MAX_REQUESTS = 4  # at a time
ROW_BATCH = 1000  # index rows that become Python objects at a time: limits memory


@dataclass
class CopyReport:
    """The report of a copy: the ids that were added to the store, and those that it had already."""

    store: Path
    added: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ReadRequest:
    """A request for crystals that are adjacent in a part of the store at `root`, by their index rows in order."""

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
        """The URL of the part."""
        return f"{self.root}/parts/{self.rows[0]['part']}"

    def read(self) -> bytes:
        """The bytes of the crystals; no bytes where the part is missing, since the crystals may be in another one."""
        try:
            data = read_url(self.url, self.start, self.stop)
        except FileNotFoundError:
            return b""
        whole = len(data) > self.stop - self.start  # a web server without ranges sends the whole file
        return data[self.start : self.stop] if whole else data

    def entries(self, data: bytes, row: Row) -> dict[str, bytes]:
        """The keys and bytes of one crystal, from the bytes of `read` or from its present location.

        Raises StoreError where the crystal is lost or has other bytes than its row says.
        """
        id, place = row["id"], Location(row["part"], Extent(row["offset"], row["length"], row["sha256"]))
        start = row["offset"] - self.start
        try:
            return entries_in(data[start : start + row["length"]], self.url, row["sha256"], id)
        except MovedError:  # reading the crystal alone shows whether it is missing, altered or moved
            index = shared_live_index(self.root)
            return index.read(id, place, lambda url, at: read_entries(url, at, id), same=True)


def plan_requests(root: str, table: pa.Table) -> Iterator[ReadRequest]:
    """The requests that read the crystals of an index table, in the order of the table."""
    rows: list[Row] = []
    for start in range(0, len(table), ROW_BATCH):
        for row in table.slice(start, ROW_BATCH).to_pylist():
            if rows and not _fits_request(rows, row):
                yield ReadRequest(root, rows)
                rows = []
            rows.append(row)
    if rows:
        yield ReadRequest(root, rows)


def _fits_request(rows: list[Row], row: Row) -> bool:
    first, last = rows[0], rows[-1]
    gap = row["offset"] - last["offset"] - last["length"]
    length = row["offset"] + row["length"] - first["offset"]
    return row["part"] == first["part"] and 0 <= gap <= GAP_BYTES and length <= REQUEST_BYTES


def copy_crystals(
    chosen: Iterable[tuple[Store, pa.Array]], dest: str | Path, *, what: str, progress: bool = False
) -> CopyReport:
    """The report of copying some crystals of some stores into the store `dest`.

    Nothing is decoded; hashes are checked. A second call continues an interrupted one.

    Parameters
    ----------
    chosen : each store with the numbers of the index rows to copy.
    dest : the folder of the new store.
    what : the name of the work in the progress display.
    progress : whether a bar is shown.

    Raises
    ------
    UsageError : `dest` is one of the sources, or has one of the ids with other bytes.
    """
    chosen = list(chosen)
    report = CopyReport(Path(dest))
    for store, _ in chosen:
        if "://" not in store.root and Path(store.root).resolve() == Path(dest).resolve():
            raise UsageError(f"{dest} cannot be read and written at once: give a new store")
    total = sum(len(rows) for _, rows in chosen)
    with stop_between_steps() as stopped, StoreWriter(dest) as writer:
        stored = writer.digests()
        requests = [
            request
            for store, rows in chosen
            for request in plan_requests(store.root, _select_missing(store, rows, stored, report))
        ]  # planned before copying, so that an id with other content is refused before anything is copied
        with ThreadPoolExecutor(MAX_REQUESTS) as threads:
            read = run_in_order(lambda: threads, ReadRequest.read, requests, MAX_REQUESTS, stopped)
            with closing(read):
                for item in track_progress(
                    _packed_crystals(read), total - len(report.skipped), what, progress, lambda item: item.id
                ):
                    writer.put(item)
                    report.added.append(item.id)
        if stopped():
            raise KeyboardInterrupt
    return report


def _select_missing(store: Store, rows: pa.Array, stored: dict[str, str], report: CopyReport) -> pa.Table:
    """The index rows of those crystals that the new store does not have; `stored` has the hashes of those it has."""
    table = store.columns().take(rows)
    missing = []
    for number, (id, sha256) in enumerate(zip(*(table[n].to_pylist() for n in ("id", "sha256")), strict=True)):
        if id not in stored:
            missing.append(number)
        elif stored[id] == sha256:
            report.skipped.append(id)
        else:
            raise UsageError(f"{id} is in {report.store} already with other content: give a new store")
    return table.take(pa.array(missing, pa.int64()))


def _packed_crystals(read: Iterable[tuple[ReadRequest, Any]]) -> Iterator[PackedCrystal]:
    for request, data in read:
        for row in request.rows:
            yield PackedCrystal(
                request.entries(data, row), {name: value for name, value in row.items() if name not in LOCATION_FIELDS}
            )


LOCATION_FIELDS = set(LOCATION_COLUMNS) - {"id"}
