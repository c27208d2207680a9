"""The errors of a model on the crystals of a task or store: eps_mae on full grids and more, with statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ecd_data import __version__
from ecd_data.arguments import describe_value, names_of, whole_number
from ecd_data.errors import EcdError, UsageError
from ecd_data.release.data_origin import Origin
from ecd_data.store.reader import Store
from ecd_data.work.interrupts import stop_between_steps
from ecd_data.work.process_pool import refuse_worker_count
from ecd_models.evaluation.crystal_result import CrystalResult
from ecd_models.evaluation.evaluation_jobs import evaluate_crystals
from ecd_models.evaluation.machine import Machine, describe_machine
from ecd_models.evaluation.model_card import ModelCard, make_model_card
from ecd_models.evaluation.partial_results import PartialResults
from ecd_models.evaluation.results import AtomResults, Results, compute_statistics, write_results
from ecd_models.evaluation.statistics import summarize_crystals
from ecd_models.metrics import Summary
from ecd_models.model import DensityModel
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
    """The errors of a model on the crystals of a part.

    Attributes
    ----------
    task, part, model : names.
    crystals : the result of each crystal, in the order of the part.
    origin : where the data come from.
    listed : the number of crystals in the part, of which some may be missing in the data or not be evaluated.
    card, machine : what identifies the model, and what it ran on.
    trained_on : the checkpoint's record of what trained the model; None where it has none.
    failures : by id why a crystal has no result; the statistics are without these crystals.
    """

    task: str
    part: str
    model: str
    crystals: tuple[CrystalResult, ...]
    origin: Origin
    listed: int
    card: ModelCard
    machine: Machine
    trained_on: TrainedOn | None = None
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def errors(self) -> dict[str, float]:
        """The eps_mae (fraction) by material id."""
        return {crystal.id: crystal.eps_mae_percent / 100 for crystal in self.crystals}

    @property
    def atom_errors(self) -> dict[str, float] | None:
        """The eps_mae (fraction) of the superposed atoms alone by material id; None where the model has none."""
        found = {
            c.id: c.superposed_atoms_percent / 100 for c in self.crystals if c.superposed_atoms_percent is not None
        }
        return found or None

    @property
    def seen(self) -> dict[str, str] | None:
        """What trained the model, by id: the "crystal" itself, its "composition", or nothing of it ("unseen").

        None where the checkpoint does not say what trained it.
        """
        return None if self.trained_on is None else {c.id: c.seen for c in self.crystals if c.seen is not None}

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """The statistics that a results file holds, by name."""
        return compute_statistics(self.crystals)

    @property
    def summary(self) -> Summary:
        """Statistics of the errors of the model."""
        found: Summary = self.statistics["summary"]
        return found

    @property
    def atom_summary(self) -> Summary | None:
        """Statistics of the errors of the superposed atoms, None where the model has none."""
        found: AtomResults | None = self.statistics["superposed_atoms"]
        return None if found is None else found.summary

    @property
    def groups(self) -> dict[str, Summary | None]:
        """Statistics for seen crystals, other crystals of seen compositions and unseen ones; None for an empty group.

        Empty where the checkpoint does not say what trained the model.
        """
        if self.trained_on is None:
            return {}
        members = {name: [c for c in self.crystals if c.seen == kind] for name, kind in GROUPS.items()}
        return {name: summarize_crystals(crystals) if crystals else None for name, crystals in members.items()}

    @property
    def caution(self) -> str:
        """A sentence where seen and unseen crystals cannot be distinguished, else ""."""
        if self.trained_on is None:
            return UNKNOWN
        return "" if self.trained_on.complete else INCOMPLETE

    @property
    def results(self) -> Results:
        """The evaluation as its results file holds it; errors are in percent."""
        return Results(
            task=self.task,
            data_origin=self.origin.data_origin,
            store_hash=self.origin.store_hash,
            split_hash=self.origin.split_hash,
            part=self.part,
            crystals_in_part=self.listed,
            model=self.model,
            model_card=self.card,
            model_trained_on=None if self.trained_on is None else self.trained_on.origin.to_dict(),
            machine=self.machine,
            seen_in_training=self._seen_record(),
            failures=self.failures,
            crystals=list(self.crystals),
            **self.statistics,
        )

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
        """Write a results file; see `ecd_models.evaluation.results`."""
        write_results(self.results, path)

    def rename(self, name: str) -> Evaluation:
        """The same evaluation under another name of the model."""
        return replace(self, model=name)


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
    workers: int = 1,
    partial: str | Path | None = None,
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
    workers : the number of processes that predict at the same time.
    partial : a file that keeps the crystals that are done, from which a second call with it continues. Remove it once
        the results are saved.
    report : a function that is called after each crystal with the number done, the number in all, the id and its error.

    Raises
    ------
    UsageError : the task is unknown or its data are missing, the part is empty, or an id is not in the data.
    EcdError : the model gives no density for any of the crystals.
    KeyboardInterrupt : after Ctrl-C, when the crystals in work were done and kept in `partial`.
    """
    if not isinstance(model, DensityModel):
        raise UsageError(f"evaluate wants a model, as load_model(name) gives it, not {describe_value(model)}")
    if not isinstance(task, str | Path | Store):
        raise UsageError(f"evaluate wants the name of a task, a store or the path of one, not {describe_value(task)}")
    if not isinstance(split, str | Path | Mapping | None):
        raise UsageError(f"a split is a JSON file of ids by part, or shares by part, not {describe_value(split)}")
    if limit is not None:
        limit = whole_number(limit, "limit", 1)
    refuse_worker_count(workers)
    data = evaluation_data(task, split, data_dir, sample)
    if ids is not None:
        data, part = data.select_ids(names_of(ids, "ids")), CHOSEN
    if part is not None and not isinstance(part, str):
        raise UsageError(f"a part is the name of one, such as 'test', not {describe_value(part)}")
    named = part or (ALL if ALL in data.parts else "test")
    return evaluate_ids(model, data, data.ids(named)[:limit], named, report, workers, partial)


