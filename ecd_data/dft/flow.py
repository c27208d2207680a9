"""The computation of densities for many crystals into stores; it can be continued, and failures are reported."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecd_data.density import Density
from ecd_data.dft.engine import DiskFullError, Engine, exit_on_sigterm, open_pool
from ecd_data.dft.engines import load_engine
from ecd_data.dft.present_densities import find_other_contents
from ecd_data.dft.settings import Job, apply_choices, make_usable_jobs
from ecd_data.dft.steps import StepPlan, compute_density
from ecd_data.dft.vasp_inputs import DENSE
from ecd_data.errors import EcdError, UsageError
from ecd_data.safe_text import printable
from ecd_data.work.progress import Progress, show_progress

if TYPE_CHECKING:
    from ecd_data.store.writer import StoreWriter
    from ecd_data.work.process_pool import Cluster

STEPS = ("relax", "static", "hse", "nscf")
FUNCTIONAL_OF = {"static": "pbe", "hse": "hse"}


@dataclass
class RunReport:
    """The result of `run`. If two functionals are computed, an id has the functional in front, as in "hse/Si".

    Attributes
    ----------
    done, present : ids that were computed now, and ids that the store had already.
    failures : the reason by id or file for each crystal that was left out.
    retried : the attempts by id that did not converge before one did.
    cpu_seconds : CPU time of the runs.
    """

    done: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    retried: dict[str, list[str]] = field(default_factory=dict)
    cpu_seconds: float = 0.0

    def __str__(self) -> str:
        again = f", {len(self.retried)} of them at a second attempt" if self.retried else ""
        return (
            f"{len(self.done)} computed in {self.cpu_seconds:.0f} CPU seconds{again}, {len(self.present)} present"
            f" already, {len(self.failures)} failed"
        )


@dataclass(frozen=True)
class FunctionalPass:
    """The computation of one functional.

    Attributes
    ----------
    functional : "pbe" or "hse".
    store, work : the store to write, and the folder for the engine's files.
    plan : the further steps for each crystal.
    mark : a prefix of the ids in reports, "" if there is one functional.
    """

    functional: str
    store: Path
    work: Path
    plan: StepPlan
    mark: str


def run(
    crystals: Any,
    store: str | Path,
    functional: str = "pbe",
    *,
    steps: Sequence[str] | None = None,
    kspacing: float = DENSE,
    spin: bool | None = None,
    smearing: bool | None = None,
    hubbard_u: Mapping[str, float] | None = None,
    forces: bool = True,
    restart: bool = False,
    processes: int = 1,
    cluster: Cluster | None = None,
    pwx: str | Path | None = None,
    pseudo: str | Path | None = None,
    work: str | Path | None = None,
    bound: float = 1e-5,
    engine: Engine | str | None = None,
) -> RunReport:
    """A report of the computation of every crystal's density into a store.

    Every finished step is kept, so a second call continues an interrupted one. A calculation that does not converge is
    tried again with other mixing, smearing and mesh. A crystal whose runs fail is left out with its reason, and the
    others go on.

    Parameters
    ----------
    crystals : a mapping from id to record or Crystal; or paths of structures, folders of them and JSON files of
        records, see `make_jobs`.
    store : the store to write; with the steps static and hse a folder, in which pbe.ecd and hse.ecd are written.
    functional : "pbe" or "hse"; ignored if `steps` are given.
    steps : any of "relax" (cell and atoms with PBE), "static" (the PBE density), "hse" (the HSE06 density) and "nscf"
        (the PBE gap on a mesh twice as fine).
    kspacing : spacing of the k mesh in 2 pi / Å for crystals without a mesh of their own; 0.04 is tried if the
        calculation does not converge.
    spin, smearing : for all crystals; by default as each record says.
    hubbard_u : U in eV by element, for PBE.
    forces : compute forces and stress too; a finished run without them is not repeated.
    restart : one more run from the converged PBE density, which counts its steps (scf_steps_restart).
    processes : number of engine runs at the same time.
    cluster : a dask.distributed.Client that does the runs instead; its workers need the engine and the folder `work`.
    pwx, pseudo : the program and the pseudopotentials, as in `setup`.
    work : folder that keeps all files of the engine; by default `<store>.work`, where only those of failed runs stay.
    bound : accuracy of the stored densities, as in `convert`.
    engine : "espresso", "gpaw" or an Engine.

    Raises
    ------
    MissingDependencyError : there is no engine.
    UsageError : an argument is impossible.
    """
    wanted = _check_steps(steps, functional)
    if processes < 1:
        raise UsageError(f"processes must be at least 1, not {processes}")
    if "hse" in wanted and hubbard_u and "static" not in wanted:
        raise UsageError("a U acts on PBE only, not on HSE06: leave hubbard_u (--u) out, or compute static as well")
    options: dict[str, Any] = {"spin": spin, "smearing": smearing, "hubbard_u": hubbard_u, "forces": forces}
    passes = _plan_passes(wanted, Path(store), Path(work) if work is not None else Path(f"{store}.work"), restart)
    if not isinstance(crystals, Mapping | str | Path):
        crystals = list(crystals)
    jobs_by_pass, failures = _make_pass_jobs(crystals, passes, kspacing, options)  # before an engine is looked for
    report = RunReport(failures=print_failures(failures))
    engine = load_engine(engine, pwx, pseudo)
    if "hse" in wanted and not getattr(engine, "hybrids", True):
        raise UsageError(f"HSE06 is not computed with {engine.name} here: take static alone, or Quantum ESPRESSO")
    earlier = None
    for one, jobs in zip(passes, jobs_by_pass, strict=True):
        if earlier is not None and "relax" in wanted:
            # what the store has under the id of a crystal that was left out may be another crystal
            usable = [job for job in jobs if earlier.mark + job.id not in report.failures]
            jobs = _use_relaxed_crystals(usable, earlier.store)
        _compute(jobs, one, engine, report, processes, cluster, bound)
        earlier = one
    if work is None:
        _remove_work_files(passes, report)
    return report


def _make_pass_jobs(
    crystals: Any, passes: Sequence[FunctionalPass], kspacing: float, options: dict[str, Any]
) -> tuple[list[list[Job]], dict[str, str]]:
    """The jobs of each pass with the user's choices, and the reason for each crystal that cannot be computed."""
    jobs_by_pass, failures = [], dict[str, str]()
    for one in passes:
        jobs, failures = make_usable_jobs(crystals, one.functional, kspacing)
        jobs_by_pass.append([apply_choices(job, **options) for job in jobs])
    return jobs_by_pass, failures


