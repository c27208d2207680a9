"""The results of the shipped models on the test parts of the embedded sample, for a report without given results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ecd_data import __version__
from ecd_data.errors import EcdError
from ecd_models.checkpoint import load_model
from ecd_models.evaluation.evaluate import ReportCrystal, evaluate
from ecd_models.evaluation.partial_results import ENDING, remove_partial
from ecd_models.evaluation.results import Results, read_results
from ecd_models.model import DensityModel
from ecd_models.task_data import task_data
from ecd_models.weights.catalogue import shipped_checkpoints

PARTS = {
    "test_geometries": "pbe",
    "test_compositions": "pbe",
    "test_pairs": "ood",
    "test_rare_elements": "ood",
    "test_types": "ood",
}

STORED = Path(__file__).parents[1] / "leaderboard" / "results"  # of the package

Show = Callable[[str], AbstractContextManager[ReportCrystal | None]]


def evaluate_shipped(folder: Path, workers: int = 1, show: Show | None = None, stored: bool = False) -> Iterator[Path]:
    """The results files of the shipped models on the sample.

    Files of other weights, data or another version than those at hand are never taken.

    Parameters
    ----------
    folder : where results are kept; those that are there already are not evaluated again.
    workers : the number of processes that predict at the same time.
    show : show(name) makes a context whose value is called after each crystal, as `report` of `evaluate`.
    stored : take the results that come with the package, those of the leaderboard, where it has them.
    """
    for name in shipped_checkpoints():
        model = load_model(name)
        for part, task in PARTS.items():
            places = [STORED / f"{name}_{part}.json.gz"] if stored else []
            file = folder / f"{name}_{part}.json"
            current = next((place for place in [*places, file] if _is_current(place, model, task, part)), None)
            if current is None:
                _evaluate_into(file, model, name, part, workers, show)
            yield current or file


def _evaluate_into(file: Path, model: DensityModel, name: str, part: str, workers: int, show: Show | None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ENDING)
    with show(f"{name} {part}") if show else nullcontext() as report:
        found = evaluate(model, PARTS[part], part=part, sample=True, workers=workers, partial=partial, report=report)
    found.rename(name).save(file)
    remove_partial(partial)


def _is_current(file: Path, model: DensityModel, task: str, part: str) -> bool:
    try:
        results: Results = read_results(file)
    except EcdError:
        return False
    data = task_data(task, sample=True)
    same_data = results.data == (data.task, part, data.origin.store_hash, data.origin.split_hash)
    same_model = results.model_card.weights_sha256 == model.weights_sha256
    return same_data and same_model and results.machine.ecd == __version__
