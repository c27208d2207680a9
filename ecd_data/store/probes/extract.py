"""Making the extract: the values of K random grid points of every crystal of a store, in the order they are drawn."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from ecd_data.density import Density
from ecd_data.errors import EcdError, UsageError
from ecd_data.io.lock import lock
from ecd_data.store.live_index import Place, whereabouts_of
from ecd_data.store.parts import Extent, read_density
from ecd_data.store.probes.draw import Pool, pool_of
from ecd_data.store.probes.index import FOLDER, SCHEMA, Settings, load_table, save_index
from ecd_data.store.reader import Store
from ecd_data.work.interrupts import stop_between_steps
from ecd_data.work.process_pool import Lost, refuse_impossible, spread
from ecd_data.work.progress import Progress, progress_of

FILE_CRYSTALS = 2048  # 134 MB of densities
ENDING = ".f32"
NAME = re.compile(r"part-(\d+)")
HASHED = 16  # hex digits of the SHA-256 of a file that its name has
LOST = "the system ended the process that decoded it, perhaps for lack of memory: run it again with fewer workers"


@dataclass
class Extraction:
    """What an extraction did: the settings, crystals added, those there already, and id -> reason of those left out."""

    folder: Path
    settings: Settings
    added: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    bytes: int = 0


class Group(NamedTuple):
    """Where a crystal of the store lies."""

    id: str
    root: str
    place: Place


def extract_probes(
    store: str | Path,
    *,
    per_crystal: int | None = None,
    seed: int | None = None,
    workers: int = 1,
    progress: bool = False,
) -> Extraction:
    """What was done in writing the folder `probes` of a local store: K probes a crystal, from which training reads.

    per_crystal: K, 16,384 when None, or that of the extract which is there; seed of the permutations, 0 when None.
    Crystals whose probes are there already are skipped, those that changed in the store or left it are renewed or
    dropped, so a second call continues. The values do not depend on `workers`, the number of processes. Raises
    UsageError for a URL or other settings than those of the extract.
    """
    refuse_impossible(workers)
    if "://" in str(store):
        raise UsageError(f"{store}: an extract is written to a local store; copy the folder there afterwards")
    opened = Store(store)
    groups = _groups(opened)
    folder = Path(store) / FOLDER
    folder.mkdir(exist_ok=True)
    before, made_with = load_table(opened.root) or (SCHEMA.empty_table(), None)
    settings = _settings(folder, made_with, per_crystal, seed)
    report = Extraction(folder, settings)
    release = lock(folder, report)
    try:
        for left in [*folder.glob(".part-*"), *folder.glob(".index*")]:
            left.unlink()  # by a process that was killed: nothing refers to them
        kept = _kept(folder, before, groups)
        named = set(before["file"].to_pylist())  # also of files that are lost: readers may know the names
        _write(folder, settings, groups, kept, named, report, workers, progress)
    finally:
        release()
    return report


def _groups(store: Store) -> dict[str, Group]:
    columns = store.columns("id", "part", "offset", "length", "sha256").to_pydict().values()
    rows = zip(*columns, strict=True)
    groups = (Group(id, store.root, Place(part, Extent(*extent))) for id, part, *extent in rows)
    return {group.id: group for group in groups}


def _settings(folder: Path, before: Settings | None, per_crystal: int | None, seed: int | None) -> Settings:
    default = before or Settings()
    wanted = Settings(
        default.per_crystal if per_crystal is None else per_crystal, default.seed if seed is None else seed
    )
    if wanted.per_crystal < 1 or wanted.seed < 0:
        raise UsageError(f"at least one probe a crystal and no negative seed: {tuple(wanted)}")
    if before is not None and wanted != before:
        raise UsageError(
            f"{folder} has {before.per_crystal} probes a crystal of seed {before.seed}: ask for the same, or remove it"
        )
    return wanted


def _kept(folder: Path, table: pa.Table, groups: dict[str, Group]) -> pa.Table:
    """The rows whose crystal is unchanged in the store and whose file is there in full."""
    sizes = {path.name: path.stat().st_size for path in folder.glob(f"part-*{ENDING}")}
    columns = (table[name].to_pylist() for name in ("id", "group_sha256", "file", "offset", "count", "components"))
    current = {id: group.place.extent.sha256 for id, group in groups.items()}
    kept = [
        current.get(id) == sha256 and offset + _length(count, components) <= sizes.get(file, 0)
        for id, sha256, file, offset, count, components in zip(*columns, strict=True)
    ]
    return table.filter(pa.array(kept, pa.bool_()))


def _length(count: int, components: int) -> int:
    return 4 * count * (1 + components)


def _write(
    folder: Path,
    settings: Settings,
    groups: dict[str, Group],
    kept: pa.Table,
    named: set[str],
    report: Extraction,
    workers: int,
    progress: bool,
) -> None:
    """Write file after file, the index renewed after each; an interrupt completes the file under way."""
    there = set(kept["id"].to_pylist())
    left = [group for id, group in groups.items() if id not in there]
    report.skipped = len(there)
    table = kept.cast(SCHEMA)
    with (
        stop_between_steps() as stopped,
        closing(_pools(left, settings, workers, stopped)) as pools,
        progress_of("drawing probes", len(left), progress) as shown,
    ):
        for number in range(0, len(left), FILE_CRYSTALS):
            rows = _write_file(folder, pools, left[number : number + FILE_CRYSTALS], report, stopped, named, shown)
            table = pa.concat_tables([table, pa.Table.from_pylist(rows, SCHEMA)])
            if rows or stopped():
                save_index(table, settings, folder.parent)
            if stopped():
                raise KeyboardInterrupt
    save_index(table, settings, folder.parent)
    current = set(table["file"].to_pylist())
    for path in folder.glob(f"part-*{ENDING}"):
        if path.name not in current:
            path.unlink()


def _write_file(
    folder: Path,
    pools: Iterator[Pool | str],
    groups: Sequence[Group],
    report: Extraction,
    stopped: Callable[[], bool],
    named: set[str],
    shown: Progress,
) -> list[dict[str, Any]]:
    """The index rows of the crystals of one new file, which appears when it is complete under a name never `named`.

    Its hash is in the name: a reader that has an index of before, at a URL say, finds the file that the index means or
    none, also where the folder was removed and made again.
    """
    used = [
        int(found[1]) for name in {path.name for path in folder.glob("part-*")} | named if (found := NAME.match(name))
    ]
    stem = f"part-{max(used, default=-1) + 1:05d}"
    aside, digest = folder / f".{stem}{ENDING}", hashlib.sha256()
    rows = []
    try:
        with open(aside, "wb") as file:
            for group in groups:
                pool = next(pools, None)
                if pool is None:  # stopped
                    break
                shown.advance(group.id)
                if isinstance(pool, str):
                    report.failed[group.id] = pool
                    continue
                values = pool.values.astype("<f4").tobytes()  # type: ignore[union-attr]
                rows.append(_row(pool, file.tell(), group))
                file.write(values)
                digest.update(values)
                report.added += 1
                if stopped():
                    break
            report.bytes += file.tell()
            file.flush()
            os.fsync(file.fileno())
        name = f"{stem}-{digest.hexdigest()[:HASHED]}{ENDING}"
        if rows:
            aside.replace(folder / name)
    except OSError as error:
        error.filename = error.filename or str(folder)  # a full disk names no file
        raise
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return [row | {"file": name} for row in rows]


def _row(pool: Pool, offset: int, group: Group) -> dict[str, Any]:
    crystal, place = pool.crystal, pool.place
    return {
        "id": pool.id,
        "offset": offset,
        "count": place.count,
        "components": place.components,
        "shape": list(place.shape),
        "lattice": crystal.lattice.ravel().tolist(),
        "pbc": list(crystal.pbc),
        "numbers": crystal.numbers.tolist(),
        "frac_coords": crystal.frac_coords.ravel().tolist(),
        "group_sha256": group.place.extent.sha256,
    }


def _pools(
    groups: Sequence[Group], settings: Settings, workers: int, stopped: Callable[[], bool]
) -> Generator[Pool | str, None, None]:
    """The pool of every crystal in order, or why it has none; ends early once `stopped` says so."""
    tasks = ((group, settings) for group in groups)
    with closing(spread(_pool, tasks, workers=min(workers, max(1, len(groups))), stopped=stopped)) as results:
        for _, pool in results:
            yield LOST if isinstance(pool, Lost) else pool


def _pool(task: tuple[Group, Settings]) -> Pool | str:
    (id, root, place), settings = task

    def read(url: str, at: Extent) -> Density:
        return read_density(url, at.offset, at.length, at.sha256, id)

    try:  # of the very bytes whose hash stands in the row
        return pool_of(id, whereabouts_of(root).read(id, place, read, same=True), settings)
    except EcdError as error:
        return str(error)
