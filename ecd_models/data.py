"""The crystals of a task: their store and the ids of each part."""

from __future__ import annotations

from dataclasses import dataclass

from ecd_data.errors import UsageError
from ecd_data.store.reader import Store

KINDS = ("geometries", "compositions", "pairs", "types")
PARTS = ("train", "validation", "test", *(f"test_{kind}" for kind in KINDS))


@dataclass(frozen=True)
class TaskData:
    """A store and the ids of a task's parts in it; the embedded sample has its test parts apart as well."""

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
