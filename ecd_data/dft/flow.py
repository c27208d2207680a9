"""From crystals to stores of densities: one engine run each, resumable, failures set aside with their reasons."""

from __future__ import annotations

import errno
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecd_data.density import Density
from ecd_data.dft.engine import DiskFullError, Engine
from ecd_data.dft.engines import ready
from ecd_data.dft.settings import Job, chosen, usable_jobs
from ecd_data.dft.steps import Plan, density
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
    """What `run` did: ids computed now, ids the store had already, and the reason for each id or file left out.

    retried: the attempts that did not converge before one did, by id. Where two functionals are computed, an id has the
    functional in front, as in "hse/Si".
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
class Pass:
    """The densities of one functional: where they go and what else is done for them."""

    functional: str
    store: Path
    work: Path
    plan: Plan
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
    """Computes the density of every crystal into a store and returns a report of what was done and what failed.

    crystals: a mapping from id to record or Crystal, or paths of structures, folders of them and JSON files of records
    (see `make_jobs`). functional: "pbe" or "hse", or instead of it steps: of "relax" (cell and atoms, PBE), "static"
    (the PBE density), "hse" (the HSE06 density) and "nscf" (the PBE gap on a mesh twice as fine). With static and hse
    `store` is a folder in which pbe.ecd and hse.ecd are written, else it is the store.
    kspacing: in 2 pi / Å, for crystals without a mesh of their own; 0.04 is tried where it does not converge. spin,
    smearing: for all crystals, else as each one says. hubbard_u: U in eV by element, for PBE. forces: forces and stress
    too; a finished run without them is not repeated. restart: one more run from the PBE density itself, which counts
    its steps (property scf_steps_restart) and gives forces and stress. processes: engine runs at a time; cluster: a
    dask.distributed.Client that does them instead, with the engine and `work` reachable from its workers. engine:
    another than pw.x.
    Every finished step is kept, so a second call continues after an interruption. What does not converge is tried again
    with other mixing, smearing and mesh; a crystal whose runs fail is left out with its reason and the rest goes on.
    work: keep all engine files there; by default they live in `<store>.work` and only failed ones stay.
    Raises MissingDependencyError without an engine, UsageError for what cannot be meant.
    """
    wanted = _steps(steps, functional)
    if processes < 1:
        raise UsageError(f"processes must be at least 1, not {processes}")
    if "hse" in wanted and hubbard_u and "static" not in wanted:
        raise UsageError("HSE06 gets no U: take it away, or compute static as well")
    options: dict[str, Any] = {"spin": spin, "smearing": smearing, "hubbard_u": hubbard_u, "forces": forces}
    passes = _passes(wanted, Path(store), Path(work) if work is not None else Path(f"{store}.work"), restart)
    if not isinstance(crystals, Mapping | str | Path):
        crystals = list(crystals)
    report, given = RunReport(), []
    for one in passes:  # all that was asked for is looked at before an engine is
        jobs, failed = usable_jobs(crystals, one.functional, kspacing)
        given.append([chosen(job, **options) for job in jobs])
    report.failures |= told(failed)
    engine = ready(engine, pwx, pseudo)
    if "hse" in wanted and not getattr(engine, "hybrids", True):
        raise UsageError(f"HSE06 is not computed with {engine.name} here: take static alone, or Quantum ESPRESSO")
    earlier = None
    for one, jobs in zip(passes, given, strict=True):
        if earlier is not None and "relax" in wanted:
            jobs = _on_relaxed(jobs, earlier.store)
        _compute(jobs, one, engine, report, processes, cluster, bound)
        earlier = one
    if work is None:
        _tidy(passes, report)
    return report


def told(failed: dict[str, str]) -> dict[str, str]:
    """The failures as given, after saying them."""
    for reason in failed.values():
        print(printable(f"left out: {reason}"), file=sys.stderr)
    return failed


def _steps(steps: Sequence[str] | None, functional: str) -> tuple[str, ...]:
    known = {functional: step for step, functional in FUNCTIONAL_OF.items()}
    if steps is None:
        if functional not in known:
            raise UsageError(f"the functional {functional!r} is not known here: give pbe or hse")
        return (known[functional],)
    unknown = [step for step in steps if step not in STEPS]
    if unknown:
        raise UsageError(f"there is no step {unknown[0]!r}: take {', '.join(STEPS)}")
    if not set(steps) & set(FUNCTIONAL_OF):
        raise UsageError("a density comes of static or hse: name one of them, or use `ecd dft relax` for cells alone")
    if "nscf" in steps and "static" not in steps:
        raise UsageError("nscf starts from the density of static: name both")
    return tuple(steps)


def _passes(steps: Sequence[str], store: Path, work: Path, restart: bool) -> list[Pass]:
    functionals = [functional for step, functional in FUNCTIONAL_OF.items() if step in steps]
    several = len(functionals) > 1
    if several and (store / "index.parquet").exists():
        raise UsageError(f"{store} is one store: name a folder in which pbe.ecd and hse.ecd are written")
    passes = []
    for functional in functionals:
        first = functional == functionals[0]
        plan = Plan(relax="relax" in steps and first, restart=restart, bands="nscf" in steps)
        where = (store / f"{functional}.ecd", work / functional) if several else (store, work)
        passes.append(Pass(functional, *where, plan, f"{functional}/" if several else ""))
    return passes


def _on_relaxed(jobs: list[Job], store: Path) -> list[Job]:
    """The jobs on the relaxed crystals of another functional's store; those that it does not have are left out."""
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
    one: Pass,
    engine: Engine,
    report: RunReport,
    processes: int,
    cluster: Cluster | None,
    bound: float,
) -> None:
    """Puts the densities of the jobs that the store does not have into it."""
    from ecd_data.store import StoreWriter

    with StoreWriter(one.store, bound=bound) as writer:
        report.present += [one.mark + job.id for job in jobs if job.id in writer]
        wanted = [job for job in jobs if job.id not in writer]
        with (
            terminable(),
            show_progress(f"{one.mark}densities", len(wanted)) as progress,
            workers(engine, processes, cluster) as pool,
        ):
            futures = {pool.submit(density, engine, j, (one.work / j.id).absolute(), one.plan): j for j in wanted}
            for future in as_completed(futures):
                job = futures.pop(future)  # frees the density once it is written
                _collect(future, job, one, writer, report, progress)
                progress.advance(job.id)


