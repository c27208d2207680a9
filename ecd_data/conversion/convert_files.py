"""The conversion of density files into a store; bad files are named, and a second run continues the first."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ecd_data.arguments import describe_value
from ecd_data.checks import check
from ecd_data.conversion.archive_members import decompress_member, density_members
from ecd_data.conversion.journal import JOURNAL, ConversionJournal, file_state
from ecd_data.conversion.source_ids import Source, member_id, resolve_ids
from ecd_data.conversion.sources import describe_left_out, find_sources, why_left_out
from ecd_data.density import Density
from ecd_data.errors import EcdError, UsageError
from ecd_data.formats import HEAD, choose_unit, choose_unit_of_bytes, parse, read_run
from ecd_data.formats.units import parse_unit
from ecd_data.io.file_bytes import hash_file
from ecd_data.safe_text import printable
from ecd_data.store.data_root import refuse_file_name
from ecd_data.store.packing import PackedCrystal, pack_crystal, refuse_id
from ecd_data.store.reader import Store
from ecd_data.store.writer import StoreWriter
from ecd_data.work.interrupts import stop_between_steps
from ecd_data.work.process_pool import Cluster, LostJob, refuse_worker_count, run_jobs
from ecd_data.work.progress import track_progress

log = logging.getLogger("ecd_data")


@dataclass
class Conversion:
    """The result of a conversion.

    Attributes
    ----------
    store : the store.
    added, skipped : ids that were stored now, and ids that the store had already with the same content.
    failed : the reason by file for each file that was left out.
    real : ids that were stored in real space, because the Fourier form would need more bytes.
    repeated : for an added id whose file has the same content as that of another id: the other id.
    bytes_in, bytes_out : bytes of the files, and of their crystals in the store.
    """

    store: Path
    added: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    real: list[str] = field(default_factory=list)
    repeated: dict[str, str] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True)
class _Job:
    """All that a worker needs for a source.

    stored: the SHA-256 of the file that the store has for its id; state: the size and time of change of the file before
    it is read.
    """

    source: Source
    bound: float
    pipeline: str
    stored: str | None
    state: tuple[int, int]
    unit: str | None = None


@dataclass(frozen=True)
class _Outcome:
    """The outcome for a file or member: an encoded crystal or a reason; neither if the store has the same content.

    notices: for an archive, sentences on its members that were left out.
    """

    name: str
    id: str
    sha256: str = ""
    size: int = 0
    item: PackedCrystal | None = None
    reason: str = ""
    notices: tuple[str, ...] = ()


def convert(
    sources: str | Path | Iterable[str | Path],
    dest: str | Path,
    *,
    bound: float = 1e-5,
    pipeline: str = "fourier",
    unit: str | None = None,
    workers: int = 1,
    cluster: Cluster | None = None,
    progress: bool = False,
) -> Conversion:
    """A report of the conversion of density files into the store `dest`.

    The facts of an OUTCAR and POTCAR beside a file, and the flags of `check`, are stored with its density. Ids that the
    store has already are skipped if their file has the same content, so a second call continues an interrupted one; a
    warning says where they have another bound. A file that cannot be read, or whose id cannot be told apart from that
    of another file, is left out; the reason is in the report and in the store's conversion.jsonl. If all files are left
    out, no new store is made.

    Parameters
    ----------
    sources : files, folders, patterns with * ? [], tar archives, and `@FILE` for a list of paths with optional ids. The
        id of a file is its name without CHGCAR and endings, else the name of its folder.
    dest : the store.
    bound : largest mean absolute error of a stored density, relative to its mean.
    pipeline : "fourier", or "real" for lossless float32.
    unit : the unit of the cubes and XSFs, "e/A^3" or "e/bohr^3"; a file that the store has in another unit is left out.
    workers : processes that read and encode; each needs memory for its largest file. The store does not depend on it.
    cluster : a dask.distributed.Client in place of processes.
    progress : show a progress bar.

    Raises
    ------
    UsageError : no density is found, or `dest` is the name of a file.
    """
    refuse_worker_count(workers)
    refuse_file_name(dest)
    if cluster is not None and not hasattr(cluster, "get_executor"):
        raise UsageError(f"cluster= is a dask.distributed.Client, not {describe_value(cluster)}")
    unit = None if unit is None else parse_unit(unit)
    found, new = find_sources(sources), not StoreWriter.is_there(dest)
    if not found:
        raise UsageError("no source is named: give files, folders, patterns or archives")
    report = Conversion(Path(dest))
    if unit is not None and not new:
        report.failed = _in_other_unit(found, report.store, unit)
        found = [source for source in found if str(source) not in report.failed]
    with (
        stop_between_steps() as stopped,
        StoreWriter(dest, bound=bound, pipeline=pipeline) as writer,
        closing(ConversionJournal(report.store)) as journal,
    ):
        jobs = [replace(job, unit=unit) for job in _make_jobs(found, writer, journal, report)]
        if cluster is not None:  # its workers have other working folders
            jobs = [replace(job, source=replace(job.source, path=os.path.abspath(job.source.path))) for job in jobs]
        results = run_jobs(_convert_source, jobs, workers=workers, cluster=cluster, stopped=stopped)
        for job, outcomes in track_progress(
            results, len(jobs), "converting", progress, lambda pair: str(pair[0].source)
        ):
            _write_outcomes(job, outcomes, writer, journal, report)
        _warn_of_other_bounds(report, writer)
        if stopped():
            raise KeyboardInterrupt
    if new and not report.added:
        StoreWriter.remove_empty(dest, JOURNAL)
    return report


def _in_other_unit(found: list[Source], path: Path, unit: str) -> dict[str, str]:
    """The reason by file for each source whose crystal is in a store already, read in another unit."""
    store, failed = Store(path), dict[str, str]()
    rows = store.columns("id", "source").to_pydict()
    archived = [(id, name) for id, name in zip(rows["id"], rows["source"], strict=True) if name and "::" in name]
    for source in found:
        members = f"{Path(source.path).name}::"
        ids = [id for id, name in archived if name.startswith(members)] if source.is_archive else [source.id]
        for id in ids:
            there = store[id].meta.get("unit") if id in store else None
            if there is not None and there != unit:
                failed[str(source)] = f"{id} is in {path} already, read in {there}: write another store"
    return failed


def _warn_of_other_bounds(report: Conversion, writer: StoreWriter) -> None:
    """Warn where crystals that were there already keep another bound than the one asked for; lossless ones keep any."""
    wanted = writer.bound if writer.pipeline == "fourier" else 0.0
    bounds = writer.values("bound") if report.skipped else {}
    others = [id for id in report.skipped if bounds[id] not in (0.0, wanted)]
    if others:
        log.warning(
            "%d crystals keep the bound with which they are in %s already, such as %s with %g: for %s write another"
            " store, or `ecd reencode` it to a looser bound",
            len(others),
            report.store,
            others[0],
            bounds[others[0]],
            f"{wanted:g}" if wanted else "the lossless form",
        )


def _make_jobs(
    sources: list[Source], writer: StoreWriter, journal: ConversionJournal, report: Conversion
) -> Iterator[_Job]:
    """A job for each source, except those that are in the store by the journal."""

    def stored(id: str) -> str | None:
        return writer.source_sha256(id) if id in writer else None

    for source in sources:
        ids = journal.find_ids(source, stored)
        if ids is None:
            yield _Job(source, writer.bound, writer.pipeline, stored(source.id), file_state(source))
        else:
            report.skipped += ids


def _convert_source(job: _Job) -> list[_Outcome]:
    """The outcomes for a source. It runs in a worker, and no fault of a file may end the conversion of others."""
    source, made = job.source, list[_Outcome]()
    if source.refused:
        return [_Outcome(str(source), source.id, reason=source.refused)]
    try:
        outcomes = _convert_archive(job) if source.is_archive else _convert_file(job)
        made.extend(outcomes)
    except (EcdError, OSError, MemoryError) as error:
        made.append(_Outcome(str(source), source.id, reason=_describe_error(error)))
    except Exception as error:  # a fault in ecd must not stop the other 100,000 files
        made.append(_Outcome(str(source), source.id, reason=_describe_fault(error)))
    if not any(not done.notices for done in made) and source.expected:
        made.append(_Outcome(str(source), source.id, reason=f"{source} holds no density: see its files with `tar tf`"))
    return made


def _describe_fault(error: Exception) -> str:
    return f"it cannot be converted because of a fault in ecd ({type(error).__name__}: {error}): please report it"


def _describe_error(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory for it: convert it alone, or on another machine"
    if isinstance(error, OSError) and not isinstance(error, EcdError):
        return f"it cannot be read ({error.strerror}): check its permissions and the disk"
    return str(error)


def _convert_file(job: _Job) -> Iterator[_Outcome]:
    path, id = job.source.path, job.source.id
    refuse_id(id)
    done = _Outcome(path, id, hash_file(path), os.path.getsize(path))
    if job.stored is None:
        done = replace(
            done,
            item=_check_and_pack(
                job, id, _remove_paths(read_run(path, choose_unit(path, job.unit)), path), Path(path).name, done.sha256
            ),
        )
    yield done


def _convert_archive(job: _Job) -> Iterator[_Outcome]:
    """The outcomes for the densities of an archive, each with its own id; a CHG gives way to a CHGCAR in its folder."""
    left_out: dict[str, str] = {}
    made = _convert_members(job, {}, left_out)
    if notices := describe_left_out(job.source.path, left_out):
        yield _Outcome(job.source.path, "", notices=tuple(notices))
    groups: dict[str, list[str]] = {}
    for member, done in made.items():
        groups.setdefault(done.id, []).append(member)
    alike = [member for group in groups.values() if len(group) > 1 for member in group]
    path = job.source.path
    kept = {one.member: one for one in resolve_ids(Source(path, made[member].id, member) for member in alike)}
    renamed = {member: one.id for member, one in kept.items() if member and one.id != made[member].id}
    if renamed:
        made |= _convert_members(job, renamed, {})
    for member, done in made.items():
        if member in alike and member not in kept:
            continue  # the same density, or a more precise one, is taken from another member
        reason = kept[member].refused if member in kept else ""
        yield replace(done, item=None, reason=reason) if reason else done


def _convert_members(job: _Job, ids: dict[str, str], left_out: dict[str, str]) -> dict[str, _Outcome]:
    """The outcome for each density in an archive, in one pass; with `ids` for the members that it names alone."""
    path, file = job.source.path, Path(job.source.path).name
    made: dict[str, _Outcome] = {}
    for member, content in density_members(path, job.source.member, left_out):
        if ids and member not in ids:
            continue
        id, name = ids.get(member) or job.source.id or member_id(member, path), f"{path}::{member}"
        done = _Outcome(name, id, hashlib.sha256(content).hexdigest(), len(content))
        try:
            if job.stored is None:
                text = decompress_member(content, name)
                # A compressed member shows only now the comment by which a prediction is known
                quantity = why_left_out(PurePosixPath(member).name, text[:HEAD])
                if job.source.member is None and quantity is not None:
                    left_out[member] = quantity
                    continue
                rho = parse(text, name, choose_unit_of_bytes(text, name, job.unit))
                done = replace(done, item=_check_and_pack(job, id, rho, f"{file}::{member}", done.sha256))
        except EcdError as error:
            done = replace(done, reason=str(error))
        made[member] = done
    return made


def _remove_paths(rho: Density, path: str) -> Density:
    """The density with the folder removed from its provenance, so that the store is the same on every machine."""
    provenance = rho.meta.get("provenance", {})
    if "not_used" not in provenance:
        return rho
    folder = f"{Path(path).parent}{os.sep}"
    reasons = {name: reason.replace(folder, "") for name, reason in provenance["not_used"].items()}
    return replace(rho, meta={**rho.meta, "provenance": {**provenance, "not_used": reasons}})


def _check_and_pack(job: _Job, id: str, rho: Density, source: str, digest: str) -> PackedCrystal:
    """The encoded crystal with the flags of `check`, which include the names of its problems."""
    report = check(rho)
    flags = dict.fromkeys([*rho.meta.get("flags", ()), *report.flags, *(problem.name for problem in report.problems)])
    meta = {**rho.meta, "flags": list(flags)}
    if report.problems:
        meta["problems"] = {problem.name: str(problem) for problem in report.problems}
    options = {"bound": job.bound, "pipeline": job.pipeline}
    return pack_crystal(id, replace(rho, meta=meta), source=printable(source), source_sha256=digest, **options)  # type: ignore[arg-type]


def _write_outcomes(
    job: _Job,
    outcomes: list[_Outcome] | LostJob,
    writer: StoreWriter,
    journal: ConversionJournal,
    report: Conversion,
) -> None:
    """Write the crystals of a source into the store, and all outcomes into journal and report."""
    if isinstance(outcomes, LostJob):
        reason = "the system ended the process that read it, perhaps for lack of memory: convert it with fewer workers"
        outcomes = [_Outcome(str(job.source), job.source.id, reason=reason)]
    ids, failed = dict[str, str](), dict[str, str]()
    for done in outcomes:
        for sentence in done.notices:
            log.info("%s", sentence)
        if done.notices:
            continue
        reason = done.reason or _write_crystal(done, writer, report)
        if reason:
            failed[done.name] = reason
        else:
            ids[done.id] = done.sha256
    report.failed |= failed
    journal.note(job.source, job.state, ids, failed)


def _write_crystal(done: _Outcome, writer: StoreWriter, report: Conversion) -> str:
    """Add a crystal to the store and the report; the reason if that is impossible, else ""."""
    if done.id in writer:
        if writer.source_sha256(done.id) != done.sha256:
            return f"{done.id} is in {report.store} already with other content: rename the file"
        report.skipped.append(done.id)
        return ""
    assert done.item is not None
    if (other := writer.id_from(done.sha256)) is not None:
        report.repeated[done.id] = other
        log.warning("%s is the same file as that of %s, byte for byte: both are in %s", done.id, other, report.store)
    row = writer.put(done.item)
    report.added.append(done.id)
    report.bytes_in += done.size
    report.bytes_out += row["length"]
    if row["pipeline"] != writer.pipeline:
        report.real.append(done.id)
    return ""
