"""Parts: uncompressed ZIP files of crystal groups, of which any one is read by a single range request."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import fsspec

from ecd_data.density import Density
from ecd_data.errors import FormatError, StoreError
from ecd_data.store.group import Entries, unpack

LOCAL_HEADER = struct.Struct("<4s5H3I2H")
ROOT = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"ecd": "1"}}).encode()
EPOCH = (1980, 1, 1, 0, 0, 0)  # one date for all, so that the same crystals give the same bytes


@dataclass(frozen=True)
class Extent:
    """Where a crystal's group lies in a part, and the hash of those bytes."""

    offset: int
    length: int
    sha256: str


class PartWriter:
    """Writes one part aside and moves it into place when it is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._aside = path.with_name(f".{path.name}.writing")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._aside, "w+b")  # noqa: SIM115 - closed by close() or discard()
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        self._put("zarr.json", ROOT)

    def _put(self, name: str, data: bytes) -> None:
        self._zip.writestr(zipfile.ZipInfo(name, EPOCH), data)

    def add(self, id: str, entries: Entries) -> Extent:
        """Where the group of `id` was written."""
        start = self._file.tell()
        for key in sorted(entries):
            self._put(f"{id}/{key}", entries[key])
        end = self._file.tell()
        self._file.seek(start)
        digest = hashlib.sha256(self._file.read(end - start)).hexdigest()
        return Extent(start, end - start, digest)

    def close(self) -> None:
        """Complete the part under its name."""
        self._zip.close()
        self._file.close()
        self._aside.replace(self.path)

    def discard(self) -> None:
        """Remove what was written."""
        self._zip.fp = None  # a full disk has no room for the directory that closing would write
        self._file.close()
        self._aside.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self.discard() if kind else self.close()


def read_density(url: str, offset: int, length: int, sha256: str, id: str) -> Density:
    """The density of `id` by one range request to the part at `url`; raises StoreError where the bytes changed."""
    return unpack(read_entries(url, offset, length, sha256, id))


def read_entries(url: str, offset: int, length: int, sha256: str, id: str) -> Entries:
    """The checked keys and bytes of the group of `id` in the part at `url`."""
    fs, path = fsspec.url_to_fs(url)
    try:
        data = fs.cat_file(path, start=offset, end=offset + length)
    except FileNotFoundError as error:
        raise StoreError(f"{id}: the part {url} is missing; restore it or convert its files again") from error
    if len(data) != length or hashlib.sha256(data).hexdigest() != sha256:
        raise StoreError(f"{id}: the part {url} is cut or altered; restore it or convert its files again")
    try:
        return _parse(data, f"{id}/")
    except (FormatError, struct.error) as error:
        raise StoreError(f"{id}: the part {url} is not a part of this store ({error}); convert it again") from error


def _parse(data: bytes, prefix: str) -> Entries:
    """The members of a run of ZIP local entries, without the archive's directory."""
    entries: Entries = {}
    position = 0
    while position < len(data):
        signature, _, _, method, _, _, _, size, _, names, extra = LOCAL_HEADER.unpack_from(data, position)
        start = position + LOCAL_HEADER.size
        name = data[start : start + names].decode()
        if signature != b"PK\3\4" or method != 0 or not name.startswith(prefix):
            raise FormatError("the index points at other bytes")
        position = start + names + extra + size
        entries[name.removeprefix(prefix)] = data[position - size : position]
    return entries
