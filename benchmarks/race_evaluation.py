"""The errors of the race's entries on the full grids of all test crystals, kept crystal by crystal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest

from race_training import Entry, silence_warnings

from ecd_models import load_model
from ecd_models.evaluation.crystal_result import CrystalResult, evaluate_crystal
from ecd_models.evaluation.partial_results import PartialResults
from ecd_models.task_data import TaskData, task_data

TASKS = ("pbe", "ood")
Parts = Mapping[str, tuple[str, list[str]]]  # the task and the ids of each test part, by its name without "test_"


def open_tasks() -> dict[str, TaskData]:
    """The data of all tasks that are evaluated."""
    return {task: task_data(task) for task in TASKS}


def describe_data(data: Mapping[str, TaskData]) -> dict[str, str]:
    """What results on these data have in common, for `keep_facts`."""
    return {f"densities of {task}": str(of_task.origin) for task, of_task in data.items()}


def list_parts(data: Mapping[str, TaskData]) -> Parts:
    """The task and the ids of each test part."""
    return {
        part.removeprefix("test_"): (task, ids)
        for task, of_task in data.items()
        for part, ids in of_task.parts.items()
        if part.startswith("test_") and ids
    }


def take_in_turn(parts: Iterable[tuple[str, Sequence[str]]]) -> Iterator[tuple[str, str]]:
    """Tasks and ids, one of each part after another."""
    columns = [[(task, id) for id in ids] for task, ids in parts]
    for turn in zip_longest(*columns):
        yield from (pair for pair in turn if pair is not None)


def evaluate_entry(entry: Entry) -> None:
    """Predict the test crystals that are left, a crystal of each part in turn, until the time ends."""
    silence_warnings()
    model, data = load_model(entry.checkpoint), open_tasks()
    kept = {task: open_results(entry, task) for task in TASKS}
    for task, id in take_in_turn(list_parts(data).values()):
        if time.time() > entry.until:
            break
        if id not in kept[task].crystals:
            kept[task].add(evaluate_crystal(model, data[task].store, id))
    for results in kept.values():
        results.close()


def open_results(entry: Entry, task: str) -> PartialResults:
    """The crystals of a task that an entry has predicted, to which others are added."""
    return PartialResults(entry.folder / f"{task}.jsonl", {"model": entry.model, "seed": entry.seed, "task": task})


def read_results(entry: Entry, task: str) -> dict[str, CrystalResult]:
    """The same crystals by id, without touching the file, which another process may be writing."""
    path = entry.folder / f"{task}.jsonl"
    lines = path.read_text().split("\n")[1:-1] if path.exists() else []
    return {result.id: result for result in map(CrystalResult.model_validate_json, lines)}
