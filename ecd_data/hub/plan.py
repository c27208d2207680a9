"""The plan of an export to the Hugging Face Hub: its configurations, and which crystals each Parquet file holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecd_data.errors import StoreError, UsageError
from ecd_data.hf.rows import select_own_rows, select_rows
from ecd_data.release.configurations import GAP, PROBES, find_configuration, find_configuration_store
from ecd_data.release.tasks import PARTS
from ecd_data.store import Store
from ecd_data.store.data_root import SAMPLE_STORES, sample_store

if TYPE_CHECKING:
    from pandas import DataFrame

SETS = ("pbe", "hse", "mp", "ood")
DECODED = ("float32", "none")


@dataclass(frozen=True, eq=False)
class ExportConfig:
    """A configuration of the export.

    Attributes
    ----------
    name : its name in the export.
    store : the store that has its crystals.
    rows : the crystals to export, with the columns of `select_rows`: number, id, split and kind.
    official : whether it is one of ECD's sets or tasks, and not another store.
    """

    name: str
    store: Store
    rows: DataFrame
    official: bool = True

    @property
    def sample(self) -> bool:
        """Whether its store is the embedded sample, which has a known licence."""
        return self.store.root in {str(Path(sample_store(name)).resolve()) for name in SAMPLE_STORES}

    def content(self, decoded: str) -> str:
        """A hash of the crystals that are exported, their splits and bytes."""
        digests = self.store.columns("sha256")["sha256"].to_pylist()
        rows = zip(*(self.rows[name] for name in ("split", "id", "number")), strict=True)
        lines = [decoded, *(f"{split} {id} {digests[number]}" for split, id, number in rows)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def parts(self) -> Iterator[tuple[str, DataFrame]]:
        """The splits that have rows, with these rows."""
        for part in PARTS:
            if len(rows := self.rows[self.rows["split"] == part]):
                yield part, rows


@dataclass(frozen=True, eq=False)
class Shard:
    """One Parquet file of an export.

    Attributes
    ----------
    path : its path in the folder of the export.
    rows : the crystals that it holds.
    decoded : "float32" with grids, "none" without.
    bytes : its size before compression.
    content : a hash of the ids and bytes that it holds.
    """

    config: ExportConfig
    part: str
    path: str
    rows: DataFrame
    decoded: str
    bytes: int
    content: str


def load_config(name: str, data_dir: str | None) -> ExportConfig:
    """The ExportConfig of a configuration of `load_dataset`; raises UsageError or StoreError without data for it."""
    configuration = find_configuration(name)
    if configuration.startswith(PROBES):
        raise UsageError(
            f"{configuration} has points drawn from densities: export {configuration.removeprefix(PROBES)} instead"
        )
    store = Store(find_configuration_store(configuration, data_dir))
    return ExportConfig(configuration, store, select_rows(configuration, store))


def load_store_config(root: str, split_file: str | None) -> ExportConfig:
    """The ExportConfig of any store, named after it, with the split of a file; without a file all are in "train"."""
    store = Store(root)
    rows = select_own_rows(store, split_file)
    name = Path(store.root).name.removesuffix(".ecd") or "default"
    return ExportConfig(name, store, rows, official=False)


def find_configs(data_dir: str | None) -> list[ExportConfig]:
    """The ExportConfigs of all sets that the data folder, or else the embedded sample, has."""
    found = []
    for name in SETS:
        try:
            found.append(load_config(name, data_dir))
        except (UsageError, StoreError):
            continue
    if not found:
        raise UsageError(
            "no store of pbe, hse, mp or ood was found: set ECD_ROOT (or --data, data_dir=), or name any store with "
            "--store (store=)"
        )
    return found


def filter_rows(config: ExportConfig, splits: Sequence[str], exclude: Sequence[str], limit: int | None) -> ExportConfig:
    """The ExportConfig with only these splits, without ids that match `exclude`, at most `limit` crystals a split."""
    if wrong := [split for split in splits if split not in PARTS]:
        raise UsageError(f"{wrong[0]!r} is no split; there are {', '.join(PARTS)}")
    rows = config.rows
    rows = rows[rows["split"].isin(splits or PARTS)]
    rows = rows[[not any(fnmatch(id, pattern) for pattern in exclude) for id in rows["id"]]]
    if limit is not None:
        rows = rows.groupby("split").head(limit)
    if not len(rows):
        raise UsageError(
            f"no crystal of {config.name} is left to export: change --split, --exclude or --limit (splits=, exclude=, "
            "limit=)"
        )
    return replace(config, rows=rows)


def plan_shards(config: ExportConfig, decoded: str, shard_bytes: int) -> list[Shard]:
    """The Parquet files of a configuration, each of at most `shard_bytes` before compression, or of one crystal."""
    place = config.store.columns("length", "sha256", "shape", "spin")
    lengths, spin = place["length"].to_numpy(), place["spin"].to_numpy()
    points = np.array([np.prod(shape) for shape in place["shape"].to_pylist()], dtype=np.int64)
    sizes = lengths + (4 * points * (1 + spin.astype(np.int64)) if decoded != "none" else 0)
    digests = place["sha256"].to_pylist()
    shards = []
    for part, rows in config.parts():
        taken_sizes = sizes[rows["number"].to_numpy()]
        groups = _group_by_size(taken_sizes, shard_bytes)
        for k, (start, stop) in enumerate(groups):
            taken = rows.iloc[start:stop]
            path = f"data/{config.name}/{part}-{k:05d}-of-{len(groups):05d}.parquet"
            stated = [decoded, *(f"{id} {digests[n]}" for id, n in zip(taken["id"], taken["number"], strict=True))]
            content = hashlib.sha256("\n".join(stated).encode()).hexdigest()
            shards.append(Shard(config, part, path, taken, decoded, int(taken_sizes[start:stop].sum()), content))
    return shards


def _group_by_size(sizes: np.ndarray, most: int) -> list[tuple[int, int]]:
    """The bounds (start, stop) of groups of neighbours whose sizes add up to no more than `most`."""
    edges, total = [0], 0
    for number, size in enumerate(sizes.tolist()):
        if total and total + size > most:
            edges.append(number)
            total = 0
        total += size
    return list(zip(edges, [*edges[1:], len(sizes)], strict=True))


def added_columns(rows: DataFrame) -> list[str]:
    """The columns that `select_rows` adds to those of the index."""
    return [name for name in (GAP,) if name in rows]
