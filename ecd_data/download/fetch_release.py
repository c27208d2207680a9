"""`fetch`: download the release into a store, several files at a time; the same call continues an interrupted one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ecd_data.arguments import whole_number
from ecd_data.download.download_threads import DownloadThreads, FetchOptions, Outcome, Tally, tally
from ecd_data.download.http_answers import UnavailableError
from ecd_data.download.journal import CHANGED, DONE, FAILED, LEFT, Entry, Journal, fetch_status
from ecd_data.download.partial_files import Body, Version
from ecd_data.download.plan import FetchPlan, plan_fetch
from ecd_data.download.preview import preview_fetch
from ecd_data.download.transfer import Patience
from ecd_data.errors import EcdError, UsageError
from ecd_data.io.network import refuse_network
from ecd_data.store.packing import PackedCrystal
from ecd_data.store.writer import StoreWriter
from ecd_data.work.interrupts import stop_between_steps
from ecd_data.work.process_pool import refuse_worker_count

__all__ = ["FetchReport", "fetch", "fetch_status", "preview_fetch"]

CONNECTIONS, MOST_CONNECTIONS = 4, 8  # at a time, by default and at most: everybody shares the servers
MOST_FAILURES = 8  # stop after so many failed files in a row: the server is down, and further requests burden it


@dataclass
class FetchReport:
    """The result of a fetch.

    Attributes
    ----------
    dest, set : the store, and the set of the release that it holds.
    added, skipped : ids that were stored now, and ids that the store had already.
    failed, changed : reasons by id: files that could not be stored, and files that are others now on the server.
    left : how many ids were not tried.
    bytes_in, bytes_out : bytes of the downloaded files, and of their crystals in the store.
    stopped : why the fetch ended early; None if it did not.
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
) -> FetchReport:
    """A report of the download of tasks, sets, ids or patterns of the release into the store `dest`.

    Each file is downloaded compressed, unpacked in memory, parsed, checked and encoded, then removed. Ids that the
    store has are skipped, so the same call continues an interrupted one and tries failures again.

    Parameters
    ----------
    what : tasks or sets, ids, and patterns with * ? [].
    dest : the store; it holds one set of the release.
    part : only this part of a task: "train", "validation" or "test".
    set : the set to look for ids in, if several sets have them.
    limit : largest number of crystals.
    connections : files that are downloaded at the same time, 1 to 8.
    workers : processes that decode and encode; 1 uses this process. The store does not depend on it.
    patience : how often to retry, how long to pause, and how long a silence breaks a transfer off.
    bound, pipeline : accuracy and form of the stored densities, as in `convert`.
    mirror : URL of a mirror, see `plan_fetch`.
    seed : random seed for the retry pauses.
    recheck : ask the server whether the files of stored crystals have changed.
    progress : show a progress bar.

    Raises
    ------
    UsageError, UnknownIdError : an argument names nothing, or more than one set.
    OSError : the disk is full.
    """
    plan = plan_fetch(what, part=part, set=set, limit=limit, mirror=mirror)
    if not 1 <= connections <= MOST_CONNECTIONS:
        raise UsageError(
            f"fetch opens 1 to {MOST_CONNECTIONS} connections, not {connections}: the servers are shared by everybody"
        )
    refuse_worker_count(workers)
    whole_number(seed, "the seed (--seed)", 0)
    refuse_network(f"the {plan.set} files of the release")
    options = FetchOptions(connections, workers, patience or Patience(), bound, pipeline, seed)
    report = FetchReport(Path(dest), plan.set)
    with stop_between_steps() as stopped, StoreWriter(dest, bound=bound, pipeline=pipeline) as writer:
        journal = Journal(Path(dest), plan.set)
        jobs = _list_jobs(plan, writer, journal, report, recheck)
        with tally(len(jobs), progress) as counts:
            threads = DownloadThreads(options, plan, journal, jobs, counts)
            _OutcomeWriter(writer, journal, report, counts).write_outcomes(threads, stopped)
    return report


def _list_jobs(plan: FetchPlan, writer: StoreWriter, journal: Journal, report: FetchReport, recheck: bool) -> list[str]:
    """The ids to download or to recheck; the journal gets entries for new ids and for stored ids that it lacks."""
    entries = journal.entries
    report.skipped = [id for id in plan.ids if id in writer]
    missing = [id for id in plan.ids if id not in writer]
    stored = [id for id in report.skipped if id not in entries or entries[id].state not in (DONE, CHANGED)]
    untried = [id for id in missing if id not in entries or entries[id].state != FAILED]
    new = [Entry(id, DONE, sha256=writer.source_sha256(id)) for id in stored]
    new += [Entry(id, LEFT) for id in untried if id not in entries or entries[id].state != LEFT]
    if new:
        journal.append(new)
    return [*missing, *(report.skipped if recheck else [])]


class _OutcomeWriter:
    """Writes the outcomes of the threads into the store, the journal and the report."""

    def __init__(self, writer: StoreWriter, journal: Journal, report: FetchReport, counts: Tally) -> None:
        self._writer, self._journal, self._report, self._counts = writer, journal, report, counts
        self._failures_in_a_row = 0

    def write_outcomes(self, threads: DownloadThreads, stopped: Callable[[], bool]) -> None:
        """Write every outcome; raises KeyboardInterrupt after an interrupt, when all finished files are stored."""
        try:
            for outcome in threads.outcomes():
                if outcome is not None:
                    self._write(outcome)
                self._counts.refresh()
                if stopped() or self._report.stopped:
                    threads.stop()
        finally:
            threads.stop()
            threads.clean_up()
        self._report.left = self._counts.total - self._counts.files
        if stopped() and self._report.left:
            raise KeyboardInterrupt

    def _write(self, outcome: Outcome) -> None:
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
        self._failures_in_a_row = 0
        self._counts.finish_file(outcome.id, outcome.id not in self._report.changed)

    def _store(self, item: PackedCrystal, body: Body) -> None:
        row = self._writer.put(item)
        version = body.version
        self._journal.append([Entry(item.id, DONE, None, body.size, body.sha256, version.etag, version.modified)])
        self._report.added.append(item.id)
        self._report.bytes_in += body.size
        self._report.bytes_out += row["length"]

    def _compare(self, before: Entry, body: Body | None) -> None:
        """Write down whether the file of a stored crystal has changed; a new ETag for the same bytes is no change."""
        if body is None or body.sha256 == before.sha256:
            version = body.version if body else Version(before.etag, before.modified)
            now = Entry(before.id, DONE, None, before.size, before.sha256, version.etag, version.modified)
        else:
            was, reason = (before.sha256 or "unknown")[:12], "the server has another file by now"
            reason += f" (sha256 {body.sha256[:12]}..., stored {was}...): fetch it into another store to have both"
            now = replace(before, state=CHANGED, reason=reason)
            self._report.changed[before.id] = reason
        if now != before:
            self._journal.append([now])

    def _fail(self, id: str, error: EcdError) -> None:
        stored = id in self._writer
        self._report.failed[id] = str(error)
        if not stored:  # for a stored crystal only the recheck failed, so it stays done
            self._journal.append([Entry(id, FAILED, str(error))])
        self._counts.finish_file(id, False)
        self._failures_in_a_row = self._failures_in_a_row + 1 if isinstance(error, UnavailableError) else 0
        if self._failures_in_a_row >= MOST_FAILURES:
            self._report.stopped = f"the server failed for {MOST_FAILURES} files in a row ({error})"
