"""A new entry from results files: everything that they say is filled in, and what only its author knows is named."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecd_data.errors import UsageError
from ecd_data.io.file_bytes import hash_file
from ecd_models.evaluation.results import Results, read_results
from ecd_models.leaderboard.entry import entry_as_yaml

UNKNOWN = None  # what the author fills in: the schema refuses it, and the message names the key


def make_entry(paths: Sequence[Path], checkpoint: Path | None = None) -> str:
    """The YAML of an entry for the model of some results files.

    The name, the licences, the idea, the authors and the training's hardware stay empty: `ecd submit ENTRY.yaml` names
    each of them until it is filled in.

    Parameters
    ----------
    paths : the results files, all of one checkpoint.
    checkpoint : the file of the checkpoint, for its size; without it the size stays empty too.

    Raises
    ------
    UsageError : the files are of several checkpoints, or the checkpoint is another one.
    FormatError : a file is no results file.
    """
    results = [read_results(path) for path in paths]
    hashes = {one.model_card.checkpoint_sha256 for one in results}
    if len(hashes) != 1 or None in hashes:
        raise UsageError(f"{paths[0]} and the others are not of one checkpoint file: an entry is of one checkpoint")
    if checkpoint is not None and {hash_file(checkpoint)} != hashes:
        raise UsageError(f"{checkpoint} is not the checkpoint of the results: give the one that was evaluated")
    return entry_as_yaml(_fill_in(results, paths, checkpoint))


def _fill_in(results: Sequence[Results], paths: Sequence[Path], checkpoint: Path | None) -> dict[str, Any]:
    """The entry as far as the results tell it."""
    card = results[0].model_card
    trained = card.trained_on or {}
    return {
        "format": "ecd-entry-1",
        "kind": "measured",
        "model": results[0].model,
        "idea": UNKNOWN,
        "date": datetime.date.today(),
        "authors": [{"name": UNKNOWN}],
        "paper": None,
        "code": {"url": None, "licence": UNKNOWN},
        "checkpoint": {
            "url": None,
            "name": card.checkpoint,
            "sha256": card.checkpoint_sha256,
            "size": checkpoint.stat().st_size if checkpoint is not None else UNKNOWN,
            "licence": UNKNOWN,
        },
        "weights": card.weights,
        "training": {
            "data": trained.get("data_origin", UNKNOWN),
            "crystals": trained.get("crystals"),
            "functional": card.made_by,
        },
        "hardware": _fill_in_hardware(results),
        "results": [{"file": path.name, "sha256": hash_file(path), "size": path.stat().st_size} for path in paths],
    }


def _fill_in_hardware(results: Sequence[Results]) -> dict[str, Any]:
    """The machines of the results, the largest memory and the median speed."""
    machines = dict.fromkeys(f"{one.machine.processor}, {one.machine.device}" for one in results)
    memory = max(max(one.cost.peak_memory_MB, one.cost.peak_device_memory_MB or 0) for one in results)
    speeds = sorted(one.cost.median_points_per_second for one in results)
    return {
        "training": UNKNOWN,
        "prediction": "; ".join(machines),
        "memory_GB": round(memory / 1000 + 0.005, 2),
        "points_per_second": round(speeds[len(speeds) // 2]),
    }
