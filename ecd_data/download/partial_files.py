"""What has come of a file, kept beside the server's words on it, so that the rest can be asked for later."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

PROGRESS = 1 << 20  # bytes after which a transfer that breaks off was worth it and its next try is a first one


@dataclass(frozen=True)
class Version:
    """What a server says of a file, by which a change is noticed."""

    etag: str | None = None
    modified: str | None = None

    @property
    def validator(self) -> str | None:
        """What If-Range takes: a strong ETag, else the date."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.modified


@dataclass(frozen=True)
class Body:
    """A file that has come whole."""

    path: Path
    size: int
    sha256: str
    version: Version


@dataclass(frozen=True)
class Partial:
    """What a spool holds of a file, with the server's words on it beside it."""

    spool: Path
    url: str | None = None
    version: Version = Version()

    @classmethod
    def of(cls, spool: Path) -> Partial:
        try:
            record = json.loads(_note(spool).read_text(encoding="utf-8"))
            return cls(spool, record["url"], Version(record["etag"], record["modified"]))
        except (OSError, ValueError, LookupError, TypeError):
            return cls(spool)

    def conditions(self, url: str) -> dict[str, str]:
        """The headers that ask for the rest, if the file is still the same; none to ask for all of it."""
        size, validator = size_of(self.spool), self.version.validator
        if not size or not validator or url != self.url:
            return {}
        return {"Range": f"bytes={size}-", "If-Range": validator}

    def begin(self, url: str, version: Version) -> None:
        record = {"url": url, **asdict(version)}
        self.spool.unlink(missing_ok=True)
        _note(self.spool).write_text(json.dumps(record), encoding="utf-8")

    def remove(self) -> None:
        discard(self.spool)


def discard(spool: Path) -> None:
    """Remove what came of a file, and the note beside it."""
    spool.unlink(missing_ok=True)
    _note(spool).unlink(missing_ok=True)


def body_in(spool: Path, version: Version) -> Body:
    with spool.open("rb") as file:
        return Body(spool, size_of(spool), hashlib.file_digest(file, "sha256").hexdigest(), version)


def _note(spool: Path) -> Path:
    return spool.with_name(spool.name + ".version")


def size_of(spool: Path) -> int:
    try:
        return spool.stat().st_size
    except FileNotFoundError:
        return 0


def start_of(response: requests.Response, partial: Partial, version: Version) -> int | None:
    """Where the body begins in the file: 0, or the size of the part that is here; None where that part is of no use."""
    if response.status_code == 200:
        return 0
    size = size_of(partial.spool)
    ranged = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    same = version.etag in (None, partial.version.etag) and version.modified in (None, partial.version.modified)
    return size if response.status_code == 206 and ranged and int(ranged[1]) == size and same else None


def is_whole(response: requests.Response, spool: Path) -> bool:
    """Whether nothing is left to ask for: a run ended between the last byte and its use."""
    return response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{size_of(spool)}"
