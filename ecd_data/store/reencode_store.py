"""A store again at a looser bound: smaller, with a bound that still holds against the original densities."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from ecd_data.errors import EcdError, StoreError, UsageError
from ecd_data.store.copy import UNPLACED, Copy, Run, runs
from ecd_data.store.crystal_group import pack, unpack
from ecd_data.store.data_root import open_store
from ecd_data.store.index import Row
from ecd_data.store.packing import Packed, attributes
from ecd_data.store.reader import Store
from ecd_data.store.writer import StoreWriter
from ecd_data.work.interrupts import stop_between_steps
from ecd_data.work.process_pool import Lost, refuse_impossible, spread
from ecd_data.work.progress import tracked

ROUNDING = 2.0**-24  # what float32 may have cost the real pipeline


@dataclass(frozen=True)
class _Job:
    run: Run
    bound: float


def reencode(
    store: str | Path | Store, dest: str | Path, bound: float, *, workers: int = 1, progress: bool = False
) -> Copy:
    """What was done in writing all crystals of `store` into the store `dest` with eps_mae at most `bound`.

    Errors add up: a crystal stored at 1e-5 is encoded at what is left of `bound`, so that it holds against the original
    density. What is at that bound already, does not shrink, or does not suit the Fourier form is copied as it is. A
    second call continues. Raises UsageError where the store's own bound is looser than `bound`.
    """
    source = store if isinstance(store, Store) else open_store(store)
    refuse_impossible(workers)
    if not 0 < bound < 1:
        raise UsageError(f"the bound is a fraction between 0 and 1 such as 1e-4, not {bound}")
    loosest = pc.max(source.columns("bound")["bound"]).as_py() or 0.0
    if max(loosest, ROUNDING) > bound:
        raise UsageError(
            f"{source.root} holds densities to {max(loosest, ROUNDING):g} and errors add up: {bound:g} cannot be kept; "
            "give a looser bound, or convert the original files again"
        )
    if Path(dest).resolve() == Path(source.root).resolve():
        raise UsageError(f"{dest} is read and written at once: name a new store")
    report = Copy(Path(dest))
    with stop_between_steps() as stopped, StoreWriter(dest, bound=bound) as writer:
        jobs = [_Job(Run(run.root, [row]), bound) for run in runs(source.root, source.columns()) for row in run.rows]
        report.skipped = [job.run.rows[0]["id"] for job in jobs if job.run.rows[0]["id"] in writer]
        jobs = [job for job in jobs if job.run.rows[0]["id"] not in writer]
        results = spread(_reencoded, jobs, workers=workers, stopped=stopped)
        for item in tracked(_made(results), len(jobs), "encoding", progress, lambda item: item.id):
            writer.put(item)
            report.added.append(item.id)
        if stopped():
            raise KeyboardInterrupt
    return report


def _made(results: Iterator[tuple[_Job, Packed | Lost]]) -> Iterator[Packed]:
    for job, item in results:
        if isinstance(item, Lost):
            raise StoreError(f"{job.run.rows[0]['id']}: the system ended its process, perhaps for lack of memory")
        yield item


def _reencoded(job: _Job) -> Packed:
    (row,) = job.run.rows
    entries = job.run.entries(job.run.read(), row)
    kept = Packed(entries, {name: value for name, value in row.items() if name not in UNPLACED})
    before = row["bound"] if row["pipeline"] == "fourier" else ROUNDING
    if row["pipeline"] == "fourier" and before == job.bound:
        return kept
    left = (job.bound - before) / (1 + before)  # mean|density| itself is known to 1 + before only
    try:
        density = unpack(entries)
        encoded, used = pack(density, left, "fourier", attributes(row["id"], density))
    except EcdError as error:
        raise StoreError(f"{row['id']}: {error}") from error
    if used != "fourier" or _size(encoded) >= _size(entries):
        return kept
    return Packed(_claiming(encoded, job.bound, before), _row(kept.row, job.bound))


def _size(entries: dict[str, bytes]) -> int:
    return sum(map(len, entries.values()))


def _row(row: Row, bound: float) -> Row:
    return row | {"pipeline": "fourier", "bound": bound}


def _claiming(entries: dict[str, bytes], bound: float, before: float) -> dict[str, bytes]:
    """The group with the bound against the original, of which the codec's own is a part."""
    described = json.loads(entries["zarr.json"])
    described["attributes"] |= {"bound": bound, "reencoded_from": before}
    return entries | {"zarr.json": json.dumps(described, indent=2).encode()}
