"""The crystals of a task, or of a store of one's own: the store and the ids of each part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecd_data.errors import UsageError
from ecd_data.splitting import make_split, read_split
from ecd_data.store.reader import Store

if TYPE_CHECKING:
    from ecd_models.config import TrainConfig

KINDS = ("geometries", "compositions", "pairs", "types")
PARTS = ("train", "validation", "test", *(f"test_{kind}" for kind in KINDS))


@dataclass(frozen=True)
class TaskData:
    """A store and the ids of a task's parts in it; the embedded sample has its test parts apart as well.

    task: the name of the task or configuration, or the path of a store of one's own.
    """

    task: str
    store: Store
    parts: dict[str, list[str]]

    def ids(self, part: str) -> list[str]:
        """The ids of a part; raises UsageError where the task has none."""
        ids = self.parts.get(part, [])
        if not ids:
            there = ", ".join(name for name, ids in self.parts.items() if ids)
            raise UsageError(f"{self.task} has no crystals in part {part!r} of {self.store.root}; there are: {there}")
        return ids


def task_data(task: str, data_dir: str | None = None) -> TaskData:
    """The data of a task or configuration under `data_dir`, $ECD_ROOT or the embedded sample.

    Raises UsageError for an unknown task or one that is not at hand.
    """
    from ecd_data.release.rows import configuration, locate, rows_of

    name = configuration(task)
    store = Store(locate(name, data_dir or None))
    rows = rows_of(name, store)
    parts = {part: rows["id"][rows["split"] == part].tolist() for part in ("train", "validation", "test")}
    for kind in KINDS:
        parts[f"test_{kind}"] = rows["id"][rows["test_part"] == kind].tolist()
    return TaskData(name, store, parts)


def own_data(store: str | Path, split: str | Path | Mapping[str, Any]) -> TaskData:
    """The data of a store of one's own, divided by a split.

    split: a JSON file of ids by part, as `ecd split make` writes it, or {"train": 0.8, "validation": 0.1, "test": 0.1,
    "rule": "composition", "seed": 0}, of which rule and seed may be left out. Raises StoreError where there is no
    store, UsageError where the split is none or does not fit the store.
    """
    from ecd_data.store import open_store

    opened = open_store(store)
    if isinstance(split, Mapping):
        fractions = {part: share for part, share in split.items() if part not in ("rule", "seed")}
        rule, seed = split.get("rule", "composition"), split.get("seed", 0)
        return TaskData(str(store), opened, make_split(opened, fractions or None, rule=rule, seed=seed))
    return TaskData(str(store), opened, read_split(split, opened))


def training_data(config: TrainConfig) -> TaskData:
    """The data that a configuration trains on: those of its store and split, else those of its task."""
    if config.store:
        return own_data(config.store, config.split)
    return task_data(config.task, config.data_dir)
