"""The data of a task or of your own store: the store and the ids of each part."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecd_data.errors import EcdError, UsageError
from ecd_data.hf.rows import select_rows
from ecd_data.release.configurations import (
    configuration_names,
    find_configuration,
    find_configuration_store,
    load_official_split,
)
from ecd_data.release.data_origin import Origin, check_origin, find_origin, refuse_unofficial, split_hash, store_hash
from ecd_data.release.own_splits import make_split, read_split
from ecd_data.release.tasks import PARTS, SAMPLE_PARTS
from ecd_data.store.data_root import find_data_root, open_store
from ecd_data.store.reader import Store

if TYPE_CHECKING:
    from ecd_models.training.config import TrainConfig

ALL = "all"  # the part that holds every crystal of a store without a split
CHOSEN = "ids"  # the part that holds the crystals whose ids an evaluation lists


@dataclass(frozen=True)
class TaskData:
    """A store, the ids of each part, and the origin of the data; the sample has the parts SAMPLE_PARTS as well.

    task: the name of the task or configuration, or the path of your own store. listed: the number of crystals in each
    part of the official lists, where the store has any of them.
    """

    task: str
    store: Store
    parts: dict[str, list[str]]
    origin: Origin
    listed: dict[str, int] = field(default_factory=dict)

    def ids(self, part: str) -> list[str]:
        """The ids of a part.

        Raises
        ------
        UsageError : the part has no crystals.
        """
        ids = self.parts.get(part, [])
        if not ids:
            available = ", ".join(name for name, ids in self.parts.items() if ids)
            where = "" if self.task == str(self.store.root) else f" of {self.store.root}"
            raise UsageError(f"{self.task} has no crystals in part {part!r}{where}; there are: {available}")
        return ids

    def select_ids(self, ids: list[str]) -> TaskData:
        """The data with these crystals alone, as the part "ids".

        Raises
        ------
        UsageError : there are no ids, one stands there twice, or one is not in the store.
        """
        if not ids:
            raise UsageError(f"ids= is empty: name crystals of {self.store.root}, or leave it out")
        if len(set(ids)) < len(ids):
            twice = next(id for id in ids if ids.count(id) > 1)
            raise UsageError(f"{twice!r} stands twice among the ids (--id): name each crystal once")
        if unknown := [id for id in ids if id not in self.store]:
            similar = difflib.get_close_matches(unknown[0], self.store.ids, n=1)
            hint = f"; did you mean {similar[0]!r}" if similar else ""
            raise UsageError(f"{unknown[0]!r} is not in {self.store.root}{hint}")
        return replace(self, parts={CHOSEN: ids}, listed={})


def task_data(task: str, data_dir: str | None = None, sample: bool = False) -> TaskData:
    """The data of a task or configuration.

    Parameters
    ----------
    task : the name of a task or configuration.
    data_dir : folder or URL with the stores; default $ECD_ROOT, else, for a configuration, the embedded sample.
    sample : use the sample, or the copy of it under data_dir, for a task of the benchmark as well.

    Raises
    ------
    UsageError : the task is unknown, its data are missing, or they hold no crystal of a task of the benchmark.
    """
    name = find_configuration(task)
    if not sample:
        refuse_unofficial(task, find_data_root(data_dir))
    store = Store(find_configuration_store(name, data_dir or None, sample))
    check_origin(task, store, sample)
    rows = select_rows(name, store)
    parts = {part: rows["id"][rows["split"] == part].tolist() for part in PARTS}
    for part in SAMPLE_PARTS:
        split, _, kind = part.partition("_")
        parts[part] = rows["id"][(rows["split"] == split) & (rows["kind"] == kind)].tolist()
    origin = find_origin(name, store, parts)
    lists = load_official_split(name)
    official = any(id in store for ids in lists.values() for id in ids)
    listed = {part: len(lists.get(part, [])) for part in parts} if official else {}
    return TaskData(name, store, parts, origin, listed)


def own_data(store: str | Path | Store, split: str | Path | Mapping[str, Any] | None = None) -> TaskData:
    """The data of your own store, divided by a split.

    Parameters
    ----------
    store : a store, or its path or URL.
    split : a JSON file of ids by part, as `ecd split make` writes it, or shares by part such as {"train": 0.8,
        "validation": 0.1, "test": 0.1, "rule": "composition", "seed": 0}, where rule and seed may be left out. Without
        a split all crystals are in the part "all".

    Raises
    ------
    StoreError : the store does not exist.
    UsageError : the split is not valid or does not fit the store.
    """
    opened = store if isinstance(store, Store) else open_store(store)
    if split is None:
        parts = {ALL: opened.ids}
    elif isinstance(split, Mapping):
        fractions = {part: share for part, share in split.items() if part not in ("rule", "seed")}
        rule, seed = split.get("rule", "composition"), split.get("seed", 0)
        parts = make_split(opened, fractions or None, rule=rule, seed=seed)
    else:
        parts = read_split(split, opened)
    digest = store_hash(opened)
    return TaskData(str(opened.root), opened, parts, Origin(digest, digest, split_hash(parts)))


def evaluation_data(
    name: str | Path | Store,
    split: str | Path | Mapping[str, Any] | None = None,
    data_dir: str | None = None,
    sample: bool = False,
) -> TaskData:
    """The data to evaluate a model on: those of a task or configuration, or of a store; see `task_data`, `own_data`.

    Parameters
    ----------
    name : a task or configuration, or a Store, or the path or URL of one.
    split : as in `own_data`, for a store only.
    data_dir, sample : as in `task_data`, for a task only.

    Raises
    ------
    UsageError : an argument does not apply; also as in `task_data` and `own_data`.
    """
    own = not isinstance(name, str) or looks_like_store(name)
    if own and (data_dir or sample):
        raise UsageError(f"{name} is a store: data_dir (--data) and sample belong to a task, leave them out")
    if not own and split is not None:
        raise UsageError(f"{name} is a task and has its own split: give a split with the path of a store")
    return own_data(name, split) if own else task_data(str(name), data_dir, sample)


def looks_like_store(name: str) -> bool:
    """Whether a name means a store rather than a task: it is a folder, a URL, or ends in .ecd."""
    if name in configuration_names():
        return False
    return "://" in name or name.rstrip("/").endswith(".ecd") or Path(name).is_dir()


def training_data(config: TrainConfig) -> TaskData:
    """The data that a configuration trains on: those of its store and split, else those of its task.

    Raises
    ------
    EcdError : a density to train or to validate on is zero everywhere; also as in `task_data` and `own_data`.
    """
    own = bool(config.store)
    data = own_data(config.store, config.split) if own else task_data(config.task, config.data_dir, config.sample)
    _refuse_zero_densities(data)
    return data


def _refuse_zero_densities(data: TaskData) -> None:
    used = {*data.parts.get("train", []), *data.parts.get("validation", [])}
    table = data.store.columns("id", "nelect").to_pydict()
    for id, nelect in zip(table["id"], table["nelect"], strict=True):
        if nelect == 0 and id in used and not data.store[id].values.any():
            raise EcdError(
                f"the density of {id} in {data.store.root} is zero everywhere: leave it out of the split, or convert"
                " its file again into another store"
            )
