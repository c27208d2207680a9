"""The export of stores into a folder for the Hugging Face Hub, which `datasets`, pandas and Croissant loaders read."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ecd_data.errors import EcdError, StoreError, UsageError
from ecd_data.hub.card import make_card
from ecd_data.hub.croissant import make_croissant
from ecd_data.hub.parquet_files import is_written, write_shard
from ecd_data.hub.plan import DECODED, Shard, filter_rows, find_configs, load_config, load_store_config, plan_shards
from ecd_data.work.process_pool import LostJob, refuse_worker_count, run_jobs
from ecd_data.work.progress import track_progress

log = logging.getLogger("ecd_data")

MB = 1_000_000
LOST_WORKER = "the system ended the process that wrote it, perhaps for lack of memory: run it again with fewer workers"
ALL_IN_TRAIN = (
    "all crystals of %s are exported as the split train, those that you test on too: give the file of `ecd split make`"
    " as --split-file (split_file=) to divide them"
)
RESTRICTED_PREFIX = "icsd-"  # of ids whose owner restricts redistribution: the command line warns of them


@dataclass(frozen=True)
class HubExport:
    """The result of an export.

    Attributes
    ----------
    folder : the folder of the export.
    crystals : the number of crystals by configuration.
    written, skipped : Parquet files that were written now, and files that were complete already.
    bytes : the size of all of them.
    restricted : the number of crystals whose structures are the ICSD's.
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
    split_file: str | Path | None = None,
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
    """A report of the export into the folder `dest`: Parquet files in data/, a card README.md and croissant.json.

    A file appears when it is complete and is not written again, so a second call continues an interrupted one.

    Parameters
    ----------
    dest : the folder to write.
    configurations : sets and tasks of `load_dataset`; by default the sets that `data_dir`, ECD_ROOT or the embedded
        sample has.
    store : any store, in place of configurations.
    split_file : the split of the store, as `ecd split make` writes it; without it all crystals are in "train", which a
        warning says.
    data_dir : folder or URL that holds the stores of the sets.
    splits : only these of train, validation and test.
    exclude : patterns of ids to leave out, such as "icsd-*".
    limit : largest number of crystals of each split.
    decoded : "float32" adds the grids as plain lists to the store's bytes; "none" leaves them out.
    shard_mb : largest size of a file before compression, in MB.
    license : the licence that the card states.
    workers : processes that write.
    progress : show a progress bar.

    Raises
    ------
    UsageError : an argument is impossible, or the folder has other files.
    """
    if decoded not in DECODED or shard_mb < 1 or (limit is not None and limit < 1):
        raise UsageError(
            f"decoded must be {' or '.join(DECODED)}, shard_mb and limit at least 1, not {decoded=}, {shard_mb=}, "
            f"{limit=}"
        )
    refuse_worker_count(workers)
    if store is not None and configurations:
        raise UsageError("export a store or configurations, not both: leave one of them out")
    if split_file is not None and store is None:
        raise UsageError("configurations have their own splits: give --split-file (split_file=) with a store alone")
    configs = []
    if store is not None:
        configs = [load_store_config(str(store), None if split_file is None else str(split_file))]
        if split_file is None:
            log.warning(ALL_IN_TRAIN, store)
    configs += [load_config(name, data_dir) for name in dict.fromkeys(configurations)]
    configs = [filter_rows(s, splits, exclude, limit) for s in configs or find_configs(data_dir)]
    shards = [shard for config in configs for shard in plan_shards(config, decoded, shard_mb * MB)]
    folder = Path(dest)
    _refuse_other_export(folder, shards)
    left = [shard for shard in shards if not is_written(folder / shard.path, shard)]
    _write_all(folder, left, workers, progress)
    _write_card(folder / "README.md", make_card(configs, decoded, license))
    (folder / "croissant.json").write_text(make_croissant(folder, configs, shards, license), encoding="utf-8")
    size = sum((folder / shard.path).stat().st_size for shard in shards)
    restricted = sum(id.startswith(RESTRICTED_PREFIX) for config in configs for id in config.rows["id"])
    counts = {config.name: len(config.rows) for config in configs}
    return HubExport(folder, counts, len(left), len(shards) - len(left), size, restricted)


def _refuse_other_export(folder: Path, shards: Sequence[Shard]) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder")
    planned = {shard.path: shard for shard in shards}
    for path in sorted(folder.glob("data/**/*.parquet")):
        name = path.relative_to(folder).as_posix()
        if path.name.startswith("."):
            path.unlink()  # left by a process that was killed
        elif name not in planned or not is_written(path, planned[name]):
            raise UsageError(f"{folder} holds {name} of another export: name another folder, or remove it")


def _write_all(folder: Path, shards: Sequence[Shard], workers: int, progress: bool) -> None:
    _refuse_full_disk(folder, sum(shard.bytes for shard in shards), any(shard.decoded != "none" for shard in shards))
    tasks = [(shard, folder / shard.path) for shard in shards]
    with closing(run_jobs(_write_one, tasks, workers=min(workers, max(1, len(tasks))))) as results:
        for (_, path), failure in track_progress(
            results, len(tasks), "writing Parquet files", progress, lambda done: str(done[0][1])
        ):
            if isinstance(failure, LostJob):
                raise StoreError(f"{path}: {LOST_WORKER}")
            if failure is not None:
                raise failure


def _refuse_full_disk(folder: Path, wanted: int, decoded: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if wanted > free:
        remedy = "--decoded none writes the store's bytes alone" if decoded else "free some space"
        raise UsageError(f"{folder}: up to {wanted / 1e9:.1f} GB to write and {free / 1e9:.1f} GB are free; {remedy}")


def _write_one(task: tuple[Shard, Path]) -> Exception | None:
    """None, or the error of a full disk or a damaged store: returned, it keeps its attributes between processes."""
    shard, path = task
    try:
        write_shard(shard, path)
    except (EcdError, OSError) as error:
        return error
    return None


def _write_card(path: Path, text: str) -> None:
    """Write the card, unless the folder has another one, which somebody may have edited."""
    if path.exists() and path.read_text(encoding="utf-8") != text:
        log.warning("%s differs from the card that would be written, so it stays: remove it for a new one", path)
        return
    path.write_text(text, encoding="utf-8")
