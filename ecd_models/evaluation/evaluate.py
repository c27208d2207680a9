"""The error of a model on the crystals of a task or store: eps_mae on full grids, with statistics."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecd_data.arguments import describe_value, names_of, whole_number
from ecd_data.errors import UsageError
from ecd_data.release.data_origin import Origin
from ecd_data.store.reader import Store
from ecd_models.metrics import Summary, eps_mae, summarize
from ecd_models.model import DensityModel
from ecd_models.prediction.predict import predict
from ecd_models.task_data import ALL, CHOSEN, TaskData, evaluation_data
from ecd_models.training.trained_on import COMPOSITION, CRYSTAL, UNSEEN, TrainedOn

ReportCrystal = Callable[[int, int, str, float], None]  # crystals done, crystals in all, id, eps_mae (fraction)
GROUPS = {"seen_crystals": CRYSTAL, "seen_compositions": COMPOSITION, "unseen": UNSEEN}
UNKNOWN = "the checkpoint does not say what trained it: seen crystals cannot be told from unseen ones"
INCOMPLETE = (
    "the training began with a checkpoint that does not say what trained it: unseen crystals may have been seen"
)


@dataclass(frozen=True)
class Evaluation:
    """The eps_mae (fraction) of a model by material id, and that of its superposed atoms alone where it has them.

    origin: where the data come from. listed: the number of crystals in the part, of which some may be missing in the
    data or not be evaluated. seen: by id what trained the model, the "crystal" itself, another one of its
    "composition", or neither ("unseen"); None where its checkpoint does not say. trained_on: the checkpoint's record.
    """

    task: str
    part: str
    model: str
    errors: dict[str, float]
    atom_errors: dict[str, float] | None
    origin: Origin
    listed: int
    seen: dict[str, str] | None = None
    trained_on: TrainedOn | None = None

    @property
    def summary(self) -> Summary:
        """Statistics of the errors of the model."""
        return summarize(list(self.errors.values()))

    @property
    def atom_summary(self) -> Summary | None:
        """Statistics of the errors of the superposed atoms, None where the model has none."""
        return None if self.atom_errors is None else summarize(list(self.atom_errors.values()))

    @property
    def groups(self) -> dict[str, Summary | None]:
        """Statistics for seen crystals, other crystals of seen compositions and unseen ones; None for an empty group.

        Empty where the checkpoint does not say what trained the model.
        """
        if self.seen is None:
            return {}
        seen = self.seen
        errors = {name: [self.errors[id] for id in self.errors if seen[id] == kind] for name, kind in GROUPS.items()}
        return {name: summarize(values) if values else None for name, values in errors.items()}

    @property
    def caution(self) -> str:
        """A sentence where seen and unseen crystals cannot be distinguished, else ""."""
        if self.trained_on is None:
            return UNKNOWN
        return "" if self.trained_on.complete else INCOMPLETE

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON holds it; errors are in percent."""
        record = {
            "task": self.task,
            **self.origin.to_dict(),
            "part": self.part,
            "crystals_judged": len(self.errors),
            "crystals_in_part": self.listed,
            "model": self.model,
            "model_trained_on": None if self.trained_on is None else self.trained_on.origin.to_dict(),
            "summary": asdict(self.summary),
            "seen_in_training": self._seen_record(),
            "eps_mae_percent": {id: 100 * error for id, error in self.errors.items()},
        }
        if self.atom_errors is not None and self.atom_summary is not None:
            record["superposed_atoms"] = {
                "summary": asdict(self.atom_summary),
                "eps_mae_percent": {id: 100 * error for id, error in self.atom_errors.items()},
            }
        return record

    def _seen_record(self) -> dict[str, Any]:
        seen = self.seen or {}
        groups: dict[str, Any] = {
            name: {
                "count": 0 if summary is None else summary.count,
                "summary": None if summary is None else asdict(summary),
                "ids": [id for id, kind in seen.items() if kind == GROUPS[name]],
            }
            for name, summary in self.groups.items()
        }
        return {"known": self.trained_on is not None, "caution": self.caution} | groups

    def save(self, path: str | Path) -> None:
        """Write the errors and statistics to a JSON file, with the origin of the data and what trained the model."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2))


def evaluate(
    model: DensityModel,
    task: str | Path | Store,
    *,
    part: str | None = None,
    split: str | Path | Mapping[str, Any] | None = None,
    ids: Sequence[str] | None = None,
    data_dir: str | None = None,
    sample: bool = False,
    limit: int | None = None,
    report: ReportCrystal | None = None,
) -> Evaluation:
    """The errors of a model on full grids of a part of a task or store.

    Parameters
    ----------
    model : a model, as `load_model` returns it.
    task : a task or configuration, whose data are under data_dir, $ECD_ROOT or in the embedded sample; or a Store, or
        the path or URL of one.
    part : the part to evaluate; "test" by default, or "all" for a store without a split.
    split : the parts of a store, see `ecd_models.task_data.own_data`; without it all crystals are in the part "all".
    ids : evaluate these crystals, whatever their part.
    data_dir : folder or URL with the stores of tasks.
    sample : use the embedded sample for a task of the benchmark as well, which needs its own data otherwise.
    limit : evaluate only the first crystals, so many.
    report : a function that is called after each crystal with the number done, the number in all, the id and its error.

    Raises
    ------
    UsageError : the task is unknown or its data are missing, the part is empty, or an id is not in the data.
    """
    if not isinstance(model, DensityModel):
        raise UsageError(f"evaluate wants a model, as load_model(name) gives it, not {describe_value(model)}")
    if not isinstance(task, str | Path | Store):
        raise UsageError(f"evaluate wants the name of a task, a store or the path of one, not {describe_value(task)}")
    if not isinstance(split, str | Path | Mapping | None):
        raise UsageError(f"a split is a JSON file of ids by part, or shares by part, not {describe_value(split)}")
    if limit is not None:
        limit = whole_number(limit, "limit", 1)
    data = evaluation_data(task, split, data_dir, sample)
    if ids is not None:
        data, part = data.select_ids(names_of(ids, "ids")), CHOSEN
    if part is not None and not isinstance(part, str):
        raise UsageError(f"a part is the name of one, such as 'test', not {describe_value(part)}")
    named = part or (ALL if ALL in data.parts else "test")
    return evaluate_ids(model, data, data.ids(named)[:limit], named, report)


def evaluate_ids(
    model: DensityModel,
    data: TaskData,
    ids: Sequence[str],
    part: str,
    report: ReportCrystal | None = None,
) -> Evaluation:
    """The errors of a model on the given materials of some data, whose part is called `part`; see `evaluate`."""
    errors: dict[str, float] = {}
    atom_errors: dict[str, float] | None = None if model.atoms is None else {}
    trained_on = TrainedOn.from_metadata(model.metadata)
    seen: dict[str, str] | None = None if trained_on is None else {}
    for id in ids:
        rho = data.store[id]
        errors[id] = eps_mae(predict(model, rho.crystal, shape=rho.shape, refuse=False), rho)
        if model.atoms is not None and atom_errors is not None:
            atom_errors[id] = eps_mae(model.atoms.free(rho.crystal, rho.shape), rho)
        if trained_on is not None and seen is not None:
            seen[id] = trained_on.seen(id, rho.crystal.formula)
        if report is not None:
            report(len(errors), len(ids), id, errors[id])
    listed = data.listed.get(part) or len(data.ids(part))
    return Evaluation(data.task, part, model.name, errors, atom_errors, data.origin, listed, seen, trained_on)