def print_failures(failed: dict[str, str]) -> dict[str, str]:
    """The same failures, after one line for each on stderr."""
    for reason in failed.values():
        print(printable(f"left out: {reason}"), file=sys.stderr)
    return failed


def _check_steps(steps: Sequence[str] | None, functional: str) -> tuple[str, ...]:
    step_of = {functional: step for step, functional in FUNCTIONAL_OF.items()}
    if steps is None:
        if functional not in step_of:
            raise UsageError(f"there is no functional {functional!r}: give pbe or hse")
        return (step_of[functional],)
    unknown = [step for step in steps if step not in STEPS]
    if unknown:
        raise UsageError(f"there is no step {unknown[0]!r}: take {', '.join(STEPS)}")
    if not set(steps) & set(FUNCTIONAL_OF):
        raise UsageError("only static and hse give a density: name one of them, or use `ecd dft relax` for cells alone")
    if "relax" in steps and "static" not in steps:
        raise UsageError("cells are relaxed with PBE: name static too, or relax them first with `ecd dft relax`")
    if "nscf" in steps and "static" not in steps:
        raise UsageError("the step nscf starts from the density of static: name both")
    return tuple(steps)


def _plan_passes(steps: Sequence[str], store: Path, work: Path, restart: bool) -> list[FunctionalPass]:
    functionals = [functional for step, functional in FUNCTIONAL_OF.items() if step in steps]
    several = len(functionals) > 1
    if several and (store / "index.parquet").exists():
        raise UsageError(f"{store} is one store: name a folder in which pbe.ecd and hse.ecd are written")
    passes = []
    for functional in functionals:
        first = functional == functionals[0]
        plan = StepPlan(relax="relax" in steps and first, restart=restart, bands="nscf" in steps)
        where = (store / f"{functional}.ecd", work / functional) if several else (store, work)
        passes.append(FunctionalPass(functional, *where, plan, f"{functional}/" if several else ""))
    return passes


