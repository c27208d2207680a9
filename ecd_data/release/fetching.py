"""`fetch`: the release from its web servers into a store, several files at a time, continued by the same call."""

from __future__ import annotations

import math
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.interrupts import stop_between_steps
from ecd_data.release.fetch_content import BESIDE, density_in
from ecd_data.release.fetch_journal import CHANGED, DONE, FAILED, LEFT, Entry, Journal, fetch_status
from ecd_data.release.fetch_plan import Plan, plan_fetch
from ecd_data.release.fetch_preview import preview_fetch
from ecd_data.release.fetch_progress import Tally, tally
from ecd_data.release.fetch_transfer import (
    PROGRESS,
    Body,
    Connection,
    Courtesy,
    Patience,
    Stopped,
    Unavailable,
    Version,
    WrongContent,
    discard,
)
from ecd_data.store.packing import Packed, packed
from ecd_data.store.writer import StoreWriter

__all__ = ["Fetched", "fetch", "fetch_status", "preview_fetch"]

CONNECTIONS, MOST_CONNECTIONS = 4, 8
HOPELESS = 8  # files in a row that the server fails for: it is down, and asking for the others would not be polite
LEAVE_SECONDS = 2.0


@dataclass
class Fetched:
    """What a fetch did: ids added, ids that were there already, id -> reason of those that failed or changed.

    left: how many were not tried; stopped: why, None where none is left.
    """

    dest: Path
    set: str
    added: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    left: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    stopped: str | None = None


def fetch(
    what: str | Sequence[str],
    dest: str | Path,
    *,
    part: str | None = None,
    set: str | None = None,
    limit: int | None = None,
    connections: int = CONNECTIONS,
    patience: Patience | None = None,
    bound: float = 1e-5,
    pipeline: str = "fourier",
    mirror: str | None = None,
    seed: int = 0,
    recheck: bool = False,
    progress: bool = False,
) -> Fetched:
    """What was done in fetching tasks, sets, ids or patterns of the release into the store `dest`.

    Each file is downloaded compressed, unpacked in memory, parsed, checked and encoded; then it is removed. Ids that
    the store has are skipped, so the same call continues and tries failures again; with `recheck` the server is asked
    whether their files have changed. `patience` says how often to retry and what silence is a stall; `seed` fixes the
    jitter of the pauses. Raises UsageError and UnknownIdError for what cannot be meant, OSError where the disk is full.
    """
    plan = plan_fetch(what, part=part, set=set, limit=limit, mirror=mirror)
    if not 1 <= connections <= MOST_CONNECTIONS:
        raise UsageError(
            f"fetch opens 1 to {MOST_CONNECTIONS} connections, not {connections}: the servers are shared by everybody"
        )
    manner = _Manner(connections, patience or Patience(), bound, pipeline, seed)
    report = Fetched(Path(dest), plan.set)
    with stop_between_steps() as stopped, StoreWriter(dest, bound=bound, pipeline=pipeline) as writer:
        journal = Journal(Path(dest), plan.set)
        jobs = _jobs(plan, writer, journal, report, recheck)
        with tally(len(jobs), progress) as counts:
            crew = _Crew(manner, plan, journal, jobs, counts)
            _Keeper(writer, journal, report, counts).keep(crew, stopped)
    return report


def _jobs(plan: Plan, writer: StoreWriter, journal: Journal, report: Fetched, recheck: bool) -> list[str]:
    """The ids to work on; the journal learns what is wanted, and what the store has without its knowing."""
    known = journal.entries
    report.skipped = [id for id in plan.ids if id in writer]
    missing = [id for id in plan.ids if id not in writer]
    stored = [id for id in report.skipped if id not in known or known[id].state not in (DONE, CHANGED)]
    wanted = [id for id in missing if id not in known or known[id].state != FAILED]
    news = [Entry(id, DONE, sha256=writer.source_sha256(id)) for id in stored]
    news += [Entry(id, LEFT) for id in wanted if id not in known or known[id].state != LEFT]
    if news:
        journal.note(news)
    return [*missing, *(report.skipped if recheck else [])]


@dataclass(frozen=True)
class _Manner:
    """How every file is fetched and stored."""

    connections: int
    patience: Patience
    bound: float
    pipeline: str
    seed: int


@dataclass(frozen=True)
class _Outcome:
    """What became of one id: a crystal to store; for a stored one its file now, None for the same; or an error."""

    id: str
    body: Body | None = None
    item: Packed | None = None
    error: Exception | None = None


