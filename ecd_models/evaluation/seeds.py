"""The same training from several seeds: what of an error is the method's and what the seed's."""

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
from ecd_models.evaluation.evaluate import Judged, evaluate
from ecd_models.training.config import TrainConfig
from ecd_models.training.loop import Report, TrainResult, train

Shown = Callable[[TrainConfig], AbstractContextManager[Report | None]]
JudgedShown = Callable[[], AbstractContextManager[Judged | None]]


@dataclass(frozen=True)
class Spread:
    """An error of several trainings in percent: its mean and, with n - 1, its standard deviation."""

    percents: tuple[float, ...]

    def __str__(self) -> str:
        mean = f"{np.mean(self.percents):.3f}"
        if len(self.percents) == 1:
            return f"{mean} %"
        return f"{mean} ± {np.std(self.percents, ddof=1):.3f} % ({len(self.percents)} seeds)"


def seeded(config: TrainConfig, count: int) -> list[TrainConfig]:
    """The configuration from `count` seeds on, each in a folder of its own; one alone stays as it is.

    Where the run that they start from was made with seeds, each starts from that of its own. Raises UsageError below 1.
    """
    if count < 1:
        raise UsageError(f"seeds must be at least 1, not {count}")
    if count == 1:
        return [config]
    seeds = range(config.seed, config.seed + count)
    return [
        replace(config, seed=seed, out=f"{config.out}/seed-{seed}", start=_start(config.start, seed)) for seed in seeds
    ]


def _start(start: str, seed: int) -> str:
    own = Path(start).parent / f"seed-{seed}" / Path(start).name
    return str(own) if start and own.exists() else start


def train_seeds(configs: Sequence[TrainConfig], shown: Shown | None = None) -> Iterator[TrainResult]:
    """The result of each training, one after the other; those that are complete are not made again."""
    for config in configs:
        with shown(config) if shown else nullcontext() as report:
            yield train(config, report)


def judged(results: Sequence[TrainResult], config: TrainConfig, part: str, shown: JudgedShown | None = None) -> Spread:
    """The mean eps_mae of each result on a part of the task on full grids; written beside its checkpoint, too."""
    percents = []
    for result in results:
        file = Path(result.best).with_name(f"{part}.json")
        with shown() if shown else nullcontext() as report:
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
        percents.append(evaluation.summary.mean_percent)
    return Spread(tuple(percents))


def validated(results: Sequence[TrainResult]) -> Spread:
    """The best validation error of each result."""
    return Spread(tuple(100 * result.best_error for result in results))


def save_spreads(path: Path, spreads: dict[str, Spread], origin: Origin) -> None:
    """Write the errors by name as JSON, with where the data come from."""
    errors = {name: {"eps_mae_percent": spread.percents, "text": str(spread)} for name, spread in spreads.items()}
    text = json.dumps(origin.to_dict() | errors)
    with write_whole(path) as aside:
        aside.write_text(text)
