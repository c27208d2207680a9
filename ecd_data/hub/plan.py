"""What an export to the Hugging Face Hub holds: which crystals lie in which Parquet file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ecd_data.errors import StoreError, UsageError
from ecd_data.hf.rows import rows_of
from ecd_data.release.configurations import GAP, PROBES, find_configuration, find_configuration_store
from ecd_data.release.tasks import PARTS
from ecd_data.store import Store
from ecd_data.store.data_root import SAMPLE_STORES, sample_store

if TYPE_CHECKING:
    from pandas import DataFrame

SETS = ("pbe", "hse", "mp", "ood")
DECODED = ("float32", "none")


@dataclass(frozen=True, eq=False)
class Subset:
    """A configuration of the export: its store and the rows that it takes, with columns number, id, split, ...

    official: of ECD's sets, not a store of one's own.
    """

    name: str
    store: Store
    rows: DataFrame
    official: bool = True

    @property
    def sample(self) -> bool:
        """Whether it is the embedded sample, which is ours to give away."""
        return self.store.root in {str(Path(sample_store(name)).resolve()) for name in SAMPLE_STORES}

    def parts(self) -> Iterator[tuple[str, DataFrame]]:
        """The splits that have rows."""
        for part in PARTS:
            if len(rows := self.rows[self.rows["split"] == part]):
                yield part, rows


@dataclass(frozen=True, eq=False)
class Shard:
    """One Parquet file: its path in the folder, its rows, their bytes before compression, a hash of what it holds."""

    subset: Subset
    part: str
    path: str
    rows: DataFrame
    decoded: str
    bytes: int
    content: str


def subset_of(name: str, data_dir: str | None) -> Subset:
    """A configuration or task as load_dataset has it; raises UsageError or StoreError where it has no data."""
    found = find_configuration(name)
    if found.startswith(PROBES):
        raise UsageError(f"{found} is drawn from densities: export {found.removeprefix(PROBES)}")
    store = Store(find_configuration_store(found, data_dir))
    return Subset(found, store, rows_of(found, store))


def subset_of_store(root: str) -> Subset:
    """All crystals of a store of one's own, as the split "train" of a configuration with the store's name."""
    store = Store(root)
    rows = pd.DataFrame({"number": np.arange(len(store)), "id": store.ids, "split": "train", "test_part": None})
    name = Path(store.root).name.removesuffix(".ecd") or "default"
    return Subset(name, store, rows, official=False)


def subsets_at_hand(data_dir: str | None) -> list[Subset]:
    """The sets that the data root, or else the embedded sample, has."""
    found = []
    for name in SETS:
        try:
            found.append(subset_of(name, data_dir))
        except (UsageError, StoreError):
            continue
    if not found:
        raise UsageError("no store of pbe, hse, mp or ood is at hand: set --data or ECD_ROOT, or name one with --store")
    return found


def chosen(subset: Subset, splits: Sequence[str], exclude: Sequence[str], limit: int | None) -> Subset:
    """The subset without other splits, ids that match a pattern, and all but the first `limit` of each split."""
    if wrong := [split for split in splits if split not in PARTS]:
        raise UsageError(f"{wrong[0]!r} is no split; there are {', '.join(PARTS)}")
    rows = subset.rows
    rows = rows[rows["split"].isin(splits or PARTS)]
    rows = rows[[not any(fnmatch(id, pattern) for pattern in exclude) for id in rows["id"]]]
    if limit is not None:
        rows = rows.groupby("split").head(limit)
    if not len(rows):
        raise UsageError(f"nothing of {subset.name} is left to export: loosen --split, --exclude or --limit")
    return replace(subset, rows=rows)


def shards_of(subset: Subset, decoded: str, shard_bytes: int) -> list[Shard]:
    """The files of a subset, each of at most `shard_bytes` before compression where no crystal alone is more."""
    place = subset.store.columns("length", "sha256", "shape", "spin")
    lengths, spin = place["length"].to_numpy(), place["spin"].to_numpy()
    points = np.array([np.prod(shape) for shape in place["shape"].to_pylist()], dtype=np.int64)
    sizes = lengths + (4 * points * (1 + spin.astype(np.int64)) if decoded != "none" else 0)
    digests = place["sha256"].to_pylist()
    shards = []
    for part, rows in subset.parts():
        taken_sizes = sizes[rows["number"].to_numpy()]
        groups = _filled(taken_sizes, shard_bytes)
        for k, (start, stop) in enumerate(groups):
            taken = rows.iloc[start:stop]
            path = f"data/{subset.name}/{part}-{k:05d}-of-{len(groups):05d}.parquet"
            stated = [decoded, *(f"{id} {digests[n]}" for id, n in zip(taken["id"], taken["number"], strict=True))]
            content = hashlib.sha256("\n".join(stated).encode()).hexdigest()
            shards.append(Shard(subset, part, path, taken, decoded, int(taken_sizes[start:stop].sum()), content))
    return shards


def _filled(sizes: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Runs of neighbours whose sizes sum to no more than `most`."""
    edges, held = [0], 0
    for number, size in enumerate(sizes.tolist()):
        if held and held + size > most:
            edges.append(number)
            held = 0
        held += size
    return list(zip(edges, [*edges[1:], len(sizes)], strict=True))


def extra_columns(rows: DataFrame) -> list[str]:
    """What rows_of adds to the index's columns."""
    return [name for name in (GAP,) if name in rows]
