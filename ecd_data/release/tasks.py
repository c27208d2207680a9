"""The seven tasks of the benchmark: which crystals train, validate and test, by id."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecd_data.errors import EcdError, UsageError
from ecd_data.release.leakage import Leakage, leakage_between
from ecd_data.release.split_files import ids_in, tasks_table, verify_splits

__all__ = [
    "PARTS",
    "Leakage",
    "SplitSummary",
    "Task",
    "UnknownTaskError",
    "find_task",
    "leakage",
    "load_split",
    "set_of",
    "split_summary",
    "task_names",
    "verify_splits",
]

PARTS = ("train", "validation", "test")
STRICT = "_strict"
SAMPLE = Path(__file__).parents[1] / "sample" / "splits.json"
SAMPLE_SPLITS = ("sample_pbe", "sample_hse", "sample_ood")

Split = dict[str, list[str]]


class UnknownTaskError(UsageError, KeyError):
    """A task, set or configuration that does not exist; the message suggests near names."""

    __str__ = Exception.__str__


@dataclass(frozen=True)
class Task:
    """A task as splits/tasks.toml states it.

    sizes: official train, validation, test; pretrained_on: the task whose model this one starts from or uses, or
    None; strict: the train list lacks what overlaps with a test list.
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
    """What `ecd split TASK` prints: the task and how many crystals each part has."""

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
    """The names of the seven tasks, of their strict twins too when asked."""
    names = list(tasks_table()["tasks"])
    return names + [name + STRICT for name in names] if strict else names


def find_task(name: str) -> Task:
    """The task of a name or of the paper's name for it; raises UnknownTaskError with near names."""
    table = tasks_table()
    plain = name.strip().lower().replace("-", "_")
    strict = plain.endswith(STRICT)
    plain = plain.removesuffix(STRICT).removesuffix("_id")
    if plain not in table["tasks"]:
        raise unknown(name, [*task_names(strict=True), *SAMPLE_SPLITS], "task")
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


def unknown(name: str, known: list[str], kind: str) -> UnknownTaskError:
    """The error for a name that is none of `known`, with the nearest of them."""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=3, cutoff=0.5)
    names = ", ".join(near or known)
    return UnknownTaskError(f"{name!r} is no {kind} of ECD; {'near' if near else 'known'}: {names}")


def load_split(name: str) -> Split:
    """The ids of a task: {"train": [...], "validation": [...], "test": [...]}, sorted, without file endings.

    A part that the task does not have is []. `name` is a task ("ecd_hse"), the paper's name ("ECD-HSE-id"), a strict
    twin ("ecd_hse_strict"), or "sample_pbe", "sample_hse" and "sample_ood" for the embedded sample, which add
    "test_geometries", "test_compositions", "test_pairs" and "test_types". Raises UnknownTaskError, an EcdError, for
    another name, and EcdError where a list was altered.
    """
    name = str(name)
    if name in SAMPLE_SPLITS:
        return sample_split(name.removeprefix("sample_"))
    return _split_of(find_task(name))


def _split_of(task: Task) -> Split:
    return {part: _part_of(task, part) if part in task.parts else [] for part in PARTS}


def _part_of(task: Task, part: str) -> list[str]:
    ids = ids_in(f"{task.set}/{part}")
    if part == "train" and task.strict:
        dropped = set(ids_in(tasks_table()["sets"][task.set]["strict_train"]))
        return [id for id in ids if id not in dropped]
    return list(ids)


def set_of(name: str) -> Split:
    """The ids of a set ("pbe", "hse", "mp", "ood", "exp") by part; raises UnknownTaskError for another name."""
    sets = tasks_table()["sets"]
    if name not in sets:
        raise unknown(name, list(sets), "set")
    return {part: list(ids_in(f"{name}/{part}")) for part in sets[name]["parts"]}


def sample_split(functional: str) -> Split:
    """The split of the embedded sample, "pbe", "hse" or "ood"; raises EcdError where the sample is not installed."""
    if not SAMPLE.is_file():
        raise EcdError(f"the embedded sample has no {SAMPLE}: reinstall ecd-data")
    splits = json.loads(SAMPLE.read_text(encoding="utf-8"))
    if functional not in splits:
        raise EcdError(f"{SAMPLE} has no split for {functional}: reinstall ecd-data")
    split: Split = {key: list(ids) for key, ids in splits[functional].items()}
    return split


def split_summary(name: str) -> SplitSummary:
    """The task, its note and the sizes of its parts; print it for the text of `ecd split`."""
    task = find_task(name)
    return SplitSummary(task, {part: len(ids) for part, ids in _split_of(task).items()})


def leakage(name: str) -> Leakage:
    """How many test crystals of a task its model may have seen in training or pretraining; print it for the text."""
    if name in SAMPLE_SPLITS:
        raise UsageError(
            f"{name} starts from no other model, so nothing can leak: name a task of ECD such as ecd_pbe_hse"
        )
    task = find_task(name)
    before = find_task(task.pretrained_on) if task.pretrained_on else None
    return leakage_between(
        task=task.name,
        split=_split_of(task),
        pretrained_on=before.name if before else None,
        pretraining=_split_of(before) if before else None,
        set_train=_part_of(task, "train") if "strict_train" in tasks_table()["sets"][task.set] else [],
    )
