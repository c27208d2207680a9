"""The index of a store: a Parquet file with one row for each crystal, of which only requested columns are read."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecd_data.errors import EcdError, StoreError
from ecd_data.io.arrow_files import ParquetSource, write_parquet
from ecd_data.io.atomic_write import write_whole

INDEX = "index.parquet"
FORMAT = b"1"
SMALL_INDEX = 1 << 21  # bytes: a smaller index is read whole, since further requests take longer

PART_NAME = re.compile(r"[\w-][\w.-]{0,199}")  # without slashes, so that it cannot lead out of the folder of parts
LOCATION_COLUMNS = ("id", "part", "offset", "length", "sha256")  # the first columns, so that one range has them all
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("part", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("sha256", pa.string()),
        ("formula", pa.string()),
        ("natoms", pa.int32()),
        ("elements", pa.list_(pa.string())),
        ("spacegroup", pa.int16()),
        ("functional", pa.string()),
        ("shape", pa.list_(pa.int32())),
        ("nelect", pa.float64()),
        ("spin", pa.bool_()),
        ("pipeline", pa.string()),
        ("bound", pa.float64()),
        ("flags", pa.list_(pa.string())),
        ("source", pa.string()),
        ("source_sha256", pa.string()),
        ("lattice", pa.list_(pa.list_(pa.float64()))),
        ("numbers", pa.list_(pa.int16())),
        ("frac_coords", pa.list_(pa.list_(pa.float64()))),
    ],
    metadata={b"ecd.format": FORMAT},
)
REMEDY = "restore it, or remove it and run `ecd convert` again, which makes it new from the parts"
MIXED = "a property is a number in one crystal and text in another ({error}): give the two different names"

Row = dict[str, Any]


def make_table(rows: list[Row]) -> pa.Table:
    """The rows as a table: the columns of SCHEMA, then one column for each further key of any row."""
    table = pa.Table.from_pylist([{name: row.get(name) for name in SCHEMA.names} for row in rows], schema=SCHEMA)
    for name in {key: None for row in rows for key in row if key not in SCHEMA.names}:
        try:
            table = table.append_column(name, pa.array([row.get(name) for row in rows]))
        except pa.ArrowException as error:
            raise StoreError(MIXED.format(error=error)) from error
    return table


def join_tables(tables: list[pa.Table]) -> pa.Table:
    """One table with the rows and columns of several; raises StoreError where a column has different types."""
    try:
        whole = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise StoreError(MIXED.format(error=error)) from error
    return whole.replace_schema_metadata(SCHEMA.metadata)


def save_index(table: pa.Table, path: Path) -> None:
    """Replace the index at `path` atomically by this table; the same rows give the same bytes."""
    names = [*SCHEMA.names, *sorted(set(table.column_names) - set(SCHEMA.names))]
    with write_whole(path, durable=True) as aside:
        write_parquet(table.select(names).combine_chunks(), aside, compression="zstd")


class Index:
    """An index at a path or fsspec URL. Opening it reads the schema and the row count; columns are read on request.

    All columns have the same crystals in the same order, also when the file is replaced in the meantime.

    Raises
    ------
    FileNotFoundError : there is no index.
    StoreError : the index is damaged, cannot be reached, or was replaced by one that lacks some of the crystals.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self._columns: dict[str, pa.ChunkedArray] = {}
        self._order: pa.Array | None = None  # after the file was replaced: its rows in the order of the first file
        self._source = self._open_source()

    def __len__(self) -> int:
        return int(self._source.file.metadata.num_rows) if self._order is None else len(self._order)

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self._source.file.schema_arrow.names)

    def table(self, *names: str) -> pa.Table:
        """The columns `names`, or all columns without names; each column is read once and kept."""
        requested = list(names) or self.names
        if absent := [name for name in requested if name not in self.names]:
            raise StoreError(f"{self.url} has no column {absent[0]!r}; it has {', '.join(self.names)}")
        if missing := [name for name in requested if name not in self._columns]:
            try:
                read = self._read(missing)
            except StoreError:
                self._open_again()
                read = self._read(missing)
            self._columns |= {name: read[name] for name in missing}
        return pa.table({name: self._columns[name] for name in requested})

    def _read(self, names: list[str]) -> pa.Table:
        try:
            read = self._source.read(names)
        except EcdError:
            raise
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise StoreError(f"{self.url} is damaged or was replaced while it was read; {REMEDY}") from error
        if wrong := _find_impossible(read):
            raise StoreError(f"{self.url} is damaged, {wrong}; {REMEDY}")
        return read if self._order is None else read.take(self._order)

    def _open_again(self) -> None:
        """Open the file that is at the URL now, and find the same crystals in it."""
        self._source, self._order = self._open_source(), None
        if not self._columns:
            return
        if "id" in self._columns:
            import pyarrow.compute as pc  # imported here, since that takes longer than reading an index

            self._order = pc.index_in(self._columns["id"], value_set=self._read(["id"])["id"]).combine_chunks()
        if self._order is None or self._order.null_count:
            raise StoreError(f"{self.url} was replaced while it was read: open the store again")

    def _open_source(self) -> ParquetSource:
        try:
            source = ParquetSource(self.url, SMALL_INDEX)
        except EcdError:
            raise
        except (OSError, ValueError, pa.ArrowException) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise StoreError(f"{self.url} is damaged; {REMEDY}") from error
        self._check(source.file)
        return source

    def _check(self, file: pq.ParquetFile) -> None:
        version = (file.schema_arrow.metadata or {}).get(b"ecd.format", FORMAT)
        if version != FORMAT:
            raise StoreError(
                f"{self.url} has store format {version.decode()}, this ecd-data reads {FORMAT.decode()}: update it"
            )
        if missing := sorted(set(SCHEMA.names) - set(file.schema_arrow.names)):
            raise StoreError(f"{self.url} is not the index of a store: it has no column {missing[0]!r}; {REMEDY}")


def _find_impossible(read: pa.Table) -> str:
    """What is impossible in the columns that locate the crystals, as a phrase; "" where nothing is."""
    for name in set(LOCATION_COLUMNS) & set(read.column_names):
        if read[name].null_count:
            return f"a crystal has no {name}"
        if name in ("offset", "length") and min(read[name].to_pylist(), default=1) < (name == "length"):
            return f"a crystal has an impossible {name}"
        if name == "part" and (odd := [part for part in set(read[name].to_pylist()) if not PART_NAME.fullmatch(part)]):
            return f"{odd[0][:100]!r} is not the name of a part"
    return ""
