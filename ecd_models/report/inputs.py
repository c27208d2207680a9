"""The files that a report is made of: results of evaluations, of self-consistencies, and logs of trainings."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecd_data.errors import FormatError, UsageError
from ecd_models.evaluation.results import Results, read_results
from ecd_models.training.logs import COLUMNS


@dataclass(frozen=True)
class ScfGain:
    """The achieved ratio of a start: mean and population standard deviation over a number of crystals."""

    crystals: str
    start: str
    mean: float
    std: float


@dataclass(frozen=True)
class Curve:
    """The errors of a training in percent by step: those of validation, which are at some steps only."""

    name: str
    steps: Sequence[int]
    validation: Sequence[float]


@dataclass(frozen=True)
class Inputs:
    """All that a report shows beside what comes with the package."""

    results: Sequence[Results]
    gains: Sequence[ScfGain] = field(default_factory=tuple)
    curves: Sequence[Curve] = field(default_factory=tuple)


def read_inputs(paths: Iterable[str | Path]) -> Inputs:
    """The Inputs in files: results of `ecd evaluate`, JSON of `ecd scf run`, log.csv of `ecd train`.

    Raises
    ------
    UsageError : a file does not exist, or two files are of the same model on the same part.
    FormatError : a file is none of these, is damaged, or was changed.
    """
    results: list[Results] = []
    gains: list[ScfGain] = []
    logs: list[Path] = []
    seen: dict[tuple[Any, ...], Path] = {}
    for path in map(Path, paths):
        if path.suffix == ".csv":
            logs.append(path)
        elif (record := _peek(path)) is not None and "gains" in record:
            gains += _read_gains(record, path)
        else:
            results.append(read_results(path))
            key = (*results[-1].data, results[-1].model, results[-1].model_card.weights_sha256)
            if key in seen:
                raise UsageError(
                    f"{path} and {seen[key]} are of one model, {results[-1].model}, on the same data: give one of them"
                )
            seen[key] = path
    curves = [_read_curve(path, name) for path, name in zip(logs, _name_runs(logs), strict=True)]
    return Inputs(results, gains, curves)


def _peek(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where `read_results` says what is wrong with it."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _read_gains(record: Mapping[str, Any], path: Path) -> list[ScfGain]:
    try:
        return [
            ScfGain(
                f"{len(gain['ids'])} of {path.stem}",
                str(gain["name"]),
                float(gain["achieved"]["mean"]),
                float(gain["achieved"]["std"]),
            )
            for gain in next(iter(record["gains"].values()))
        ]
    except (AttributeError, KeyError, StopIteration, TypeError, ValueError) as error:
        raise FormatError(f"{path} is no JSON of `ecd scf run` ({error!r}): write it again with -o") from None


def _name_runs(logs: Sequence[Path]) -> list[str]:
    """A name for each log: that of its folder, and those of the folders above it where two have the same."""
    folders = [path.absolute().parent.parts for path in logs]
    for depth in (1, 2, 3):
        names = ["/".join(parts[-depth:]) for parts in folders]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in logs]


def _read_curve(path: Path, name: str) -> Curve:
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        if not rows or not {"step", COLUMNS[4]} <= set(rows[0]):
            raise ValueError("no columns step and validation_error_percent")
        known = [(int(row["step"]), float(row[COLUMNS[4]])) for row in rows if row[COLUMNS[4]] not in ("", "nan")]
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: give the log.csv of a training") from None
    except (OSError, TypeError, ValueError) as error:
        raise FormatError(f"{path} is no log of a training ({error}): give a log.csv that `ecd train` wrote") from None
    return Curve(name, [step for step, _ in known], [error for _, error in known])
