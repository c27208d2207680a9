"""From files to a store: every readable file goes in, every bad one is named, a re-run goes on where it stopped."""

from __future__ import annotations

import glob
import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ecd_data.errors import EcdError, UsageError
from ecd_data.formats import read
from ecd_data.formats.compressed import ENDINGS
from ecd_data.interrupts import stop_between_steps
from ecd_data.store.writer import StoreWriter

WANTED = re.compile(r"chgcar", re.IGNORECASE)
DROPPED = (*ENDINGS, ".vasp", ".chg", ".aeccar0", ".aeccar1", ".aeccar2")
FLUSH_SECONDS = 60


@dataclass
class Conversion:
    """What a conversion did: ids added, ids that were there already, and file -> reason for those left out."""

    store: Path
    added: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    real: list[str] = field(default_factory=list)
    bytes_in: int = 0
    bytes_out: int = 0


def convert(
    sources: str | Path | Sequence[str | Path],
    dest: str | Path,
    *,
    bound: float = 1e-5,
    pipeline: str = "fourier",
    progress: bool = False,
) -> Conversion:
    """What was done in turning CHGCAR files, folders and globs into the store `dest`.

    The id is the file's name without CHGCAR and endings, else its folder's name. Ids that the store has already are
    skipped when their source has the same content, so a re-run continues; a file that cannot be read is left out and
    named. Raises UsageError where nothing is found or two files claim one id.
    """
    sources = [sources] if isinstance(sources, str | Path) else list(sources)
    named = _named(_files(sources))
    report = Conversion(Path(dest))
    with stop_between_steps() as stopped, StoreWriter(dest, bound=bound, pipeline=pipeline) as writer:
        flushed = time.monotonic()
        for id, file in _tracked(named, progress):
            _convert_one(id, file, writer, report)
            if stopped():
                raise KeyboardInterrupt
            if time.monotonic() - flushed > FLUSH_SECONDS:
                writer.flush()
                flushed = time.monotonic()
    return report


def _convert_one(id: str, file: Path, writer: StoreWriter, report: Conversion) -> None:
    try:
        digest = _sha256(file)
        if id in writer:
            if writer.row(id)["source_sha256"] == digest:
                report.skipped.append(id)
            else:
                report.failed[str(file)] = f"{id} is in {report.store} already with other content: rename the file"
            return
        row = writer.add(id, read(file), source=file.name, source_sha256=digest)
    except EcdError as error:
        report.failed[str(file)] = str(error)
        return
    report.added.append(id)
    report.bytes_in += file.stat().st_size
    report.bytes_out += row["length"]
    if row["pipeline"] != writer.pipeline:
        report.real.append(id)


def _sha256(file: Path) -> str:
    try:
        with open(file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{file} cannot be opened ({error.strerror}): check the path") from error


def _files(sources: Sequence[str | Path]) -> Iterator[Path]:
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.is_file() and WANTED.search(p.name))
            if not found:
                raise UsageError(f"{path} holds no file with CHGCAR in its name")
            yield from found
        elif path.exists():
            yield path
        elif matches := sorted(glob.glob(str(source), recursive=True)):
            yield from (Path(m) for m in matches)
        else:
            raise UsageError(f"{source} does not exist: check the path or the pattern")


def _named(files: Iterator[Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for file in files:
        id = default_id(file)
        if id in named and named[id].resolve() != file.resolve():
            raise UsageError(f"{named[id]} and {file} would both be {id!r}: rename one of them")
        named[id] = file
    return named


def default_id(file: Path) -> str:
    """The file's name without CHGCAR and endings, else its folder's name."""
    name = file.name
    while name.lower().endswith(DROPPED):
        name = name[: name.rfind(".")]
    name = WANTED.sub("", name).strip("._- ")
    return name or file.resolve().parent.name


def _tracked(named: dict[str, Path], progress: bool) -> Iterator[tuple[str, Path]]:
    if not progress:
        yield from named.items()
        return
    from rich.progress import track

    yield from track(named.items(), description="converting", total=len(named))