class _Crew:
    """Threads with a connection each, which download, decode and encode; their outcomes are taken from one queue."""

    def __init__(self, manner: _Manner, plan: Plan, journal: Journal, jobs: list[str], counts: Tally) -> None:
        self._manner, self._plan, self._journal, self._counts = manner, plan, journal, counts
        self._folder = journal.path.parent / "bodies"
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(f"{BESIDE}*"):
            shutil.rmtree(left)  # by a process that was killed
        self._courtesy = Courtesy()
        self._leaving = math.inf
        self._jobs = iter(jobs)
        self._lock = threading.Lock()
        # One file at a time: numpy tells the parser of text that is no number by warnings, whose filters are those of
        # the whole process. Downloads, which are what takes long, go on meanwhile.
        self._decoding = threading.Lock()
        self._outcomes: queue.Queue[_Outcome | None] = queue.Queue(maxsize=manner.connections)
        workers = min(manner.connections, len(jobs))
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def outcomes(self) -> Iterator[_Outcome | None]:
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

    def tidy(self) -> None:
        """Remove the folder of bodies, unless there is something that the next run goes on with."""
        if not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _work(self) -> None:
        connection = Connection(self._manner.patience, self._courtesy, self._manner.seed, self._counts.came)
        try:
            while (id := self._next()) is not None:
                self._hand_over(self._outcome(connection, id))
        except Stopped:
            pass
        finally:
            connection.close()
            self._hand_over(None)

    def _hand_over(self, outcome: _Outcome | None) -> None:
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

    def _outcome(self, connection: Connection, id: str) -> _Outcome:
        spool = self._folder / quote(id, safe="")
        try:
            entry = self._journal.entries[id]
            if entry.state in (DONE, CHANGED):
                return self._compared(connection, entry, spool)
            return self._decoded(connection, id, spool)
        except Stopped:
            raise
        except MemoryError:
            return _Outcome(id, error=EcdError(f"{id}: not enough memory to read it: use fewer connections"))
        except (EcdError, OSError) as error:
            kept = isinstance(error, Unavailable) and spool.exists() and spool.stat().st_size >= PROGRESS
            if not kept:
                discard(spool)
            return _Outcome(id, error=error)
        except Exception as error:  # one strange file among 140,646 must not end the run
            discard(spool)
            what = " ".join(f"{type(error).__name__} {error}".split())[:200]
            return _Outcome(id, error=EcdError(f"{self._plan.file(id)} cannot be read ({what}): not foreseen"))

    def _decoded(self, connection: Connection, id: str, spool: Path) -> _Outcome:
        """The crystal in a file, ready for the store; a file that comes damaged is downloaded a second time."""
        for last in (False, True):
            try:
                body = connection.download(self._plan.url(id), spool)
                with self._decoding:
                    self._courtesy.go_on()
                    item = self._packed(id, body)
                discard(spool)
                return _Outcome(id, body, item)
            except (FormatError, WrongContent):
                discard(spool)
                if last:
                    raise
                self._courtesy.wait(self._manner.patience.pause)
        raise AssertionError("unreachable")

    def _packed(self, id: str, body: Body) -> Packed:
        file, manner = self._plan.file(id), self._manner
        density = density_in(body.path, id, file, self._plan.functional)
        return packed(id, density, bound=manner.bound, pipeline=manner.pipeline, source=file, source_sha256=body.sha256)

    def _compared(self, connection: Connection, entry: Entry, spool: Path) -> _Outcome:
        body = connection.renewed(self._plan.url(entry.id), spool, Version(entry.etag, entry.modified))
        discard(spool)
        return _Outcome(entry.id, body)


class _Keeper:
    """Writes what the crew brings, and the journal of it."""

    def __init__(self, writer: StoreWriter, journal: Journal, report: Fetched, counts: Tally) -> None:
        self._writer, self._journal, self._report, self._counts = writer, journal, report, counts
        self._in_vain = 0

    def keep(self, crew: _Crew, stopped: Callable[[], bool]) -> None:
        """Take every outcome; raises KeyboardInterrupt after an interrupt, with all that had come kept."""
        try:
            for outcome in crew.outcomes():
                if outcome is not None:
                    self._take(outcome)
                self._counts.shown()
                if stopped() or self._report.stopped:
                    crew.stop()
        finally:
            crew.stop()
            crew.tidy()
        self._report.left = self._counts.total - self._counts.files
        if stopped() and self._report.left:
            raise KeyboardInterrupt

    def _take(self, outcome: _Outcome) -> None:
        try:
            if outcome.error is not None:
                raise outcome.error
            if outcome.item is not None and outcome.body is not None:
                self._store(outcome.item, outcome.body)
            else:
                self._compare(self._journal.entries[outcome.id], outcome.body)
        except EcdError as error:
            self._fail(outcome.id, error)
            return
        self._in_vain = 0
        self._counts.finished(outcome.id not in self._report.changed)

    def _store(self, item: Packed, body: Body) -> None:
        row = self._writer.put(item)
        version = body.version
        self._journal.note([Entry(item.id, DONE, None, body.size, body.sha256, version.etag, version.modified)])
        self._report.added.append(item.id)
        self._report.bytes_in += body.size
        self._report.bytes_out += row["length"]

    def _compare(self, before: Entry, body: Body | None) -> None:
        """Note whether the file of a stored crystal is another by now; a new name for the same bytes is none."""
        if body is None or body.sha256 == before.sha256:
            version = body.version if body else Version(before.etag, before.modified)
            now = Entry(before.id, DONE, None, before.size, before.sha256, version.etag, version.modified)
        else:
            was, reason = (before.sha256 or "unknown")[:12], "the server has another file by now"
            reason += f" (sha256 {body.sha256[:12]}..., stored {was}...): fetch it to another store to have both"
            now = replace(before, state=CHANGED, reason=reason)
            self._report.changed[before.id] = reason
        if now != before:
            self._journal.note([now])

    def _fail(self, id: str, error: EcdError) -> None:
        stored = id in self._writer
        self._report.failed[id] = str(error)
        if not stored:  # of a stored one only the question failed whether it changed
            self._journal.note([Entry(id, FAILED, str(error))])
        self._counts.finished(False)
        self._in_vain = self._in_vain + 1 if isinstance(error, Unavailable) else 0
        if self._in_vain >= HOPELESS:
            self._report.stopped = f"the server failed for {HOPELESS} files in a row ({error})"
