"""Writing the extract: the values at K random grid points of each crystal of a store, in the order of drawing."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from ecd_data.arguments import whole_number
from ecd_data.errors import EcdError, StoreError, UsageError
from ecd_data.io.file_bytes import hash_file
from ecd_data.io.lock import lock_folder
from ecd_data.store.live_index import Location, shared_live_index
from ecd_data.store.parts import Extent, read_density
from ecd_data.store.probes.draw import Pool, make_pool
from ecd_data.store.probes.index import FOLDER, SCHEMA, Settings, load_table, save_index
from ecd_data.store.reader import Store
from ecd_data.work.interrupts import stop_between_steps
from ecd_data.work.process_pool import LostJob, refuse_worker_count, run_jobs
from ecd_data.work.progress import Progress, show_progress

log = logging.getLogger("ecd_data")

FILE_CRYSTALS = 2048  # crystals of a file: 134 MB of densities
ENDING = ".f32"
NAME = re.compile(r"part-(\d+)-([0-9a-f]+)")
HASH_DIGITS = 16  # of a file's SHA-256 in its name
LOST_REASON = "the system ended the process that decoded it, perhaps for lack of memory: give fewer workers"


@dataclass
class Extraction:
    """The report of an extraction: the numbers of crystals added and skipped, and id -> reason of failed ones."""

    folder: Path
    settings: Settings
    added: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    bytes: int = 0


class Group(NamedTuple):
    """A crystal of the store and its location."""

    id: str
    root: str
    place: Location


def extract_probes(
    store: str | Path,
    *,
    per_crystal: int | None = None,
    seed: int | None = None,
    workers: int = 1,
    progress: bool = False,
) -> Extraction:
    """The report of writing the folder `probes` of a local store, with K probes of each crystal for training.

    Crystals whose probes are in the extract are skipped; crystals that changed in the store are renewed, and those that
    the store does not have any more are dropped. So a second call continues an interrupted one. It reads the files that
    are there and writes the crystals of a damaged one again.

    Parameters
    ----------
    store : the folder of the store.
    per_crystal : K; when None, that of the existing extract or 16,384.
    seed : of the permutations; when None, that of the existing extract or 0.
    workers : the number of processes; the values do not depend on it.
    progress : whether a bar is shown.

    Raises
    ------
    UsageError : the store is a URL, or the settings are not those of the existing extract.
    """
    refuse_worker_count(workers)
    if "://" in str(store):
        raise UsageError(f"{store}: an extract is written to a local store; copy the folder there afterwards")
    opened = Store(store)
    groups = _list_groups(opened)
    folder = Path(store) / FOLDER
    folder.mkdir(exist_ok=True)
    before, made_with = load_table(opened.root) or (SCHEMA.empty_table(), None)
    settings = _choose_settings(folder, made_with, per_crystal, seed)
    report = Extraction(folder, settings)
    release = lock_folder(folder, report)
    try:
        for left in [*folder.glob(".part-*"), *folder.glob(".index*")]:
            left.unlink()  # a process that was killed has left it
        kept = _select_unchanged(folder, before, groups)
        named = set(before["file"].to_pylist())  # with the names of lost files, which readers may still use
        _write_files(folder, settings, groups, kept, named, report, workers, progress)
    finally:
        release()
    return report


def _list_groups(store: Store) -> dict[str, Group]:
    columns = store.columns("id", "part", "offset", "length", "sha256").to_pydict().values()
    rows = zip(*columns, strict=True)
    groups = (Group(id, store.root, Location(part, Extent(*extent))) for id, part, *extent in rows)
    return {group.id: group for group in groups}


def _choose_settings(folder: Path, before: Settings | None, per_crystal: int | None, seed: int | None) -> Settings:
    default = before or Settings()
    wanted = Settings(
        default.per_crystal if per_crystal is None else whole_number(per_crystal, "the number of probes", 1),
        default.seed if seed is None else whole_number(seed, "the seed", 0),
    )
    if before is not None and wanted != before:
        raise UsageError(
            f"{folder} has {before.per_crystal} probes of each crystal with seed {before.seed}: give the same, or"
            " remove the folder"
        )
    return wanted


def _select_unchanged(folder: Path, table: pa.Table, groups: dict[str, Group]) -> pa.Table:
    """The rows whose crystals are unchanged in the store and whose files are complete and not damaged."""
    sizes = {path.name: path.stat().st_size for path in folder.glob(f"part-*{ENDING}") if _has_own_hash(path)}
    columns = (table[name].to_pylist() for name in ("id", "group_sha256", "file", "offset", "count", "components"))
    current = {id: group.place.extent.sha256 for id, group in groups.items()}
    kept = [
        current.get(id) == sha256 and offset + _byte_length(count, components) <= sizes.get(file, 0)
        for id, sha256, file, offset, count, components in zip(*columns, strict=True)
    ]
    return table.filter(pa.array(kept, pa.bool_()))


def _has_own_hash(path: Path) -> bool:
    """Whether the bytes of a file have the hash in its name; a warning says where they do not."""
    same = hash_file(path).startswith(hash_in_name(path.name))
    if not same:
        log.warning("%s is cut or altered: the probes of its crystals are written again", path)
    return same


def _byte_length(count: int, components: int) -> int:
    return 4 * count * (1 + components)


def _write_files(
    folder: Path,
    settings: Settings,
    groups: dict[str, Group],
    kept: pa.Table,
    named: set[str],
    report: Extraction,
    workers: int,
    progress: bool,
) -> None:
    """Write the files one by one and the index after each; an interrupt completes the current file first."""
    there = set(kept["id"].to_pylist())
    left = [group for id, group in groups.items() if id not in there]
    report.skipped = len(there)
    table = kept.cast(SCHEMA)
    with (
        stop_between_steps() as stopped,
        closing(_make_pools(left, settings, workers, stopped)) as pools,
        show_progress("drawing probes", len(left), progress) as shown,
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


def hash_in_name(name: str) -> str:
    """The first digits of the SHA-256 of a file, from its name; raises StoreError for the name of another file."""
    if (found := NAME.match(name)) is None:
        raise StoreError(f"{name} is no name of a file of probes: run `ecd probes` again")
    return found[2]


def _write_file(
    folder: Path,
    pools: Iterator[Pool | str],
    groups: Sequence[Group],
    report: Extraction,
    stopped: Callable[[], bool],
    named: set[str],
    shown: Progress,
) -> list[dict[str, Any]]:
    """Write one new file and return its index rows; the file gets its name, none of `named`, when it is complete.

    The name has the hash of the file: a reader with an older index finds either the file that the index means, or
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
                if pool is None:  # the work was stopped
                    break
                shown.advance(group.id)
                if isinstance(pool, str):
                    report.failed[group.id] = pool
                    continue
                values = pool.values.astype("<f4").tobytes()  # type: ignore[union-attr]
                rows.append(_make_row(pool, file.tell(), group))
                file.write(values)
                digest.update(values)
                report.added += 1
                if stopped():
                    break
            report.bytes += file.tell()
            file.flush()
            os.fsync(file.fileno())
        name = f"{stem}-{digest.hexdigest()[:HASH_DIGITS]}{ENDING}"
        if rows:
            aside.replace(folder / name)
    except OSError as error:
        error.filename = error.filename or str(folder)  # the error of a full disk names no file
        raise
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return [row | {"file": name} for row in rows]


def _make_row(pool: Pool, offset: int, group: Group) -> dict[str, Any]:
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


def _make_pools(
    groups: Sequence[Group], settings: Settings, workers: int, stopped: Callable[[], bool]
) -> Generator[Pool | str, None, None]:
    """The Pool of each crystal in order, or the reason why it failed; ends early once `stopped` returns True."""
    tasks = ((group, settings) for group in groups)
    with closing(run_jobs(_load_pool, tasks, workers=min(workers, max(1, len(groups))), stopped=stopped)) as results:
        for _, pool in results:
            yield LOST_REASON if isinstance(pool, LostJob) else pool


def _load_pool(task: tuple[Group, Settings]) -> Pool | str:
    (id, root, place), settings = task
    try:  # only the bytes with the hash of the row may be used, since the row states it
        density = shared_live_index(root).read(id, place, lambda url, at: read_density(url, at, id), same=True)
        return make_pool(id, density, settings)
    except EcdError as error:
        return str(error)
