"""The bytes of a file, in memory or mapped from the disk, and the lines and numbers in them."""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecd_data.errors import FormatError

MAX_POINTS = 1 << 31  # of a grid: a header that states more is damaged
LATIN_1 = "latin-1"


def hash_file(path: str | Path) -> str:
    """The SHA-256 of a file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class MappedFile(mmap.mmap):
    """A file on the disk that can be searched and sliced like bytes; `view_bytes` reads its long blocks."""

    fd: int

    @classmethod
    def open(cls, path: Path) -> MappedFile:
        """The mapped file at `path`, which must not be empty."""
        fd = os.open(path, os.O_RDONLY)
        try:
            mapped = cls(fd, 0, access=mmap.ACCESS_READ)
        except BaseException:
            os.close(fd)
            raise
        mapped.fd = fd
        return mapped

    def __del__(self) -> None:
        os.close(self.fd)


Text = bytes | MappedFile


def view_bytes(data: Text, start: int, count: int, scratch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The `count` bytes from `start` on; bytes from the disk are read into `scratch`.

    Reading into memory that is in the cache takes a fifth of the time of mapping pages, and a disk that fails raises
    OSError here, where mapped memory would crash the program.
    """
    if isinstance(data, bytes) or not hasattr(os, "preadv"):
        return np.frombuffer(data, dtype=np.uint8, count=count, offset=start)
    got = os.preadv(data.fd, [scratch[:count].data], start)
    if got != count:
        raise OSError(f"the file became shorter while it was read: it ends at byte {start + got}")
    return scratch[:count]


class Lines:
    """The lines of a text, read one by one from `position` on."""

    def __init__(self, data: Text, position: int = 0) -> None:
        self.data, self.position = data, position

    def next(self) -> str:
        """The next line as text; raises ValueError at the end of the file."""
        return self.next_bytes().decode()

    def next_bytes(self) -> bytes:
        """The next line as bytes; raises ValueError at the end of the file."""
        if self.position >= len(self.data):
            raise ValueError("the file ends")
        end = self.data.find(b"\n", self.position)
        end = len(self.data) if end < 0 else end
        line = self.data[self.position : end]
        self.position = end + 1
        return line

    def comment(self) -> dict[str, str]:
        """The next line as the comment in a Density's meta, which `comment_line` turns back into the same bytes.

        A line that is not UTF-8 is read as Latin-1, where every byte is a character, and "comment_encoding" says so.
        """
        line = self.next_bytes().strip()
        try:
            return {"comment": line.decode()}
        except UnicodeDecodeError:
            return {"comment": line.decode(LATIN_1), "comment_encoding": LATIN_1}

    def floats(self, count: int) -> list[float]:
        """The first `count` numbers of the next line."""
        return parse_floats(self.next(), count)


def comment_line(meta: Mapping[str, Any], default: str) -> bytes:
    """The comment of a Density's meta as one line, with the bytes that were read; `default` where there is none."""
    text = re.sub(r"[\r\n]+", " ", str(meta.get("comment") or default)).strip(" ")
    for encoding in (str(meta.get("comment_encoding", "utf-8")), "utf-8"):
        try:
            return text.encode(encoding, "surrogateescape")
        except (UnicodeEncodeError, LookupError):  # the comment was replaced, but its encoding was not
            continue
    return text.encode(errors="replace")


def parse_floats(line: str, count: int) -> list[float]:
    """The first `count` numbers of a line; raises ValueError where there are fewer or not finite."""
    words = line.split()
    if len(words) < count:
        raise ValueError(f"{line.strip()[:80]!r} where {count} numbers are expected")
    numbers = [float(w) for w in words[:count]]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{line.strip()[:80]!r} has a number that is not finite")
    return numbers


def count_grid_points(shape: Sequence[int], size: int, name: str) -> int:
    """The number of points of a grid; raises FormatError where a file of `size` bytes is too short for them."""
    points = 1
    for n in shape:
        points *= int(n)
    if min(shape) < 1 or points > MAX_POINTS:
        raise FormatError(f"{name} states an impossible grid {tuple(shape)}: it is damaged")
    if 2 * points > size + 1:
        raise FormatError(f"{name} is cut: it is too short for its grid {tuple(shape)}; copy or download it again")
    return points


def with_line_feeds(data: Text) -> Text:
    """The text with line feeds where it has carriage returns alone (old Macs, some editors); all other data as is."""
    head = data[:8192]
    if b"\r" not in head or b"\n" in head or b"\0" in head:
        return data
    return bytes(data[:]).replace(b"\r", b"\n")
