"""Files that Arrow reads: its own ones and memory of its own, never objects of Python.

Arrow's threads let go of what they read a moment after the reading call has returned. Where that is a Python object, as
the bytes that an `open` file gave, they need the interpreter for it; a program that ends in this moment is aborted.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecd_data.errors import StoreError
from ecd_data.io.locations import open_url, path_of

TAIL = 1 << 16  # bytes: the footer of an index is mostly shorter
GAP = 1 << 16  # bytes that cost less to read than another request
MAGIC, LEAST = b"PAR1", 12  # bytes, of the two marks and the length between them


class ParquetSource:
    """A Parquet file at a path or fsspec URL, of which only the columns that are asked for are read.

    small: a file at a URL that has at most so many bytes comes whole. Raises FileNotFoundError where there is none,
    StoreError where the place cannot be reached, and what Arrow raises for a damaged file.
    """

    def __init__(self, url: str, small: int) -> None:
        self._pieces: _Pieces | None = None
        if (path := path_of(url)) is not None:
            source = _local(path)
        else:
            opened = open_url(url, small)
            if isinstance(opened, bytes):
                source = in_memory(opened)
            else:
                self._pieces = _Pieces(opened)
                source = pa.BufferReader(self._pieces.buffer)
        self.file = pq.ParquetFile(source, pre_buffer=True)

    def read(self, names: Sequence[str]) -> pa.Table:
        """The columns `names`; of a file elsewhere those that lie side by side come in one request."""
        if self._pieces is not None:
            self._pieces.fetch(_extents(self.file.metadata, set(names)))
        return self.file.read(list(names))


def in_memory(data: bytes) -> pa.BufferReader:
    """A file of these bytes, in memory of Arrow's."""
    buffer = pa.allocate_buffer(len(data))
    memoryview(buffer).cast("B")[:] = data
    return pa.BufferReader(buffer)


def _local(path: str) -> pa.NativeFile:
    try:
        return pa.OSFile(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(path) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror or error}): check the place") from error


class _Pieces:
    """Memory of a file's size in which what was read of it lies at its place; the rest costs no memory."""

    def __init__(self, file: IO[bytes] | io.RawIOBase) -> None:
        self._source: Any = file
        self._size = file.seek(0, io.SEEK_END)
        if self._size < LEAST:
            raise pa.ArrowInvalid("it is too short for a Parquet file")
        self.buffer = pa.allocate_buffer(self._size)
        self._here: set[tuple[int, int]] = set()
        self.fetch([(self._size - min(TAIL, max(8, self._size // 4)), self._size)])
        end = self.buffer.slice(self._size - 8).to_pybytes()
        if end[4:] != MAGIC:
            raise pa.ArrowInvalid("it does not end as a Parquet file")
        footer = max(0, self._size - 8 - int.from_bytes(end[:4], "little"))
        self.fetch([(footer, self._size)])

    def fetch(self, extents: Sequence[tuple[int, int]]) -> None:
        """Read these stretches of the file, neighbours by one request, but for those that are here."""
        wanted: list[tuple[int, int]] = []
        for start, stop in sorted(set(extents)):
            if any(first <= start and stop <= last for first, last in self._here):
                continue
            if wanted and start - wanted[-1][1] <= GAP:
                wanted[-1] = (wanted[-1][0], max(stop, wanted[-1][1]))
            else:
                wanted.append((start, stop))
        for start, stop in wanted:
            self._source.seek(start)
            data = self._source.read(stop - start)
            if len(data) != stop - start:
                raise pa.ArrowInvalid("it is shorter than when it was opened")
            memoryview(self.buffer).cast("B")[start:stop] = data
            self._here.add((start, stop))


def _extents(metadata: pq.FileMetaData, names: set[str]) -> list[tuple[int, int]]:
    """Where the columns `names` lie in the file: first byte, byte after the last."""
    found = []
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            if column.path_in_schema.split(".")[0] in names:
                starts = [column.data_page_offset, column.dictionary_page_offset or column.data_page_offset]
                found.append((min(starts), min(starts) + column.total_compressed_size))
    return found