def _use_relaxed_crystals(jobs: list[Job], store: Path) -> list[Job]:
    """The jobs with the relaxed crystals of another functional's store; jobs without one are left out."""
    from ecd_data.store import open_store

    if not store.is_dir():
        return []
    relaxed = open_store(store)
    found = []
    for job in jobs:
        if job.id in relaxed:
            rho = relaxed[job.id]
            facts = {"relaxation": rho.meta["provenance"].get("relaxation")}
            found.append(replace(job, crystal=rho.crystal, provenance={**job.provenance, **facts}))
    return found


def _compute(
    jobs: list[Job],
    one: FunctionalPass,
    engine: Engine,
    report: RunReport,
    processes: int,
    cluster: Cluster | None,
    bound: float,
) -> None:
    """Compute the densities that the store does not have yet, and write them into it."""
    from ecd_data.store import StoreWriter

    with StoreWriter(one.store, bound=bound) as writer:
        present = [job for job in jobs if job.id in writer]
        other = find_other_contents(present, one.store, one.plan.relax, engine)
        report.failures |= print_failures({one.mark + id: reason for id, reason in other.items()})
        report.present += [one.mark + job.id for job in present if job.id not in other]
        wanted = [job for job in jobs if job.id not in writer]
        with (
            exit_on_sigterm(),
            show_progress(f"{one.mark}densities", len(wanted)) as progress,
            open_pool(engine, processes, cluster) as pool,
        ):
            futures = {
                pool.submit(compute_density, engine, j, (one.work / j.id).absolute(), one.plan): j for j in wanted
            }
            for future in as_completed(futures):
                job = futures.pop(future)  # so that the density is freed once it is written
                _collect(future, job, one, writer, report, progress)
                progress.advance(job.id)


def _collect(
    future: Future[Density], job: Job, one: FunctionalPass, writer: StoreWriter, report: RunReport, progress: Progress
) -> None:
    """Write one result into the store, or its failure into the report."""
    name = one.mark + job.id
    try:
        rho = future.result()
        writer.add(job.id, rho)
        writer.flush()
    except (EcdError, CancelledError) as error:
        reason = str(error) or f"{job.id}: its worker was lost; run again"
        report.failures[name] = reason
        progress.say(f"left out: {name}: {reason.removeprefix(f'{job.id}: ')}")
        return
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DiskFullError(
            f"{job.id}: the disk of {writer.path} is full: free some space and run again; finished crystals are kept"
        ) from None
    report.done.append(name)
    made, relaxed = rho.meta["provenance"], one.plan.relax and rho.meta["provenance"]["relaxation"]
    if made["retries"]:
        report.retried[name] = made["retries"]
    report.cpu_seconds += rho.meta["properties"]["cpu_seconds"] + (relaxed["cpu_seconds"] if relaxed else 0.0)


def _remove_work_files(passes: list[FunctionalPass], report: RunReport) -> None:
    """Remove the engine's files of the crystals that are in the stores, and folders that are empty then."""
    for one in passes:
        for name in report.done:
            if name.startswith(one.mark):
                shutil.rmtree(one.work / name.removeprefix(one.mark), ignore_errors=True)
        for folder in (one.work, one.work.parent) if one.mark else (one.work,):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
