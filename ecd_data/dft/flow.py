"""From crystals to a store of densities: one engine run each, resumable, failures set aside with their reasons."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecd_data.density import Density
from ecd_data.dft.espresso import (
    CHARGE_DENSITY,
    INPUT,
    SAVE,
    DiskFullError,
    RunError,
    failure_reason,
    pw_input,
    read_result,
    run_pw,
)
from ecd_data.dft.pseudopotentials import load_pseudopotentials, setup
from ecd_data.dft.settings import Job, make_jobs
from ecd_data.errors import EcdError, UsageError
from ecd_data.formats.espresso import read_charge_density

if TYPE_CHECKING:
    from rich.progress import Progress

ELECTRON_TOLERANCE = 1e-5


@dataclass
class RunReport:
    """What `run` did: ids computed now, ids the store had already, and the reason for each id left out."""

    done: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    cpu_seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{len(self.done)} computed in {self.cpu_seconds:.0f} CPU seconds, {len(self.present)} present already,"
            f" {len(self.failures)} failed"
        )


class Engine:
    """pw.x with its pseudopotentials; computes densities, in several threads if wanted, until stopped."""

    def __init__(self, pwx: str, pseudo: Path) -> None:
        self.pwx, self.pseudo = pwx, pseudo
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def density(self, job: Job, folder: Path) -> Density:
        """The density of a job; a finished run of the same input in `folder` is read instead of repeated.

        Raises EcdError with the reason when there is none.
        """
        pseudo = load_pseudopotentials(self.pseudo, job.crystal.symbols)
        text = pw_input(job.crystal, job.settings, pseudo)
        if not _is_finished(folder, text):
            shutil.rmtree(folder / SAVE, ignore_errors=True)  # a partial result must not pass for the new one
            run_pw(self.pwx, self.pseudo, folder, text, job.id, self._watch)
        properties, version, shape = read_result(folder)
        values, magnetization = read_charge_density(folder / CHARGE_DENSITY, shape)
        files = {s: {"file": p.path.name, "sha256": p.sha256} for s, p in pseudo.items()}
        meta = {
            "functional": job.settings.functional,
            "settings": {**job.settings.as_meta(), "pseudopotentials": files},
            "provenance": {
                "engine": "Quantum ESPRESSO",
                "engine_version": version,
                "crystal": job.id,
                **job.provenance,
            },
            "properties": properties,
        }
        density = Density(job.crystal, values, magnetization, meta=meta)
        expected = sum(pseudo[s].valence for s in job.crystal.symbols)
        if abs(density.nelect - expected) > ELECTRON_TOLERANCE:
            raise RunError(f"{job.id}: the density holds {density.nelect:.6f} electrons instead of {expected:g}")
        return density

    def _watch(self, process: subprocess.Popen) -> None:
        with self._lock:
            self._running = {p for p in self._running if p.poll() is None} | {process}
            if self._stopped:
                process.terminate()

    def stop(self) -> None:
        """Ends the runs under way; later ones end at once."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                if process.poll() is None:
                    process.terminate()


def _is_finished(folder: Path, text: str) -> bool:
    path = folder / INPUT
    return path.is_file() and path.read_text() == text and failure_reason(folder) is None


def run(
    crystals: Any,
    store: str | Path,
    functional: str = "pbe",
    *,
    processes: int = 1,
    pwx: str | Path | None = None,
    pseudo: str | Path | None = None,
    work: str | Path | None = None,
    bound: float = 1e-5,
) -> RunReport:
    """Computes the density of every crystal into a store and returns a report of what was done and what failed.

    crystals: a mapping from id to record or Crystal, or paths of CIF, POSCAR or JSON files (see `make_jobs`);
    functional: "pbe" or "hse"; processes: engine runs at a time. Every finished density is in the store at once, so a
    second call continues after an interruption. A crystal whose run fails is left out with its reason and the rest
    goes on. work: keep all engine files there; by default they live in `<store>.work` and only failed ones stay.
    Raises MissingDependencyError without an engine, UsageError for crystals that cannot be read.
    """
    from ecd_data.store import StoreWriter

    jobs = make_jobs(crystals, functional)
    if processes < 1:
        raise UsageError(f"processes must be at least 1, not {processes}")
    ready = setup(pwx, pseudo)
    folder = Path(work) if work is not None else Path(f"{store}.work")
    report = RunReport()
    with StoreWriter(store, bound=bound) as writer:
        report.present = [job.id for job in jobs if job.id in writer]
        wanted = [job for job in jobs if job.id not in writer]
        engine = Engine(ready.pwx, ready.pseudo)
        with _terminable(), _progress(len(wanted)) as (progress, step), _pool(engine, processes) as pool:
            futures = {pool.submit(engine.density, job, folder / job.id): job for job in wanted}
            for future in as_completed(futures):
                job = futures.pop(future)  # frees the density once it is written
                _collect(future, job, writer, report, progress)
                if work is None and job.id in report.done:
                    shutil.rmtree(folder / job.id, ignore_errors=True)
                step(job.id)
    if work is None and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    return report


def _collect(future: Future[Density], job: Job, writer: Any, report: RunReport, progress: Progress) -> None:
    """Puts one result into the store, or its failure into the report."""
    try:
        density = future.result()
        writer.add(job.id, density)
        writer.flush()
    except EcdError as error:
        report.failures[job.id] = str(error)
        reason = str(error).removeprefix(f"{job.id}: ")
        progress.console.print(f"left out: {job.id}: {reason}", markup=False, soft_wrap=True)
        return
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DiskFullError(
            f"{job.id}: the disk of {writer.path} is full; free some space and run again, finished crystals are kept"
        ) from None
    report.done.append(job.id)
    report.cpu_seconds += density.meta["properties"]["cpu_seconds"]


@contextmanager
def _terminable() -> Iterator[None]:
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
def _pool(engine: Engine, processes: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that, when left by an error or Ctrl-C, ends the engine's runs and starts no further ones."""
    pool = ThreadPoolExecutor(processes)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        engine.stop()
        raise
    finally:
        pool.shutdown(wait=True)


@contextmanager
def _progress(total: int) -> Iterator[tuple[Progress, Any]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("densities", total=total)
        yield progress, lambda name: progress.update(task, advance=1, description=f"densities ({name})")
