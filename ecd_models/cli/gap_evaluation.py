"""The band gaps that `ecd evaluate exp` compares with measured ones, after the errors of the densities."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecd_data.errors import MissingDependencyError, UsageError
from ecd_models.cli.scf_reports import has_failures, save_record, show_crystals
from ecd_models.cli.terminal import print, print_lines

if TYPE_CHECKING:
    from ecd_data.dft.settings import Job
    from ecd_models.model import DensityModel
    from ecd_models.scf.crystal_loop import Report
    from ecd_models.scf.gaps import CrystalGaps

MANY = 10  # crystals: more take so long that it is said before


@dataclass(frozen=True)
class GapPlan:
    """The crystals whose gaps an evaluation computes, and those of them whose density errors it can measure.

    jobs : the crystals with the settings of their runs.
    density_ids : their ids in the store of the task; None where the whole part is evaluated.
    engine : the arguments pwx, pseudo and work of `run_gaps`.
    """

    jobs: list[Job]
    density_ids: list[str] | None
    engine: dict[str, Any]

    def run(self, models: Mapping[str, DensityModel], quiet: bool) -> Report[CrystalGaps]:
        """The gaps of all crystals, with progress and failures on the terminal."""
        from ecd_models.scf.gaps import run_gaps
        from ecd_models.scf.starts import model_start

        if len(self.jobs) > MANY and not quiet:
            print(f"gaps of {len(self.jobs)} crystals take some hours; --limit and --id take fewer, --no-gaps none")
        starts = {name: model_start(name, model) for name, model in models.items()}
        report: Report[CrystalGaps] = show_crystals(run_gaps, self.jobs, starts, quiet, **self.engine)
        return report


def plan_gaps(
    task: str,
    wanted: bool | None,
    *,
    part: Sequence[str] | None,
    ids: list[str] | None,
    limit: int | None,
    data_dir: str | None,
    sample: bool,
    pwx: Path | None,
    pseudo: Path | None,
    work: Path | None,
) -> GapPlan | None:
    """The gaps that an evaluation computes; None for other tasks than exp, and where they are not wanted.

    Raises
    ------
    UsageError : gaps are wanted of another task, or an option of pw.x is there without gaps.
    MissingDependencyError : there is no pw.x.
    """
    from ecd_data.arguments import whole_number
    from ecd_data.dft.engines import load_engine
    from ecd_models.scf.measured_gaps import TASK, make_gap_jobs
    from ecd_models.task_data import evaluation_data

    measures = _is_gap_task(task, TASK)
    if wanted and not measures:
        raise UsageError(f"--gaps belongs to the task {TASK}: `ecd scf gaps` takes other crystals")
    if not measures or wanted is False:
        if pwx or pseudo or work:
            raise UsageError(f"--pwx, --pseudo and --work belong to the gaps of the task {TASK}: leave them out")
        return None
    try:
        load_engine("espresso", pwx, pseudo)
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{error} ({TASK} compares band gaps, which pw.x computes; --no-gaps measures the densities alone)"
        ) from error
    data = evaluation_data(task, None, data_dir, sample)
    chosen = ids
    if limit is not None or part:
        limit = None if limit is None else whole_number(limit, "limit", 1)
        chosen = [id for name in part or ["test"] for id in (ids or data.ids(name))[:limit]]
    jobs = make_gap_jobs([TASK], ids=chosen, data_dir=data_dir, sample=sample)
    stored = None if chosen is None else [id for id in chosen if id in data.store]
    return GapPlan(jobs, stored, {"pwx": pwx, "pseudo": pseudo, "work": work})


def _is_gap_task(task: str, name: str) -> bool:
    from ecd_data.release.configurations import find_configuration
    from ecd_models.task_data import looks_like_store

    return not looks_like_store(task) and find_configuration(task) == name


@dataclass(frozen=True)
class ComputedGaps:
    """The gaps of an evaluation as JSON holds them, and whether some could not be computed."""

    record: dict[str, Any]
    failed: bool


def compute_gaps(
    plan: GapPlan, models: Mapping[str, DensityModel], output: Path | None, *, show: bool, quiet: bool
) -> ComputedGaps:
    """The gaps of a plan, saved beside the results file `output`; with `show` their tables are printed."""
    from ecd_models.scf.gap_table import format_gap_table, format_gaps, report_gaps

    report = plan.run(models, quiet)
    record = report_gaps(report)
    save_record(record, _name_gap_file(output), "gaps")
    if show and report.crystals:
        print_lines("\n" + format_gap_table(report.crystals))
        print_lines("\n" + format_gaps(report.crystals))
    return ComputedGaps(record, has_failures(report))


def _name_gap_file(output: Path | None) -> Path | None:
    """The JSON file of the gaps that belongs to a results file; None without one."""
    return None if output is None else output.with_name(re.sub(r"(\.json)?(\.gz)?$", "", output.name) + "_gaps.json")
