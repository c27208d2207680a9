"""The benchmark's error of a model on a task: full grids, a row a crystal, statistics with intervals."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ecd_data.errors import UsageError
from ecd_models.data import TaskData, task_data
from ecd_models.metrics import Summary, eps_mae, summarize
from ecd_models.model import DensityModel
from ecd_models.prediction import predict

Judged = Callable[[int, int, str, float], None]


@dataclass(frozen=True)
class Evaluation:
    """eps_mae (fraction) of a model by material id and, where it has them, of its superposed atoms alone."""

    task: str
    part: str
    model: str
    errors: dict[str, float]
    atom_errors: dict[str, float] | None

    @property
    def summary(self) -> Summary:
        """Statistics of the model's errors."""
        return summarize(list(self.errors.values()))

    @property
    def atom_summary(self) -> Summary | None:
        """Statistics of the superposed atoms' errors, None where the model has none."""
        return None if self.atom_errors is None else summarize(list(self.atom_errors.values()))

    def save(self, path: str | Path) -> None:
        """Write the errors and statistics as JSON."""
        record = {
            "task": self.task,
            "part": self.part,
            "model": self.model,
            "summary": asdict(self.summary),
            "eps_mae_percent": {id: 100 * error for id, error in self.errors.items()},
        }
        if self.atom_errors is not None and self.atom_summary is not None:
            record["superposed_atoms"] = {
                "summary": asdict(self.atom_summary),
                "eps_mae_percent": {id: 100 * error for id, error in self.atom_errors.items()},
            }
        Path(path).write_text(json.dumps(record, indent=2))


def evaluate(
    model: DensityModel,
    task: str,
    *,
    part: str = "test",
    data_dir: str | None = None,
    limit: int | None = None,
    report: Judged | None = None,
) -> Evaluation:
    """The errors of `model` on a part of a task, on full grids.

    The data are those under data_dir, $ECD_ROOT or the embedded sample; limit takes the first crystals only; `report`
    is told how many of how many are done, the id and its error. Raises UsageError for an unknown task or an empty
    part.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be at least 1, not {limit}")
    data = task_data(task, data_dir)
    return evaluate_ids(model, data, data.ids(part)[:limit], part, report)


def evaluate_ids(
    model: DensityModel,
    data: TaskData,
    ids: Sequence[str],
    part: str,
    report: Judged | None = None,
) -> Evaluation:
    """The errors of `model` on these materials of a task's store, see `evaluate`."""
    errors: dict[str, float] = {}
    atom_errors: dict[str, float] | None = None if model.atoms is None else {}
    for id in ids:
        rho = data.store[id]
        errors[id] = eps_mae(predict(model, rho.crystal, shape=rho.shape), rho)
        if model.atoms is not None and atom_errors is not None:
            atom_errors[id] = eps_mae(model.atoms(rho.crystal, rho.shape), rho)
        if report is not None:
            report(len(errors), len(ids), id, errors[id])
    return Evaluation(data.task, part, model.name, errors, atom_errors)
