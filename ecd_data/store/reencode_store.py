"""Encoding a store again at a looser bound, which makes it smaller and still holds against the original densities."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from ecd_data.errors import EcdError, StoreError, UsageError
from ecd_data.store.copy import LOCATION_FIELDS, CopyReport, ReadRequest, plan_requests
from ecd_data.store.crystal_group import pack_density, unpack_density
from ecd_data.store.data_root import open_store
from ecd_data.store.index import Row
from ecd_data.store.packing import PackedCrystal, make_attributes
from ecd_data.store.reader import Store
from ecd_data.store.writer import StoreWriter
from ecd_data.work.interrupts import stop_between_steps
from ecd_data.work.process_pool import LostJob, refuse_worker_count, run_jobs
from ecd_data.work.progress import track_progress

FLOAT32_ROUNDING = 2.0**-24  # relative error of float32, the bound of the real pipeline
SAME_SOURCE = ("source_sha256", "nelect", "lattice")  # columns that encoding again does not change


@dataclass(frozen=True)
class _Job:
    request: ReadRequest
    bound: float


def reencode(
    store: str | Path | Store, dest: str | Path, bound: float, *, workers: int = 1, progress: bool = False
) -> CopyReport:
    """The report of writing all crystals of `store` into the store `dest` with eps_mae at most `bound`.

    Errors add up. So a crystal that is stored at 1e-5 is encoded at the remaining part of `bound`, which then holds
    against the original density. A crystal that has this bound already, would not become smaller, or does not suit the
    Fourier pipeline is copied unchanged. A second call continues an interrupted one.

    Parameters
    ----------
    store : a path, a URL, a configuration name or a Store.
    dest : the folder of the new store.
    bound : eps_mae against the original densities, a fraction.
    workers : the number of processes.
    progress : whether a bar is shown.

    Raises
    ------
    UsageError : the bound of `store` is looser than `bound`, or `dest` is the same store, or has one of the ids with
        another density or bound.
    """
    source = store if isinstance(store, Store) else open_store(store)
    refuse_worker_count(workers)
    if not 0 < bound < 1:
        raise UsageError(f"the bound {bound} is not a fraction between 0 and 1: give one such as 1e-4")
    loosest = pc.max(source.columns("bound")["bound"]).as_py() or 0.0
    stored = max(loosest, FLOAT32_ROUNDING)
    if stored > bound:
        raise UsageError(
            f"{source.root} has densities with errors up to {stored:g}, and errors add up, so the bound {bound:g}"
            " cannot be kept: give a looser bound, or convert the original files again"
        )
    if Path(dest).resolve() == Path(source.root).resolve():
        raise UsageError(f"{dest} cannot be read and written at once: give a new store")
    report = CopyReport(Path(dest))
    with stop_between_steps() as stopped, StoreWriter(dest, bound=bound) as writer:
        jobs = [
            _Job(ReadRequest(request.root, [row]), bound)
            for request in plan_requests(source.root, source.columns())
            for row in request.rows
        ]
        report.skipped = _find_stored(writer, [job.request.rows[0] for job in jobs])
        jobs = [job for job in jobs if job.request.rows[0]["id"] not in writer]
        results = run_jobs(_reencode, jobs, workers=workers, stopped=stopped)
        for item in track_progress(_packed_crystals(results), len(jobs), "encoding", progress, lambda item: item.id):
            writer.put(item)
            report.added.append(item.id)
        if stopped():
            raise KeyboardInterrupt
    return report


def _find_stored(writer: StoreWriter, rows: list[Row]) -> list[str]:
    """The ids of the index rows that the new store has; raises UsageError where it has them otherwise than wanted."""
    columns = {name: writer.values(name) for name in ("sha256", "bound", *SAME_SOURCE)}
    found = [row for row in rows if row["id"] in writer]
    for row in found:
        id, stored = row["id"], {name: values[row["id"]] for name, values in columns.items()}
        if stored["sha256"] == row["sha256"]:  # a copy, which has at most the wanted bound
            continue
        if any(stored[name] != row[name] for name in SAME_SOURCE):
            raise UsageError(f"{id} is in {writer.path} already with other content: give a new store")
        if stored["bound"] != writer.bound:
            raise UsageError(
                f"{id} is in {writer.path} already with the bound {stored['bound']:g}, not {writer.bound:g}: give a new"
                " store"
            )
    return [row["id"] for row in found]


def _packed_crystals(results: Iterator[tuple[_Job, PackedCrystal | LostJob]]) -> Iterator[PackedCrystal]:
    for job, item in results:
        if isinstance(item, LostJob):
            raise StoreError(f"{job.request.rows[0]['id']}: the system ended its process, perhaps for lack of memory")
        yield item


def _reencode(job: _Job) -> PackedCrystal:
    (row,) = job.request.rows
    entries = job.request.entries(job.request.read(), row)
    unchanged = PackedCrystal(entries, {name: value for name, value in row.items() if name not in LOCATION_FIELDS})
    before = row["bound"] if row["pipeline"] == "fourier" else FLOAT32_ROUNDING
    if row["pipeline"] == "fourier" and before == job.bound:
        return unchanged
    # the stored mean|density|, to which a bound refers, is itself off by up to a factor 1 + before
    remaining = (job.bound - before) / (1 + before)
    try:
        density = unpack_density(entries)
        encoded, used = pack_density(density, remaining, "fourier", make_attributes(row["id"], density))
    except EcdError as error:
        raise StoreError(f"{row['id']}: {error}") from error
    if used != "fourier" or _size(encoded) >= _size(entries):
        return unchanged
    return PackedCrystal(_state_bound(encoded, job.bound, before), _row(unchanged.row, job.bound))


def _size(entries: dict[str, bytes]) -> int:
    return sum(map(len, entries.values()))


def _row(row: Row, bound: float) -> Row:
    return row | {"pipeline": "fourier", "bound": bound}


def _state_bound(entries: dict[str, bytes], bound: float, before: float) -> dict[str, bytes]:
    """The group with the bound against the original density in its attributes, and the bound that it had before."""
    described = json.loads(entries["zarr.json"])
    described["attributes"] |= {"bound": bound, "reencoded_from": before}
    return entries | {"zarr.json": json.dumps(described, indent=2).encode()}