def evaluate_ids(
    model: DensityModel,
    data: TaskData,
    ids: Sequence[str],
    part: str,
    report: ReportCrystal | None = None,
    workers: int = 1,
    partial: str | Path | None = None,
) -> Evaluation:
    """The errors of a model on the given materials of some data, whose part is called `part`; see `evaluate`."""
    card = make_model_card(model)
    identity = {"task": data.task, "part": part, **data.origin.to_dict(), "weights_sha256": card.weights_sha256}
    with closing(
        PartialResults(None if partial is None else Path(partial), identity | {"version": __version__})
    ) as kept:
        failures = _evaluate_missing(model, data.store, ids, kept, workers, report)
    crystals = tuple(kept.crystals[id] for id in ids if id in kept.crystals)
    if not crystals:
        raise EcdError(f"{model.name} has no result for any of the {len(ids)} crystals: {failures[ids[0]]}")
    listed = data.listed.get(part) or len(data.ids(part))
    machine = describe_machine(model.device, workers)
    record = TrainedOn.from_metadata(model.metadata)
    return Evaluation(data.task, part, model.name, crystals, data.origin, listed, card, machine, record, failures)


def _evaluate_missing(
    model: DensityModel,
    store: Store,
    ids: Sequence[str],
    kept: PartialResults,
    workers: int,
    report: ReportCrystal | None,
) -> dict[str, str]:
    """The reason by id for each crystal without a result, after all crystals that are not kept yet were evaluated."""
    failures: dict[str, str] = {}
    missing = [id for id in ids if id not in kept.crystals]
    done = len(ids) - len(missing)
    with (
        stop_between_steps() as stopped,
        closing(evaluate_crystals(model, store, missing, workers, stopped)) as results,
    ):
        for id, result in results:
            if isinstance(result, str):
                failures[id] = result
            else:
                kept.add(result)
            done += 1
            if report is not None:
                report(done, len(ids), id, float("nan") if isinstance(result, str) else result.eps_mae_percent / 100)
    if done < len(ids):
        raise KeyboardInterrupt
    return failures
