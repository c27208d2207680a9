"""The seven tasks of the benchmark: the ids of the crystals that train, validate and test."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecd_data.errors import EcdError, UsageError
from ecd_data.release.leakage import Leakage, count_overlaps
from ecd_data.release.split_files import read_ids, read_tasks, verify_splits

__all__ = [
    "PARTS",
    "SAMPLE_PARTS",
    "Leakage",
    "SplitSummary",
    "Task",
    "UnknownTaskError",
    "count_leakage",
    "find_task",
    "load_split",
    "set_of",
    "summarize_split",
    "task_names",
    "verify_splits",
]

PARTS = ("train", "validation", "test")
STRICT = "_strict"
SAMPLE_SPLIT_FILE = Path(__file__).parents[1] / "sample" / "splits.json"
SAMPLE_SPLITS = ("sample_pbe", "sample_hse", "sample_ood")
SAMPLE_PARTS = (  # of the embedded sample: its validation and test crystals by what training has not seen of them
    "validation_geometries",
    "validation_compositions",
    "test_geometries",
    "test_compositions",
    "test_pairs",
    "test_rare_elements",
    "test_types",
)

Split = dict[str, list[str]]


class UnknownTaskError(UsageError, KeyError):
    """A task, set or configuration that does not exist; the message suggests similar names."""

    __str__ = Exception.__str__


@dataclass(frozen=True)
class Task:
    """A task of the benchmark, from splits/tasks.toml.

    Attributes
    ----------
    sizes : official numbers of train, validation and test crystals.
    pretrained_on : the task whose model this one starts from or uses; None without one.
    strict : whether the train list lacks the crystals that overlap with a test list.
    """

    name: str
    aliases: tuple[str, ...]
    set: str
    functional: str
    parts: tuple[str, ...]
    sizes: tuple[int, int, int]
    pretrained_on: str | None
    note: str
    strict: bool


@dataclass(frozen=True)
class SplitSummary:
    """A task and the number of crystals of each part; its text is what `ecd split TASK` prints."""

    task: Task
    sizes: dict[str, int]

    def __str__(self) -> str:
        task = self.task
        sizes = " / ".join(f"{self.sizes[part]:,}" if self.sizes[part] else "-" for part in PARTS)
        names = f" ({', '.join(task.aliases)})" if task.aliases else ""
        lines = [
            f"{task.name}{names}: {task.functional} densities of the set {task.set}",
            f"train / validation / test: {sizes}",
        ]
        if task.pretrained_on:
            lines.append(f"pretrained on: {task.pretrained_on}")
        return "\n".join([*lines, task.note])


def task_names(strict: bool = False) -> list[str]:
    """The names of the seven tasks, and with `strict` those of their strict twins too."""
    names = list(read_tasks()["tasks"])
    return names + [name + STRICT for name in names] if strict else names


def find_task(name: str) -> Task:
    """The task of a name or of the paper's name for it.

    Raises UnknownTaskError, which suggests similar names.
    """
    table = read_tasks()
    plain = name.strip().lower().replace("-", "_")
    strict = plain.endswith(STRICT)
    plain = plain.removesuffix(STRICT).removesuffix("_id")
    if plain not in table["tasks"]:
        raise unknown_name_error(name, [*task_names(strict=True), *SAMPLE_SPLITS], "task")
    entry: dict[str, Any] = table["tasks"][plain]
    pretrained_on = entry.get("pretrained_on")
    return Task(
        name=plain + (STRICT if strict else ""),
        aliases=() if strict else tuple(entry["aliases"]),
        set=entry["set"],
        functional=table["sets"][entry["set"]]["functional"],
        parts=tuple(entry["parts"]),
        sizes=tuple(entry["sizes"]),
        pretrained_on=pretrained_on + STRICT if pretrained_on and strict else pretrained_on,
        note=f"{table['strict']['note']} {entry['note']}" if strict else entry["note"],
        strict=strict,
    )


def unknown_name_error(name: str, known: list[str], kind: str) -> UnknownTaskError:
    """The error for a name that is not among `known`, with the most similar of them in its message."""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=3, cutoff=0.5)
    names = ", ".join(near or known)
    return UnknownTaskError(f"{name!r} is no {kind} of ECD; {'near' if near else 'known'}: {names}")


def load_split(name: str) -> Split:
    """The sorted ids of a task by part: {"train": [...], "validation": [...], "test": [...]}, without file endings.

    A part that the task does not have is an empty list.

    Parameters
    ----------
    name : a task ("ecd_hse"), the paper's name for it ("ECD-HSE-id") or its strict twin ("ecd_hse_strict"); or the
        embedded sample: "sample_pbe", "sample_hse", "sample_ood", which have the further parts SAMPLE_PARTS.

    Raises
    ------
    UnknownTaskError : there is no task of this name.
    EcdError : a list was altered.
    """
    name = str(name)
    if name in SAMPLE_SPLITS:
        return load_sample_split(name.removeprefix("sample_"))
    return _load_task(find_task(name))


def _load_task(task: Task) -> Split:
    return {part: _load_part(task, part) if part in task.parts else [] for part in PARTS}


def _load_part(task: Task, part: str) -> list[str]:
    ids = read_ids(f"{task.set}/{part}")
    if part == "train" and task.strict:
        dropped = set(read_ids(read_tasks()["sets"][task.set]["strict_train"]))
        return [id for id in ids if id not in dropped]
    return list(ids)


def set_of(name: str) -> Split:
    """The ids by part of a set: "pbe", "hse", "mp", "ood" or "exp"; raises UnknownTaskError for another name."""
    sets = read_tasks()["sets"]
    if name not in sets:
        raise unknown_name_error(name, list(sets), "set")
    return {part: list(read_ids(f"{name}/{part}")) for part in sets[name]["parts"]}


def load_sample_split(functional: str) -> Split:
    """The ids by part of the embedded sample, "pbe", "hse" or "ood"; raises EcdError if it is not installed."""
    if not SAMPLE_SPLIT_FILE.is_file():
        raise EcdError(f"the embedded sample has no {SAMPLE_SPLIT_FILE}: reinstall ecd-data")
    splits = json.loads(SAMPLE_SPLIT_FILE.read_text(encoding="utf-8"))
    if functional not in splits:
        raise EcdError(f"{SAMPLE_SPLIT_FILE} has no split for {functional}: reinstall ecd-data")
    split: Split = {key: list(ids) for key, ids in splits[functional].items()}
    return split


def summarize_split(name: str) -> SplitSummary:
    """The task of a name with the number of crystals of its parts."""
    task = find_task(name)
    return SplitSummary(task, {part: len(ids) for part, ids in _load_task(task).items()})


def count_leakage(name: str) -> Leakage:
    """The Leakage of a task: how many of its test crystals its model may have seen in training or pretraining."""
    if name in SAMPLE_SPLITS:
        raise UsageError(
            f"{name} is the embedded sample, whose models start from no other model: name a task such as ecd_pbe_hse"
        )
    task = find_task(name)
    first = find_task(task.pretrained_on) if task.pretrained_on else None
    return count_overlaps(
        task=task.name,
        split=_load_task(task),
        pretrained_on=first.name if first else None,
        pretraining=_load_task(first) if first else None,
        set_train=_load_part(task, "train") if "strict_train" in read_tasks()["sets"][task.set] else [],
    )
