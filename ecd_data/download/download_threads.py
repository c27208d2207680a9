"""Threads that download files over a few connections, and have them decoded and encoded here or in processes."""

from __future__ import annotations

import math
import queue
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ecd_data.download.content import BESIDE, density_in
from ecd_data.download.http_answers import Unavailable, WrongContent
from ecd_data.download.journal import CHANGED, DONE, Entry, Journal
from ecd_data.download.partial_files import PROGRESS, Body, Version, discard
from ecd_data.download.plan import Plan
from ecd_data.download.progress_line import Tally
from ecd_data.download.transfer import Connection, Courtesy, Patience, Stopped
from ecd_data.errors import EcdError, FormatError
from ecd_data.store.packing import PackedCrystal, pack_crystal
from ecd_data.work.process_pool import LostJob, ProcessPool

LEAVE_SECONDS = 2.0


@dataclass(frozen=True)
class Manner:
    """How every file is fetched and stored."""

    connections: int
    workers: int
    patience: Patience
    bound: float
    pipeline: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What became of one id: a crystal to store; for a stored one its file now, None for the same; or an error."""

    id: str
    body: Body | None = None
    item: PackedCrystal | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class _Job:
    """What a worker needs to turn a downloaded body into a crystal of the store."""

    body: Body
    id: str
    file: str
    functional: str
    bound: float
    pipeline: str


def _packed(job: _Job) -> PackedCrystal:
    """The crystal in a body, ready for the store."""
    density = density_in(job.body.path, job.id, job.file, job.functional)
    told = {"source": job.file, "source_sha256": job.body.sha256}
    return pack_crystal(job.id, density, bound=job.bound, pipeline=job.pipeline, **told)


class Crew:
    """The threads of a fetch; their outcomes are taken from one queue."""

    def __init__(self, manner: Manner, plan: Plan, journal: Journal, jobs: list[str], counts: Tally) -> None:
        self._manner, self._plan, self._journal, self._counts = manner, plan, journal, counts
        self._folder = journal.path.parent / "bodies"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._remove_beside()
        self._courtesy = Courtesy()
        self._leaving = math.inf
        self._jobs = iter(jobs)
        self._lock = threading.Lock()
        self._workers = ProcessPool(manner.workers)
        self._outcomes: queue.Queue[Outcome | None] = queue.Queue(maxsize=manner.connections)
        self._connections: queue.LifoQueue[Connection] = queue.LifoQueue()
        for _ in range(manner.connections):
            self._connections.put(Connection(manner.patience, self._courtesy, manner.seed, counts.came))
        threads = min(manner.connections + manner.workers, len(jobs))  # so that none waits while others decode
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def outcomes(self) -> Iterator[Outcome | None]:
        """The outcomes as they come, None whenever a moment passes without one, until all have ended."""
        working = len(self._threads)
        while working and time.monotonic() < self._leaving:
            try:
                outcome = self._outcomes.get(timeout=0.1)
            except queue.Empty:
                yield None
                continue
            if outcome is None:
                working -= 1
            else:
                yield outcome

    def stop(self) -> None:
        """Let nobody begin another file; a thread that waits for a silent server is not waited for."""
        if not self._courtesy.stopping.is_set():
            self._courtesy.stopping.set()
            self._leaving = time.monotonic() + LEAVE_SECONDS
            self._workers.close()

    def tidy(self) -> None:
        """Close the connections; remove the folder of bodies, unless the next run goes on with something in it."""
        with suppress(queue.Empty):
            while True:
                self._connections.get_nowait().close()
        self._remove_beside()
        if not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _remove_beside(self) -> None:
        """Remove what a process that was killed unpacked beside the bodies."""
        for left in self._folder.glob(f"{BESIDE}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _work(self) -> None:
        try:
            while (id := self._next()) is not None:
                self._hand_over(self._outcome(id))
        except Stopped:
            pass
        finally:
            self._hand_over(None)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection that nobody else uses meanwhile."""
        connection = self._connections.get()
        try:
            yield connection
        finally:
            self._connections.put(connection)

    def _hand_over(self, outcome: Outcome | None) -> None:
        """Queue an outcome; dropped where the run has ended and nobody takes it."""
        while True:
            try:
                return self._outcomes.put(outcome, timeout=0.1)
            except queue.Full:
                if self._courtesy.stopping.is_set():
                    return None

    def _next(self) -> str | None:
        with self._lock:
            return None if self._courtesy.stopping.is_set() else next(self._jobs, None)

    def _outcome(self, id: str) -> Outcome:
        spool = self._folder / quote(id, safe="")
        try:
            entry = self._journal.entries[id]
            if entry.state in (DONE, CHANGED):
                return self._compared(entry, spool)
            return self._decoded(id, spool)
        except Stopped:
            raise
        except MemoryError:
            return Outcome(id, error=EcdError(f"{id}: not enough memory to read it: use fewer connections"))
        except (EcdError, OSError) as error:
            kept = isinstance(error, Unavailable) and spool.exists() and spool.stat().st_size >= PROGRESS
            if not kept:
                discard(spool)
            return Outcome(id, error=error)
        except Exception as error:  # one strange file among 140,646 must not end the run
            discard(spool)
            what = " ".join(f"{type(error).__name__} {error}".split())[:200]
            return Outcome(id, error=EcdError(f"{self._plan.file(id)} cannot be read ({what}): not foreseen"))

    def _decoded(self, id: str, spool: Path) -> Outcome:
        """The crystal in a file, ready for the store; a file that comes damaged is downloaded a second time."""
        for last in (False, True):
            try:
                with self._connection() as connection:
                    body = connection.download(self._plan.url(id), spool)
                item = self._packed(id, body)
                discard(spool)
                return Outcome(id, body, item)
            except CancelledError as error:
                raise Stopped from error
            except (FormatError, WrongContent):
                discard(spool)
                if last:
                    raise
                self._courtesy.wait(self._manner.patience.pause)
        raise AssertionError("unreachable")

    def _packed(self, id: str, body: Body) -> PackedCrystal:
        manner, plan = self._manner, self._plan
        job = _Job(body, id, plan.file(id), plan.functional, manner.bound, manner.pipeline)
        item = self._workers.run(_packed, job)
        if isinstance(item, LostJob):
            raise EcdError(f"{job.file}: the system ended the process that read it, for lack of memory as a rule")
        return item

    def _compared(self, entry: Entry, spool: Path) -> Outcome:
        with self._connection() as connection:
            body = connection.renewed(self._plan.url(entry.id), spool, Version(entry.etag, entry.modified))
        discard(spool)
        return Outcome(entry.id, body)
