"""Threads that download files over a few connections; files are decoded and encoded here or in worker processes."""

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

from ecd_data.download.content import UNPACKED_PREFIX, read_checked_density
from ecd_data.download.http_answers import UnavailableError, WrongContentError
from ecd_data.download.journal import CHANGED, DONE, Entry, Journal
from ecd_data.download.partial_files import WORTH_KEEPING, Body, Version, remove_spool
from ecd_data.download.plan import FetchPlan
from ecd_data.download.transfer import Connection, Patience, RequestGate, StopFetch
from ecd_data.errors import EcdError, FormatError
from ecd_data.store.packing import PackedCrystal, pack_crystal
from ecd_data.work.process_pool import LostJob, ProcessPool
from ecd_data.work.progress import Progress, show_progress


class Tally:
    """Counts of files, failures and bytes of a fetch; `add_bytes` may be called from any thread."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.files, self.failures, self.size = total, 0, 0, 0
        self._progress = progress
        self._lock = threading.Lock()
        self._started = time.monotonic()

    def add_bytes(self, count: int) -> None:
        """Count bytes that arrived from the server."""
        with self._lock:
            self.size += count

    def finish_file(self, id: str, success: bool) -> None:
        """Count a file that is done or has failed."""
        self.files += 1
        self.failures += not success
        self._progress.show(self.files, f"{id} {'done' if success else 'failed'}: {self}")

    def refresh(self) -> None:
        """Show the present counts."""
        self._progress.show(self.files, str(self))

    def __str__(self) -> str:
        rate = self.size / max(time.monotonic() - self._started, 1e-9)
        return f"{self.size / 1e6:,.1f} MB, {rate / 1e6:.1f} MB/s, {self.failures:,} failed"


@contextmanager
def tally(total: int, progress: bool) -> Iterator[Tally]:
    """The Tally of a fetch of `total` files; with `progress` it is shown."""
    with show_progress("fetching", total, progress) as shown:
        yield Tally(total, shown)


STOP_SECONDS = 2.0  # after a stop, how long outcomes are still taken: a silent server must not delay the exit


@dataclass(frozen=True)
class FetchOptions:
    """How every file is downloaded and stored, see `fetch`."""

    connections: int
    workers: int
    patience: Patience
    bound: float
    pipeline: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """The outcome for one id.

    Either `item` is a crystal to store and `body` its file, or `error` says why there is none. With neither, the id is
    stored already: `body` is then the changed file on the server, or None if it did not change.
    """

    id: str
    body: Body | None = None
    item: PackedCrystal | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class _Job:
    """All that a worker process needs to encode a downloaded file."""

    body: Body
    id: str
    file: str
    functional: str
    bound: float
    pipeline: str


def _pack_body(job: _Job) -> PackedCrystal:
    """The crystal in a downloaded file, encoded for the store."""
    density = read_checked_density(job.body.path, job.id, job.file, job.functional)
    source = {"source": job.file, "source_sha256": job.body.sha256}
    return pack_crystal(job.id, density, bound=job.bound, pipeline=job.pipeline, **source)


class DownloadThreads:
    """The threads of a fetch; they put their outcomes into one queue."""

    def __init__(
        self, options: FetchOptions, plan: FetchPlan, journal: Journal, jobs: list[str], counts: Tally
    ) -> None:
        self._options, self._plan, self._journal, self._counts = options, plan, journal, counts
        self._folder = journal.path.parent / "bodies"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        self._gate = RequestGate()
        self._stop_at = math.inf
        self._jobs = iter(jobs)
        self._lock = threading.Lock()
        self._workers = ProcessPool(options.workers)
        self._outcomes: queue.Queue[Outcome | None] = queue.Queue(maxsize=options.connections)
        self._connections: queue.LifoQueue[Connection] = queue.LifoQueue()
        for _ in range(options.connections):
            self._connections.put(Connection(options.patience, self._gate, options.seed, counts.add_bytes))
        threads = min(options.connections + options.workers, len(jobs))  # connections stay busy while others decode
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def outcomes(self) -> Iterator[Outcome | None]:
        """The outcomes in the order in which they finish; None for each 0.1 s without one."""
        working = len(self._threads)
        while working and time.monotonic() < self._stop_at:
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
        """Start no further file and end soon, without waiting for threads that wait for a silent server."""
        if not self._gate.stopping.is_set():
            self._gate.stopping.set()
            self._stop_at = time.monotonic() + STOP_SECONDS
            self._workers.close()

    def clean_up(self) -> None:
        """Close the connections, and remove the folder of downloads unless it has partial files for the next run."""
        with suppress(queue.Empty):
            while True:
                self._connections.get_nowait().close()
        self._remove_leftovers()
        if not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _remove_leftovers(self) -> None:
        """Remove the temporary folders of a process that was killed."""
        for folder in self._folder.glob(f"{UNPACKED_PREFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _work(self) -> None:
        try:
            while (id := self._next_id()) is not None:
                self._queue_outcome(self._fetch_one(id))
        except StopFetch:
            pass
        finally:
            self._queue_outcome(None)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection for this thread alone."""
        connection = self._connections.get()
        try:
            yield connection
        finally:
            self._connections.put(connection)

    def _queue_outcome(self, outcome: Outcome | None) -> None:
        """Put an outcome into the queue; drop it if the run has stopped and the queue stays full."""
        while True:
            try:
                return self._outcomes.put(outcome, timeout=0.1)
            except queue.Full:
                if self._gate.stopping.is_set():
                    return None

    def _next_id(self) -> str | None:
        with self._lock:
            return None if self._gate.stopping.is_set() else next(self._jobs, None)

    def _fetch_one(self, id: str) -> Outcome:
        spool = self._folder / quote(id, safe="")
        try:
            entry = self._journal.entries[id]
            if entry.state in (DONE, CHANGED):
                return self._download_changed(entry, spool)
            return self._download_and_pack(id, spool)
        except StopFetch:
            raise
        except MemoryError:
            return Outcome(id, error=EcdError(f"{id}: not enough memory to read it: take fewer connections or workers"))
        except (EcdError, OSError) as error:
            kept = isinstance(error, UnavailableError) and spool.exists() and spool.stat().st_size >= WORTH_KEEPING
            if not kept:
                remove_spool(spool)
            return Outcome(id, error=error)
        except Exception as error:  # one strange file among 140,646 must not end the run
            remove_spool(spool)
            what = " ".join(f"{type(error).__name__} {error}".split())[:200]
            message = f"{self._plan.file(id)} cannot be read because of a fault in ecd ({what}): please report it"
            return Outcome(id, error=EcdError(message))

    def _download_and_pack(self, id: str, spool: Path) -> Outcome:
        """The outcome for a new crystal; a file that arrives damaged is downloaded a second time."""
        for last in (False, True):
            try:
                with self._connection() as connection:
                    body = connection.download(self._plan.url(id), spool)
                item = self._pack(id, body)
                remove_spool(spool)
                return Outcome(id, body, item)
            except CancelledError as error:
                raise StopFetch from error
            except (FormatError, WrongContentError):
                remove_spool(spool)
                if last:
                    raise
                self._gate.wait(self._options.patience.pause)
        raise AssertionError("unreachable")

    def _pack(self, id: str, body: Body) -> PackedCrystal:
        options, plan = self._options, self._plan
        job = _Job(body, id, plan.file(id), plan.functional, options.bound, options.pipeline)
        item = self._workers.run(_pack_body, job)
        if isinstance(item, LostJob):
            raise EcdError(
                f"{job.file}: the system ended the process that read it, perhaps for lack of memory: take fewer workers"
            )
        return item

    def _download_changed(self, entry: Entry, spool: Path) -> Outcome:
        with self._connection() as connection:
            body = connection.download_if_changed(self._plan.url(entry.id), spool, Version(entry.etag, entry.modified))
        remove_spool(spool)
        return Outcome(entry.id, body)
