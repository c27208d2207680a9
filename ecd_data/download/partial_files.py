"""Partial downloads: the bytes of a file so far, and beside them the version of the file, so that a range request can
ask for the rest."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from ecd_data.io.file_bytes import hash_file

WORTH_KEEPING = 1 << 20  # a broken transfer that brought so many bytes is progress: the count of retries starts anew


@dataclass(frozen=True)
class Version:
    """The ETag and Last-Modified that a server states for a file, by which a change is noticed."""

    etag: str | None = None
    modified: str | None = None

    @property
    def validator(self) -> str | None:
        """The value for the header If-Range: a strong ETag, else the date; None without either."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.modified


@dataclass(frozen=True)
class Body:
    """A complete download: its path, size in bytes, SHA-256, and version on the server."""

    path: Path
    size: int
    sha256: str
    version: Version


@dataclass(frozen=True)
class PartialFile:
    """The part of a file that is in `spool`, with the URL and version that it came from."""

    spool: Path
    url: str | None = None
    version: Version = Version()

    @classmethod
    def load(cls, spool: Path) -> PartialFile:
        """The partial file in a spool; without URL and version if nothing is known of them."""
        try:
            record = json.loads(_note_path(spool).read_text(encoding="utf-8"))
            return cls(spool, record["url"], Version(record["etag"], record["modified"]))
        except (OSError, ValueError, LookupError, TypeError):
            return cls(spool)

    def resume_headers(self, url: str) -> dict[str, str]:
        """The headers that ask for the rest of the same version; empty to ask for the whole file."""
        size, validator = file_size(self.spool), self.version.validator
        if not size or not validator or url != self.url:
            return {}
        return {"Range": f"bytes={size}-", "If-Range": validator}

    def start(self, url: str, version: Version) -> None:
        """Begin the file anew, and write down its URL and version."""
        record = {"url": url, **asdict(version)}
        self.spool.unlink(missing_ok=True)
        _note_path(self.spool).write_text(json.dumps(record), encoding="utf-8")

    def remove(self) -> None:
        """Remove the partial file."""
        remove_spool(self.spool)


def remove_spool(spool: Path) -> None:
    """Remove the bytes of a download and the version beside them."""
    spool.unlink(missing_ok=True)
    _note_path(spool).unlink(missing_ok=True)


def read_body(spool: Path, version: Version) -> Body:
    """The Body of a complete download, with the SHA-256 of its bytes."""
    return Body(spool, file_size(spool), hash_file(spool), version)


def _note_path(spool: Path) -> Path:
    return spool.with_name(spool.name + ".version")


def file_size(spool: Path) -> int:
    """The bytes that a spool has; 0 if it does not exist."""
    try:
        return spool.stat().st_size
    except FileNotFoundError:
        return 0


def find_offset(response: requests.Response, partial: PartialFile, version: Version) -> int | None:
    """The position in the file at which an answer starts: 0, or the size of the partial file.

    None if the answer does not continue the partial file.
    """
    if response.status_code == 200:
        return 0
    size = file_size(partial.spool)
    ranged = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    same = version.etag in (None, partial.version.etag) and version.modified in (None, partial.version.modified)
    return size if response.status_code == 206 and ranged and int(ranged[1]) == size and same else None


def is_complete(response: requests.Response, spool: Path) -> bool:
    """Whether the spool has the whole file already: an earlier run ended after the last byte."""
    return response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{file_size(spool)}"
