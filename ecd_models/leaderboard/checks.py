"""The checks of an entry: that its files are those that it names, and what its results say about the model."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ecd_data.errors import EcdError, UsageError
from ecd_data.io.file_bytes import hash_file
from ecd_data.release.configurations import load_official_split
from ecd_data.release.data_origin import RELEASE, SAMPLE
from ecd_data.release.tasks import UnknownTaskError, find_task
from ecd_models.evaluation.results import Results, read_results
from ecd_models.leaderboard.entry import Entry, ResultsFile, read_entry
from ecd_models.task_data import TaskData, task_data

MEMORY_SLACK = 0.9  # of the memory in the results: an entry that states less would mislead its readers
SPEED_SLACK = 1.5  # times the speed in the results: clocks differ, but not by more


@dataclass(frozen=True)
class Check:
    """A check of an entry: what was checked, and the fault with its remedy; "" where there is none."""

    what: str
    fault: str = ""

    def __str__(self) -> str:
        return f"ok: {self.what}" if not self.fault else f"fault: not true that {self.what}: {self.fault}"


def check_entry(path: str | Path) -> tuple[Entry, list[Results], list[Check]]:
    """The entry in a file with its results and all checks, of which each passed or names its fault.

    Raises
    ------
    UsageError : there is no such file.
    FormatError : it does not follow the schema.
    """
    path = Path(path)
    entry = read_entry(path)
    tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)  # somewhere it is today
    checks = [
        Check("the entry follows the schema"),
        _check("its date is no day to come", entry.date <= tomorrow, f"it says {entry.date}: write the day of writing"),
    ]
    results: list[Results] = []
    for one in entry.results:
        found, check = _read_file(one, path)
        checks.append(check)
        if found is not None:
            results.append(found)
            checks += _check_results(entry, found, one.file)
    checks += [_check_task(one.task) for one in entry.reported if one.task is not None]
    if twice := _find_twice(results):
        checks.append(Check("there is one results file for each part", f"two files are of {twice}: leave one out"))
    return entry, results, checks


def read_checked(path: str | Path) -> tuple[Entry, list[Results]]:
    """The entry in a file with its results.

    Raises
    ------
    UsageError : there is no such file.
    EcdError : a check failed; the message names the first fault.
    """
    entry, results, checks = check_entry(path)
    if fault := next((check for check in checks if check.fault), None):
        raise EcdError(f"{path}: not true that {fault.what}: {fault.fault}")
    return entry, results


def find_results_file(name: str, entry_path: Path) -> Path:
    """The path of a results file of an entry: beside it, or in the folder results/ beside the entry's folder.

    Raises
    ------
    UsageError : it is in neither.
    """
    places = [entry_path.parent / name, entry_path.parent.parent / "results" / name]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UsageError(f"{name} is neither beside {entry_path} nor in {places[1].parent}: put it there")
    return found


def _read_file(one: ResultsFile, entry_path: Path) -> tuple[Results | None, Check]:
    what = f"{one.file} is the file that the entry names"
    try:
        path = find_results_file(one.file, entry_path)
        size = path.stat().st_size
        if size != one.size:
            return None, Check(what, f"it has {size:,} bytes, the entry says {one.size:,}: correct the entry")
        if hash_file(path) != one.sha256:
            return None, Check(what, "its SHA-256 is another: correct the entry, or restore the file")
        return read_results(path), Check(what)
    except EcdError as error:
        return None, Check(what, str(error))


def _check_results(entry: Entry, found: Results, name: str) -> list[Check]:
    """The checks of one results file against its entry; name: of the file."""
    checkpoint = entry.checkpoint
    same = checkpoint is not None and found.model_card.checkpoint_sha256 == checkpoint.sha256
    whole = found.crystals_judged == found.crystals_in_part
    trained = (found.seen_in_training.get("seen_crystals") or {}).get("count", 0)
    return [
        _check(f"{name} is of the entry's checkpoint", same, "its model card has another SHA-256: evaluate this one"),
        _check(
            f"{name} has a result for each crystal",
            whole and not found.failures,
            f"{found.crystals_judged} of {found.crystals_in_part} crystals have one: evaluate the whole part",
        ),
        _check(
            f"what trained the model of {name} is known",
            bool(found.seen_in_training.get("known")) or entry.notes is not None,
            "its checkpoint does not say: write into `notes` what is known, and that test crystals may be among it",
        ),
        _check(
            f"no test crystal of {name} is known to have trained the model",
            trained == 0,
            f"{trained} crystals of {found.task} {found.part} trained it: test it on others",
        ),
        _check(
            f"{name} is of the release or the sample",
            found.data_origin in (RELEASE, SAMPLE),
            "a store of one's own cannot be compared with others: evaluate a task",
        ),
        *_check_data(found, name),
        *_check_hardware(entry, found, name),
    ]


def _check_data(found: Results, name: str) -> list[Check]:
    """The checks that the data of some results are those of the other entries, of which all have the same crystals."""
    if found.data_origin not in (RELEASE, SAMPLE):
        return []
    try:
        sample = _read_sample(found.task) if found.data_origin == SAMPLE else None
        lists = load_official_split(found.task) if sample is None else sample.parts
    except EcdError as error:
        return [Check(f"the data of {name} are known", str(error))]
    hashes = found.data[2:] if sample is None else (sample.origin.store_hash, sample.origin.split_hash)
    return [
        _check(
            f"{name} is of the densities that the data have now",
            found.data[2:] == hashes,
            "the sample has changed since: evaluate the model again",
        ),
        _check(
            f"{name} is of all crystals of a part of {found.task} and no others",
            found.errors.keys() == set(lists.get(found.part, ())),
            f"{found.part} is no part, or has other crystals: evaluate one with --part, without --id",
        ),
    ]


@cache
def _read_sample(task: str) -> TaskData:
    return task_data(task, sample=True)


def _check_hardware(entry: Entry, found: Results, name: str) -> list[Check]:
    """The checks of the memory and the speed that an entry states."""
    cost = found.cost
    memory, speed = entry.hardware.memory_GB or 0, entry.hardware.points_per_second or 0
    needed = max(cost.peak_memory_MB, cost.peak_device_memory_MB or 0) / 1000
    return [
        _check(
            f"the memory of the entry is that of {name}",
            memory >= MEMORY_SLACK * needed,
            f"the results took {needed:.2f} GB: state at least that",
        ),
        _check(
            f"the speed of the entry is that of {name}",
            speed <= SPEED_SLACK * cost.median_points_per_second,
            f"the results have {cost.median_points_per_second:,.0f} points/s: state that",
        ),
    ]


def _check(what: str, passed: bool, fault: str) -> Check:
    return Check(what, "" if passed else fault)


def _check_task(task: str) -> Check:
    try:
        find_task(task)
    except UnknownTaskError as error:
        return Check(f"{task} is a task", str(error))
    return Check(f"{task} is a task")


def _find_twice(results: list[Results]) -> str:
    names = [f"{one.task} {one.part}" for one in results]
    return next((name for name in names if names.count(name) > 1), "")
