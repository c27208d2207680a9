"""Parquet files at paths and URLs, read from Arrow's own files and memory, never from Python objects.

Arrow's threads release their buffers a moment after a read call has returned. To release a Python object, such as the
bytes of an `open` file, they need the interpreter, and a program that ends at that moment is aborted.

Arrow gets the bytes of paths: it encodes texts as UTF-8, which fails for names beyond ASCII where the locale is C.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecd_data.errors import StoreError
from ecd_data.io.locations import local_path, open_url

TAIL_BYTES = 1 << 16  # of the file's end that the first request reads: the footer of an index is mostly shorter
GAP_BYTES = 1 << 16  # between two ranges that one request reads: they cost less than a second request
MAGIC, MIN_BYTES = b"PAR1", 12  # the mark at both ends of a file; the size of the two marks and the footer's length


class ParquetSource:
    """A Parquet file at a path or fsspec URL, of which only the requested columns are read.

    Parameters
    ----------
    url : the path or URL.
    small : a file at a URL with at most this many bytes is read whole, by one request.

    Raises
    ------
    FileNotFoundError : there is no such file.
    StoreError : the file cannot be read.
    OSError, ValueError, pa.ArrowException : the file is damaged.
    """

    def __init__(self, url: str, small: int) -> None:
        self._pieces: _PartialFile | None = None
        if (path := local_path(url)) is not None:
            source = _open_local(path)
        else:
            opened = open_url(url, small)
            if isinstance(opened, bytes):
                source = memory_file(opened)
            else:
                self._pieces = _PartialFile(opened)
                source = pa.BufferReader(self._pieces.buffer)
        self.file = pq.ParquetFile(source, pre_buffer=True)

    def read(self, names: Sequence[str]) -> pa.Table:
        """The columns `names`; at a URL one request reads columns that are adjacent in the file."""
        if self._pieces is not None:
            self._pieces.fetch(_column_ranges(self.file.metadata, set(names)))
        return self.file.read(list(names))


def write_parquet(table: pa.Table, path: str | Path, **options: Any) -> None:
    """Write a table to a Parquet file; the options are those of `pq.write_table`."""
    with pa.OSFile(os.fsencode(path), "wb") as file:
        pq.write_table(table, file, **options)


def memory_file(data: bytes) -> pa.BufferReader:
    """A file with these bytes, in memory that Arrow owns."""
    buffer = pa.allocate_buffer(len(data))
    memoryview(buffer).cast("B")[:] = data
    return pa.BufferReader(buffer)


def _open_local(path: str) -> pa.NativeFile:
    try:
        return pa.OSFile(os.fsencode(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(path) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror or error}): check the path and the disk") from error


class _PartialFile:
    """A buffer of a file's size that holds the ranges read so far at their offsets; the rest uses no memory."""

    def __init__(self, file: IO[bytes] | io.RawIOBase) -> None:
        self._source: Any = file
        self._size = file.seek(0, io.SEEK_END)
        if self._size < MIN_BYTES:
            raise pa.ArrowInvalid("it is too short for a Parquet file")
        self.buffer = pa.allocate_buffer(self._size)
        self._present: set[tuple[int, int]] = set()
        self.fetch([(self._size - min(TAIL_BYTES, max(8, self._size // 4)), self._size)])
        end = self.buffer.slice(self._size - 8).to_pybytes()
        if end[4:] != MAGIC:
            raise pa.ArrowInvalid("it does not end like a Parquet file")
        footer = max(0, self._size - 8 - int.from_bytes(end[:4], "little"))
        self.fetch([(footer, self._size)])

    def fetch(self, extents: Sequence[tuple[int, int]]) -> None:
        """Read those of the ranges that are missing; one request reads ranges that are near each other."""
        wanted: list[tuple[int, int]] = []
        for start, stop in sorted(set(extents)):
            if any(first <= start and stop <= last for first, last in self._present):
                continue
            if wanted and start - wanted[-1][1] <= GAP_BYTES:
                wanted[-1] = (wanted[-1][0], max(stop, wanted[-1][1]))
            else:
                wanted.append((start, stop))
        for start, stop in wanted:
            self._source.seek(start)
            data = self._source.read(stop - start)
            if len(data) != stop - start:
                raise pa.ArrowInvalid("it became shorter while it was read")
            memoryview(self.buffer).cast("B")[start:stop] = data
            self._present.add((start, stop))


def _column_ranges(metadata: pq.FileMetaData, names: set[str]) -> list[tuple[int, int]]:
    """The byte ranges of the columns `names` in the file: first byte and byte after the last."""
    ranges = []
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            if column.path_in_schema.split(".")[0] in names:
                starts = [column.data_page_offset, column.dictionary_page_offset or column.data_page_offset]
                ranges.append((min(starts), min(starts) + column.total_compressed_size))
    return ranges
