"""A folder that can be uploaded to the Hugging Face Hub and read by plain `datasets`, pandas or Croissant loaders."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ecd_data.errors import EcdError, StoreError, UsageError
from ecd_data.hub.card import card
from ecd_data.hub.croissant import croissant
from ecd_data.hub.parquet_files import write_shard, written
from ecd_data.hub.plan import DECODED, Shard, chosen, shards_of, subset_of, subset_of_store, subsets_at_hand
from ecd_data.work.process_pool import LostJob, refuse_worker_count, run_jobs
from ecd_data.work.progress import track_progress

log = logging.getLogger("ecd_data")

MB = 1_000_000
LOST = "the system ended the process that wrote it, perhaps for lack of memory: run it again with fewer workers"
RESTRICTED = "icsd-"  # ids of entries whose owner restricts redistribution


@dataclass(frozen=True)
class HubExport:
    """What an export did: its folder, crystals by configuration, Parquet files written and there before, their bytes.

    restricted: crystals of the release whose structures are ICSD's.
    """

    folder: Path
    crystals: dict[str, int]
    written: int
    skipped: int
    bytes: int
    restricted: int


def export_hub(
    dest: str | Path,
    *,
    configurations: Sequence[str] = (),
    store: str | Path | None = None,
    data_dir: str | None = None,
    splits: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    decoded: str = "float32",
    shard_mb: int = 500,
    license: str | None = None,
    workers: int = 1,
    progress: bool = False,
) -> HubExport:
    """What was done in writing `dest`: Parquet files in data/, a card README.md and croissant.json.

    configurations: sets and tasks as of load_dataset, by default the sets that `data_dir`, ECD_ROOT or the embedded
    sample has; or `store`, one of your own. decoded: "float32" adds the grids as plain lists to the store's own bytes,
    "none" leaves them out. exclude: patterns of ids, as in "icsd-*"; limit: crystals of each split. Files hold at most
    shard_mb before compression. A file appears when it is complete and is not written again, so a second call
    continues. Raises UsageError for a folder that holds something else.
    """
    if decoded not in DECODED or shard_mb < 1 or (limit is not None and limit < 1):
        raise UsageError(f"decoded is {' or '.join(DECODED)}, shard_mb and limit at least 1: {decoded!r}, {shard_mb=}")
    refuse_worker_count(workers)
    if store is not None and configurations:
        raise UsageError("export a store or configurations, not both")
    subsets = [subset_of_store(str(store))] if store is not None else []
    subsets += [subset_of(name, data_dir) for name in dict.fromkeys(configurations)]
    subsets = [chosen(s, splits, exclude, limit) for s in subsets or subsets_at_hand(data_dir)]
    shards = [shard for subset in subsets for shard in shards_of(subset, decoded, shard_mb * MB)]
    folder = Path(dest)
    _refuse_others(folder, shards)
    left = [shard for shard in shards if not written(folder / shard.path, shard)]
    _write_all(folder, left, workers, progress)
    _keep_or_write(folder / "README.md", card(subsets, decoded, license))
    (folder / "croissant.json").write_text(croissant(folder, subsets, shards, license), encoding="utf-8")
    size = sum((folder / shard.path).stat().st_size for shard in shards)
    restricted = sum(id.startswith(RESTRICTED) for subset in subsets for id in subset.rows["id"])
    counts = {subset.name: len(subset.rows) for subset in subsets}
    return HubExport(folder, counts, len(left), len(shards) - len(left), size, restricted)


def _refuse_others(folder: Path, shards: Sequence[Shard]) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder")
    planned = {shard.path: shard for shard in shards}
    for path in sorted(folder.glob("data/**/*.parquet")):
        name = path.relative_to(folder).as_posix()
        if path.name.startswith("."):
            path.unlink()  # by a process that was killed
        elif name not in planned or not written(path, planned[name]):
            raise UsageError(f"{folder} holds {name} of another export: name another folder, or remove it")


def _write_all(folder: Path, shards: Sequence[Shard], workers: int, progress: bool) -> None:
    _refuse_full(folder, sum(shard.bytes for shard in shards), any(shard.decoded != "none" for shard in shards))
    tasks = [(shard, folder / shard.path) for shard in shards]
    with closing(run_jobs(_write, tasks, workers=min(workers, max(1, len(tasks))))) as results:
        for (_, path), failure in track_progress(
            results, len(tasks), "writing Parquet files", progress, lambda done: str(done[0][1])
        ):
            if isinstance(failure, LostJob):
                raise StoreError(f"{path}: {LOST}")
            if failure is not None:
                raise failure


def _refuse_full(folder: Path, wanted: int, decoded: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if wanted > free:
        remedy = "--decoded none writes the store's bytes alone" if decoded else "free some space"
        raise UsageError(f"{folder}: up to {wanted / 1e9:.1f} GB to write and {free / 1e9:.1f} GB are free; {remedy}")


def _write(task: tuple[Shard, Path]) -> Exception | None:
    """None, or what a full disk or a damaged store raised: exceptions keep their attributes when they are returned."""
    shard, path = task
    try:
        write_shard(shard, path)
    except (EcdError, OSError) as error:
        return error
    return None


def _keep_or_write(path: Path, text: str) -> None:
    """Write a card, unless there is one that somebody changed."""
    if path.exists() and path.read_text(encoding="utf-8") != text:
        log.warning("%s is not what would be written, so it stays: remove it for a new one", path)
        return
    path.write_text(text, encoding="utf-8")
