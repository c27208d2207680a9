"""What an engine, a program that computes densities, has to do; and the threads or Dask workers that run its steps."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from ecd_data.crystal import Crystal, Floats
from ecd_data.dft.settings import Settings
from ecd_data.errors import EcdError, StoreError
from ecd_data.formats.bands import BandEdges
from ecd_data.io.lock import lock_folder

if TYPE_CHECKING:
    from ecd_data.work.process_pool import Cluster


Kind = Literal["relax", "density", "restart", "start", "bands"]


class RunError(EcdError):
    """A calculation that did not start, did not converge or did not end properly."""


class NotConvergedError(RunError):
    """A self-consistent calculation that did not converge; other mixing or smearing may help."""


class DiskFullError(EcdError, OSError):
    """The disk has no space for a density; crystals that were finished before are kept."""


@dataclass(frozen=True)
class Step:
    """One run of an engine for the crystal called `id`.

    Attributes
    ----------
    kind : "relax" moves atoms and cell; "density" is a self-consistent calculation; "restart" is the same, started from
        the density of the run in the folder `start`, with forces and stress; "start" is "density" from that density and
        otherwise the same; "bands" computes levels in that fixed density, on the k mesh of `settings`.
    start : the folder of the run to start from; None for "relax" and "density".
    """

    kind: Kind
    id: str
    crystal: Crystal
    settings: Settings
    start: Path | None = None


@dataclass(frozen=True)
class Result:
    """The result of a finished run.

    Attributes
    ----------
    crystal : the crystal at the end of the run.
    shape : the grid points of its density along a, b, c.
    version : the version of the engine.
    properties : numbers by the names of the store's index columns.
    arrays : lists: forces_eV_A [n, 3], stress_GPa [3, 3] (positive under compression), site_moments [n]; those that the
        run computed.
    convergence : how the run ended.
    settings : settings that the engine used in place of those asked for, by the names of `Settings.as_meta`.
    edges : the levels beside the gap; None if there are none.
    """

    crystal: Crystal
    shape: tuple[int, ...]
    version: str
    properties: Mapping[str, float]
    arrays: Mapping[str, Any] = field(default_factory=dict)
    convergence: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    edges: BandEdges | None = None


def find_extremes(arrays: Mapping[str, Any]) -> dict[str, float]:
    """The largest force in eV/Å, the pressure and the largest stress in GPa, if the arrays of a Result have them."""
    found = {}
    if "forces_eV_A" in arrays:
        found["max_force_eV_A"] = float(np.linalg.norm(arrays["forces_eV_A"], axis=1).max())
    if "stress_GPa" in arrays:
        found["pressure_GPa"] = float(np.trace(arrays["stress_GPa"]) / 3)
        found["max_stress_GPa"] = float(np.abs(arrays["stress_GPa"]).max())
    return found


class Engine(Protocol):
    """A program that computes densities; its methods may be called from several threads at a time."""

    name: str

    def input_text(self, step: Step) -> str:
        """The input of a step, which determines its result and is the same on every machine.

        Raises UsageError if the engine cannot compute the step.
        """

    def is_finished(self, step: Step, text: str, folder: Path) -> bool:
        """Whether `folder` holds the result of exactly this input.

        Raises NotConvergedError if the step was run there and did not converge.
        """

    def run(self, step: Step, text: str, folder: Path) -> None:
        """Run a step in `folder`; raises RunError with the reason if it leaves no converged result."""

    def read(self, step: Step, folder: Path) -> Result:
        """The result of a finished run; raises FormatError if it cannot be read."""

    def density(self, folder: Path, shape: tuple[int, ...]) -> tuple[Floats, Floats | None]:
        """The density and the magnetisation (None without spin) of a finished run, each [a, b, c] in e/Å^3."""

    def datasets(self, crystal: Crystal) -> dict[str, dict[str, str]]:
        """File and SHA-256 of the pseudopotential of every element."""

    def nelect(self, crystal: Crystal) -> float:
        """The number of electrons that the density must integrate to."""

    def stop(self) -> None:
        """Stop all running steps; later ones stop at once."""


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """A context in which SIGTERM, which batch systems send, exits like Ctrl-C, so that no engine runs on alone."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets only the main thread change handlers
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def own_folder(folder: Path, id: str, place: str = "work folder (--work)") -> Iterator[None]:
    """A context in which no other process computes in a folder: each would take the density of the other for its own.

    The folder is made, and removed if nothing was written there. Raises RunError where another process computes there;
    `place` is what the message advises to change.
    """
    holder = threading.Event()  # any object: the lock ends with it at the latest
    try:
        folder.mkdir(parents=True, exist_ok=True)
        release = lock_folder(folder, holder)
    except StoreError:
        raise RunError(f"{id}: another process computes in {folder}: wait for it, or give another {place}") from None
    except OSError as error:
        raise RunError(f"{id}: {folder} cannot be written ({error.strerror}): give another {place}") from None
    try:
        yield
    finally:
        release()
        with suppress(OSError):  # it has files
            folder.rmdir()


@contextmanager
def open_pool(engine: Engine, processes: int, cluster: Cluster | None) -> Iterator[Executor]:
    """The threads or Dask workers that run the steps; after an error or Ctrl-C all runs on this machine are stopped."""
    pool = ThreadPoolExecutor(processes) if cluster is None else cluster.get_executor(pure=False)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        engine.stop()
        raise
    finally:
        pool.shutdown(wait=cluster is None)
