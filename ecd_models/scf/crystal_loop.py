"""The loop over crystals of `ecd scf run`, `gaps` and `energies`: pw.x, a folder for each crystal, and the failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

from ecd_data.dft.engine import own_folder
from ecd_data.dft.engines import load_engine
from ecd_data.dft.espresso import Espresso
from ecd_data.dft.settings import Job
from ecd_data.errors import EcdError
from ecd_models.scf.bench import CONV_THR, Bench

C = TypeVar("C")
ShowProgress = Callable[[int, int, str], None]


@dataclass
class Report(Generic[C]):
    """What was found of each crystal, the reasons by id for those that have nothing, and the settings of all."""

    crystals: list[C] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def load_espresso(pwx: str | Path | None, pseudo: str | Path | None) -> Espresso:
    """Quantum ESPRESSO; raises MissingDependencyError without pw.x."""
    engine = load_engine("espresso", pwx, pseudo)
    assert isinstance(engine, Espresso)
    return engine


def name_version(engine: Espresso) -> str:
    """The program with its version, such as "pw.x 6.7"."""
    return f"pw.x {'.'.join(map(str, engine.version))}"


def run_crystals(
    engine: Espresso,
    jobs: Sequence[Job],
    measure: Callable[[Bench], C],
    *,
    settings: dict[str, Any] | None = None,
    conv_thr: float = CONV_THR,
    work: Path | None = None,
    show: ShowProgress | None = None,
) -> Report[C]:
    """What `measure` finds with the bench of each job; a job that fails is reported, and the others are run.

    Parameters
    ----------
    settings : what the report says of all crystals.
    conv_thr : convergence threshold of pw.x in Ry, of all runs.
    work : folder that keeps the files of pw.x; finished runs of the same input are read from it and not repeated.
    show : is called with the number of jobs done, of all jobs, and the id.
    """
    report: Report[C] = Report(settings=settings or {})
    try:
        with nullcontext(str(work)) if work else TemporaryDirectory(prefix="ecd-scf-") as folder:
            for number, job in enumerate(jobs, 1):
                bench = Bench(engine, job, Path(folder) / job.id, conv_thr)
                try:
                    with own_folder(bench.folder, job.id):
                        report.crystals.append(measure(bench))
                except EcdError as error:
                    report.failed[job.id] = str(error)
                if show is not None:
                    show(number, len(jobs), job.id)
    finally:
        engine.stop()  # an interrupt of this program does not end pw.x
    return report
