"""`fetch`: the release from its web servers into a store, several files at a time, continued by the same call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ecd_data.download.download_threads import Crew, Manner, Outcome
from ecd_data.download.http_answers import Unavailable
from ecd_data.download.journal import CHANGED, DONE, FAILED, LEFT, Entry, Journal, fetch_status
from ecd_data.download.partial_files import Body, Version
from ecd_data.download.plan import Plan, plan_fetch
from ecd_data.download.preview import preview_fetch
from ecd_data.download.progress_line import Tally, tally
from ecd_data.download.transfer import Patience
from ecd_data.errors import EcdError, UsageError
from ecd_data.store.packing import PackedCrystal
from ecd_data.store.writer import StoreWriter
from ecd_data.work.interrupts import stop_between_steps
from ecd_data.work.process_pool import refuse_worker_count

__all__ = ["Fetched", "fetch", "fetch_status", "preview_fetch"]

CONNECTIONS, MOST_CONNECTIONS = 4, 8
HOPELESS = 8  # files in a row that the server fails for: it is down, and asking for the others would not be polite


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
    workers: int = 1,
    patience: Patience | None = None,
    bound: float = 1e-5,
    pipeline: str = "fourier",
    mirror: str | None = None,
    seed: int = 0,
    recheck: bool = False,
    progress: bool = False,
) -> Fetched:
    """What was done in fetching tasks, sets, ids or patterns of the release into the store `dest`.

    Each file is downloaded compressed, unpacked in memory, parsed, checked and encoded, then removed; all but the
    download is done by `workers` processes, 1 for this one, which changes no byte of a crystal. Ids that the store has
    are skipped, so the same call continues and tries failures again; with `recheck` the server is asked whether their
    files have changed. `patience` says how often to retry and what silence is a stall; `seed` fixes the jitter of the
    pauses. Raises UsageError and UnknownIdError for what cannot be meant, OSError where the disk is full.
    """
    plan = plan_fetch(what, part=part, set=set, limit=limit, mirror=mirror)
    if not 1 <= connections <= MOST_CONNECTIONS:
        raise UsageError(
            f"fetch opens 1 to {MOST_CONNECTIONS} connections, not {connections}: the servers are shared by everybody"
        )
    refuse_worker_count(workers)
    manner = Manner(connections, workers, patience or Patience(), bound, pipeline, seed)
    report = Fetched(Path(dest), plan.set)
    with stop_between_steps() as stopped, StoreWriter(dest, bound=bound, pipeline=pipeline) as writer:
        journal = Journal(Path(dest), plan.set)
        jobs = _jobs(plan, writer, journal, report, recheck)
        with tally(len(jobs), progress) as counts:
            crew = Crew(manner, plan, journal, jobs, counts)
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


class _Keeper:
    """Writes what the crew brings, and the journal of it."""

    def __init__(self, writer: StoreWriter, journal: Journal, report: Fetched, counts: Tally) -> None:
        self._writer, self._journal, self._report, self._counts = writer, journal, report, counts
        self._in_vain = 0

    def keep(self, crew: Crew, stopped: Callable[[], bool]) -> None:
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

    def _take(self, outcome: Outcome) -> None:
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
        self._counts.finished(outcome.id, outcome.id not in self._report.changed)

    def _store(self, item: PackedCrystal, body: Body) -> None:
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
        self._counts.finished(id, False)
        self._in_vain = self._in_vain + 1 if isinstance(error, Unavailable) else 0
        if self._in_vain >= HOPELESS:
            self._report.stopped = f"the server failed for {HOPELESS} files in a row ({error})"
