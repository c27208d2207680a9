"""Parts: uncompressed ZIP files of crystal groups. One range request reads any one crystal."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

from ecd_data.errors import FormatError, MovedError, StoreError
from ecd_data.io.locations import read_url

if TYPE_CHECKING:
    from ecd_data.crystal import Crystal
    from ecd_data.density import Density
    from ecd_data.store.crystal_group import Entries

Unpacked = TypeVar("Unpacked")

LOCAL_HEADER = struct.Struct("<4s5H3I2H")
ROOT = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"ecd": "1"}}).encode()
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of all members, so that the same crystals give the same bytes


@dataclass(frozen=True)
class Extent:
    """The byte range of a crystal's group in a part, and the hash of its bytes."""

    offset: int
    length: int
    sha256: str


def unfinished_path(path: Path) -> Path:
    """The path of a part until it is complete."""
    return path.with_name(f".{path.name}.writing")


class PartWriter:
    """Writes one part under a temporary name and renames it when it is complete.

    path: the name of the complete part; resume: the number of bytes, of whole crystals, to keep of an unfinished part.
    """

    def __init__(self, path: Path, resume: int = 0) -> None:
        self.path = path
        self._unfinished = unfinished_path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._unfinished, "r+b" if resume else "w+b")  # noqa: SIM115 - closed by close() or discard()
        self._members = _read_members(self._file, resume)
        self._end = resume
        if not resume:
            self._append({"zarr.json": ROOT})

    def add(self, id: str, entries: Entries) -> Extent:
        """Write the group of `id` and return its byte range."""
        return self._append({f"{id}/{key}": entries[key] for key in sorted(entries)})

    def _append(self, files: Entries) -> Extent:
        """Write the members after the last complete ones, over what an interrupted write has left there."""
        start, members, chunks = self._end, list[zipfile.ZipInfo](), list[bytes]()
        for name, data in files.items():
            member = zipfile.ZipInfo(name, EPOCH)
            member.external_attr = 0o644 << 16
            member.header_offset = start + sum(map(len, chunks))
            member.file_size = member.compress_size = len(data)
            member.CRC = zlib.crc32(data)
            members.append(member)
            chunks += [member.FileHeader(), data]
        data = b"".join(chunks)
        self._file.seek(start)
        self._file.write(data)
        self._file.flush()
        self._members, self._end = [*self._members, *members], start + len(data)
        return Extent(start, len(data), hashlib.sha256(data).hexdigest())

    def close(self) -> None:
        """Write the archive's directory, flush everything to the disk, and give the part its name."""
        self._file.truncate(self._end)
        with zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED) as archive:
            archive.filelist += self._members
            archive.start_dir = self._end
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._unfinished.replace(self.path)

    def release(self) -> None:
        """Close the unfinished part and keep its file."""
        with contextlib.suppress(OSError):  # on a full disk the buffered bytes cannot be written
            self._file.close()

    def discard(self) -> None:
        """Close and remove the unfinished part."""
        self.release()
        self._unfinished.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self.discard() if kind else self.close()


def _read_members(file: IO[bytes], end: int) -> list[zipfile.ZipInfo]:
    """The directory entries of the members in the first `end` bytes of a part."""
    members, position = list[zipfile.ZipInfo](), 0
    while position < end:
        file.seek(position)
        _, _, _, _, _, _, crc, _, size, length, extra = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
        member = zipfile.ZipInfo(file.read(length).decode(), EPOCH)
        member.external_attr = 0o644 << 16
        member.header_offset, member.CRC = position, crc
        member.file_size = member.compress_size = size
        members.append(member)
        position += LOCAL_HEADER.size + length + extra + size
    return members


def read_density(url: str, at: Extent, id: str) -> Density:
    """The density of `id` in the part at `url`, read by one range request; raises StoreError where bytes changed."""
    from ecd_data.store.crystal_group import unpack_density

    return _unpack(unpack_density, url, at, id)


def read_crystal(url: str, at: Extent, id: str) -> tuple[Crystal, dict[str, Any]]:
    """The crystal of `id` in the part at `url` and the metadata of its density, which is not decoded.

    Raises StoreError where bytes changed.
    """
    from ecd_data.store.crystal_group import unpack_crystal

    return _unpack(unpack_crystal, url, at, id)


def _unpack(unpack: Callable[[Entries], Unpacked], url: str, at: Extent, id: str) -> Unpacked:
    entries = read_entries(url, at, id)
    try:
        return unpack(entries)
    except StoreError as error:
        raise StoreError(f"{id}: {error} in the part {url}; update ecd-data, or convert its file again") from error


def read_entries(url: str, at: Extent, id: str) -> Entries:
    """The keys and bytes of the group of `id` in the part at `url`; raises MovedError where their hash differs."""
    return entries_in(read_group(url, at, id), url, at.sha256, id)


def read_group(url: str, at: Extent, id: str) -> bytes:
    """The bytes of the group of `id` in the part at `url`, without a check; raises MovedError for a missing part."""
    try:
        data = read_url(url, at.offset, at.offset + at.length)
    except FileNotFoundError as error:
        raise MovedError(f"{id}: the part {url} is missing; restore it or convert its files again") from error
    # a web server without ranges sends the whole file
    return data[at.offset : at.offset + at.length] if len(data) > at.length else data


def entries_in(data: bytes, url: str, sha256: str, id: str) -> Entries:
    """The keys and bytes of the group of `id` from its bytes `data`; raises MovedError where their hash differs.

    url: the part, for the message.
    """
    if hashlib.sha256(data).hexdigest() != sha256:
        raise MovedError(f"{id}: the part {url} is cut or altered; restore it or convert its files again")
    try:
        return _parse_members(data, f"{id}/")
    except (ValueError, struct.error) as error:
        raise MovedError(f"{id}: the part {url} is not a part of this store ({error}); convert it again") from error


def _parse_members(data: bytes, prefix: str) -> Entries:
    """The members in adjacent ZIP local entries, read without the archive's directory."""
    entries: Entries = {}
    position = 0
    while position < len(data):
        signature, _, _, method, _, _, _, size, _, names, extra = LOCAL_HEADER.unpack_from(data, position)
        start = position + LOCAL_HEADER.size
        name = data[start : start + names].decode()
        if signature != b"PK\3\4" or method != 0 or not name.startswith(prefix):
            raise FormatError("the index points to other bytes")
        position = start + names + extra + size
        entries[name.removeprefix(prefix)] = data[position - size : position]
    return entries