def _collect(
    future: Future[Density], job: Job, one: Pass, writer: StoreWriter, report: RunReport, progress: Progress
) -> None:
    """Puts one result into the store, or its failure into the report."""
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
            f"{job.id}: the disk of {writer.path} is full; free some space and run again, finished crystals are kept"
        ) from None
    report.done.append(name)
    made, relaxed = rho.meta["provenance"], one.plan.relax and rho.meta["provenance"]["relaxation"]
    if made["retries"]:
        report.retried[name] = made["retries"]
    report.cpu_seconds += rho.meta["properties"]["cpu_seconds"] + (relaxed["cpu_seconds"] if relaxed else 0.0)


def _tidy(passes: list[Pass], report: RunReport) -> None:
    """Removes the engine's files of what is in the stores, and the folders that this leaves empty."""
    for one in passes:
        for name in report.done:
            if name.startswith(one.mark):
                shutil.rmtree(one.work / name.removeprefix(one.mark), ignore_errors=True)
        for folder in (one.work, one.work.parent) if one.mark else (one.work,):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM, as batch systems send it, leaves like Ctrl-C does, so that no engine runs on alone."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets only the main thread change handlers
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def workers(engine: Engine, processes: int, cluster: Cluster | None = None) -> Iterator[Executor]:
    """What runs the steps; left by an error or Ctrl-C, it ends the engine's runs here and starts no further ones."""
    pool = ThreadPoolExecutor(processes) if cluster is None else cluster.get_executor(pure=False)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        engine.stop()
        raise
    finally:
        pool.shutdown(wait=cluster is None)
