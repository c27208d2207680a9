"""One entry of the race: a network that trains on one core within its budget, or the pair model that all start from."""

from __future__ import annotations

import json
import logging
import resource
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from predict import rock_salt

from ecd_data.errors import UsageError
from ecd_data.io.atomic_write import write_json
from ecd_models import load_model, predict, train
from ecd_models.model import DensityModel
from ecd_models.training.choose_atoms import PAIR_MODEL, load_bonded_atoms
from ecd_models.training.config import TrainConfig, load_config

FIRST, TRIAL = 10, 40  # steps that are not timed, since they decode densities and compile; steps that are
SPEED_GRID, REPEATS = (48, 48, 48), 3
MARGIN = 40.0  # seconds before the end that training leaves: densities are decoded before it, saving comes after it
FEWEST = 20  # steps of a training for which no time is left
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MODELS = ("fourier_density", "charge3net", "deepdft", "invcharge3net", "invdeepdft")


@dataclass(frozen=True)
class Entry:
    """A model, its seed, how long it trains, and where its results go.

    budget : seconds of a processor, from which the steps follow.
    atoms : the pair model that a network starts from, a name or a file.
    out : the folder that has the folders of all entries.
    until : the time.time() by which all has to end.
    steps : of the training, whatever the budget; 0 for those that the budget allows.
    data : settings of the training data in place of those of the recipe.
    """

    model: str
    seed: int
    budget: float
    atoms: str
    out: Path
    until: float = float("inf")
    steps: int = 0
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of its run and its results."""
        if self.model == PAIR_MODEL:
            return self.out / PAIR_MODEL
        length = f"{self.steps}-steps" if self.steps else f"{self.budget:.0f}"
        return self.out / f"{self.model}-{self.seed}-{length}"

    @property
    def checkpoint(self) -> Path:
        """The file of the trained model."""
        return self.folder / "best.safetensors"

    @property
    def record(self) -> Path:
        """The file that `train_entry` writes last: it is there if and only if the entry is trained."""
        return self.folder / "training.json"

    def config(self, steps: int, folder: Path) -> TrainConfig:
        """The settings of a run: the recipe of the shipped file, with these steps."""
        own: dict[str, Any] = {"out": str(folder), "steps": steps, "save_every": 0} | self.data
        if self.model != PAIR_MODEL:
            own |= {"seed": self.seed, "atoms": self.atoms, "validate_every": max(1, steps // 16)}
        return replace(load_recipe(self.model), **own)


def load_recipe(model: str) -> TrainConfig:
    """The recipe of the model that ships."""
    if model in ("fourier_density", PAIR_MODEL):
        return load_config(EXAMPLES / f"{model}_sample.toml")
    shipped = EXAMPLES / "recipes/shipped"
    return load_config(shipped / "tasks/pbe.toml", shipped / f"models/{model}.toml")


def make_pair_entry(out: Path, until: float = float("inf"), data: dict[str, Any] | None = None) -> Entry:
    """The entry of the pair model, which is fitted with the one seed of its recipe and has no budget."""
    recipe = load_recipe(PAIR_MODEL)
    return Entry(PAIR_MODEL, recipe.seed, float("inf"), "", out, until, recipe.steps, data or {})


def train_entry(entry: Entry) -> None:
    """Train an entry from its beginning and write its record: steps, times, parameters, memory in MB, points a second.

    ms: processor time of a step, where it was measured; seconds_in_all: of the training with decoding and validations.
    """
    found: dict[str, Any] = {"steps": entry.steps}
    if not entry.steps:
        processor, wall = seconds_per_step(entry)
        left = (entry.until - time.time() - MARGIN) / wall
        found = {"steps": max(FEWEST, int(min(entry.budget / processor, left))), "ms": 1000 * processor}
    shutil.rmtree(entry.folder, ignore_errors=True)
    start = time.process_time()
    train(entry.config(found["steps"], entry.folder))
    found["seconds_in_all"] = time.process_time() - start
    found["memory_MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    write_record(entry, found)


def keep_pair_model(entry: Entry, given: str) -> None:
    """Copy a pair model, a name or a file, to where the entry would fit it, for all networks to start from.

    Raises UsageError where it is no pair model, or the entry has another one.
    """
    load_bonded_atoms(given)  # refuses other models
    model = load_model(given)
    if entry.record.exists():
        if load_model(entry.checkpoint).weights_sha256 != model.weights_sha256:
            raise UsageError(f"the runs in {entry.out} start from another pair model than {given}: name another --out")
        return
    assert model.file is not None
    entry.folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(model.file, entry.checkpoint)
    write_record(entry, {})


def silence_warnings() -> None:
    """Print no warnings of predictions: what is measured here has elements and neighbours that no training saw."""
    logging.getLogger("ecd_models").setLevel(logging.ERROR)


def write_record(entry: Entry, found: dict[str, Any]) -> None:
    """Write the record of an entry with what the checkpoint adds to it: parameters and points a second."""
    silence_warnings()
    model = load_model(entry.checkpoint)
    parameters = sum(weight.numel() for weight in model.parameters())
    found = found | {"parameters": parameters, "points_per_second": measure_speed(model)}
    write_json(entry.record, found)


def seconds_per_step(entry: Entry) -> tuple[float, float]:
    """Processor time and wall time of a step after the first ones, which decode the densities."""
    folder, times = entry.folder / "trial", []
    shutil.rmtree(folder, ignore_errors=True)
    config = replace(entry.config(FIRST + TRIAL, folder), fraction=0.15, validate_every=FIRST + TRIAL)
    train(config, lambda progress: times.append((time.process_time(), time.time())))
    shutil.rmtree(folder, ignore_errors=True)
    processor, wall = (np.array(times[-2]) - times[FIRST - 1]) / (len(times) - 1 - FIRST)
    return float(processor), float(wall)


def measure_speed(model: DensityModel) -> float:
    """Points of MgO predicted in a second of a processor."""
    times, crystal = [], rock_salt((1, 1, 1))
    predict(model, crystal, shape=(12, 12, 12))
    for _ in range(REPEATS):
        start = time.process_time()
        predict(model, crystal, shape=SPEED_GRID)
        times.append(time.process_time() - start)
    return float(np.prod(SPEED_GRID) / min(times))


def keep_facts(file: Path, facts: dict[str, str]) -> None:
    """Add to a JSON file what the results beside it are computed from.

    Raises UsageError where a fact that is there already is another one: results of both must not meet in a table.
    """
    before: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    for key, fact in facts.items():
        if before.get(key, fact) != fact:
            raise UsageError(
                f"the results in {file.parent} are of other {key} ({before[key]}) than now ({fact}): name another "
                "folder"
            )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, before | facts)


def keep_data_facts(out: Path, facts: dict[str, str], table: bool, records: str = "*/training.json") -> None:
    """Keep what the results in a folder are computed from, unless a table is wanted of a folder that is not there.

    Raises UsageError where the folder has results on other data, or does not say on which.

    Parameters
    ----------
    out : the folder of all runs.
    facts : what the runs are computed from, see `keep_facts`.
    table : whether the table alone is wanted, which leaves nothing where no runs are.
    records : the files that runs have when they are done.
    """
    if table and not out.exists():
        return
    file = out / "data.json"
    if not file.exists() and any(out.glob(records)):
        raise UsageError(f"{out} has runs of an earlier version, which did not record their data: name another --out")
    keep_facts(file, facts)
