"""One model trained with several seeds, which shows how much its errors depend on the seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ecd_data.errors import UsageError
from ecd_data.io.atomic_write import write_whole
from ecd_data.release.data_origin import Origin
from ecd_models.evaluation.evaluate import Evaluation, ReportCrystal, evaluate
from ecd_models.evaluation.results import Results
from ecd_models.metrics import Summary, summarize
from ecd_models.training.config import TrainConfig
from ecd_models.training.loop import Report, TrainResult, train

ShowTraining = Callable[[TrainConfig], AbstractContextManager[Report | None]]
ShowEvaluation = Callable[[], AbstractContextManager[ReportCrystal | None]]


@dataclass(frozen=True)
class SeedErrors:
    """An error of several trainings in percent; its text is the mean ± the standard deviation (with n - 1).

    missing: the number of crystals that some of the errors are without, since a model has no result for them.
    """

    percents: tuple[float, ...]
    missing: int = 0

    def __str__(self) -> str:
        without = f", with no result for {self.missing} of the crystals" if self.missing else ""
        mean = f"{np.mean(self.percents):.3f}"
        if len(self.percents) == 1:
            return f"{mean} %{without}"
        return f"{mean} ± {np.std(self.percents, ddof=1):.3f} % ({len(self.percents)} seeds){without}"


@dataclass(frozen=True)
class SeedSummary:
    """The errors of one model with several seeds on one part.

    over_crystals, over_compounds : the mean error of each seed.
    summary : statistics of each crystal's mean error over the seeds. Its intervals are about other compounds, the
        deviations of the first two about other seeds.
    """

    over_crystals: SeedErrors
    over_compounds: SeedErrors
    summary: Summary

    def __str__(self) -> str:
        low, high = self.summary.low_percent, self.summary.high_percent
        interval = f"95 % over compounds [{low:.3f}, {high:.3f}]" if self.summary.compounds > 1 else "of one compound"
        return f"{self.over_crystals}, {interval}; compounds {self.over_compounds}"


def summarize_seeds(results: Sequence[Evaluation | Results]) -> SeedSummary:
    """The SeedSummary of one model's evaluations with several seeds on the same crystals of one part.

    Raises
    ------
    UsageError : there are no results, or they are of different data or crystals.
    """
    if not results:
        raise UsageError("no results to summarise over seeds: give those of one model with several seeds")
    first = results[0]
    crystals = {crystal.id: crystal.compound for crystal in first.crystals}
    for other in results[1:]:
        if (other.task, other.part) != (first.task, first.part) or other.errors.keys() != first.errors.keys():
            raise UsageError(
                f"{first.model} ({first.task} {first.part}) and {other.model} ({other.task} {other.part}) have results "
                "of different crystals: evaluate all seeds on the same part of the same data"
            )
    means = [float(np.mean([one.errors[id] for one in results])) for id in crystals]
    return SeedSummary(
        SeedErrors(tuple(one.summary.mean_percent for one in results)),
        SeedErrors(tuple(one.summary.compound_mean_percent for one in results)),
        summarize(means, list(crystals.values())),
    )


def make_seed_configs(config: TrainConfig, count: int) -> list[TrainConfig]:
    """Copies of a configuration with the next `count` seeds and a folder for each; a single one stays as it is.

    Where the run that they start from has a folder for each seed, each copy starts from the run with its own seed.

    Raises
    ------
    UsageError : `count` is less than 1.
    """
    if count < 1:
        raise UsageError(f"seeds must be at least 1, not {count}")
    if count == 1:
        return [config]
    seeds = range(config.seed, config.seed + count)
    return [
        replace(config, seed=seed, out=f"{config.out}/seed-{seed}", start=_find_start(config.start, seed))
        for seed in seeds
    ]


def _find_start(start: str, seed: int) -> str:
    own = Path(start).parent / f"seed-{seed}" / Path(start).name
    return str(own) if start and own.exists() else start


def train_seeds(configs: Sequence[TrainConfig], show: ShowTraining | None = None) -> Iterator[TrainResult]:
    """The result of each training, one after the other; complete runs are not repeated.

    show(config) makes a context whose value is called after each step of the training.
    """
    for config in configs:
        with show(config) if show else nullcontext() as report:
            yield train(config, report)


def evaluate_results(
    results: Sequence[TrainResult], config: TrainConfig, part: str, show: ShowEvaluation | None = None
) -> list[Evaluation]:
    """The evaluation of each result on a part of its data, on full grids, under the name of its checkpoint.

    Each is also written to PART.json in the folder of the checkpoint.
    """
    evaluations = []
    for result in results:
        file = Path(result.best).with_name(f"{part}.json")
        with show() if show else nullcontext() as report:
            evaluation = evaluate(
                result.model,
                config.store or config.task,
                part=part,
                split=config.split or None,
                data_dir=config.data_dir or None,
                sample=config.sample,
                report=report,
            )
        evaluation.save(file)
        evaluations.append(evaluation.rename(str(result.best)))
    return evaluations


def collect_errors(evaluations: Sequence[Evaluation]) -> SeedErrors:
    """The mean eps_mae of each evaluation of one part."""
    missing = {id for evaluation in evaluations for id in evaluation.failures}
    return SeedErrors(tuple(evaluation.summary.mean_percent for evaluation in evaluations), len(missing))


def collect_validation_errors(results: Sequence[TrainResult]) -> SeedErrors:
    """The best validation error of each result."""
    return SeedErrors(tuple(100 * result.best_error for result in results))


def save_seed_errors(path: Path, errors_by_name: dict[str, SeedErrors], origin: Origin) -> None:
    """Write errors by name to a JSON file, with the origin of the data."""
    errors = {
        name: {"eps_mae_percent": seed_errors.percents, "text": str(seed_errors)}
        for name, seed_errors in errors_by_name.items()
    }
    text = json.dumps(origin.to_dict() | errors)
    with write_whole(path) as aside:
        aside.write_text(text)
