"""Writing a store: a part gets its name when it is complete, and the index has only complete parts."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from ecd_data.arguments import real_number
from ecd_data.density import Density
from ecd_data.errors import StoreError, UsageError
from ecd_data.io.lock import lock_folder
from ecd_data.store.crystal_group import PIPELINES
from ecd_data.store.data_root import refuse_file_name
from ecd_data.store.index import INDEX, LOCATION_COLUMNS, SCHEMA, Index, Row, join_tables, make_table, save_index
from ecd_data.store.packing import PackedCrystal, pack_crystal
from ecd_data.store.part_journal import OpenPart, find_unfinished_parts, journal_path, recover_rows
from ecd_data.store.parts import Extent, PartWriter, read_entries

log = logging.getLogger("ecd_data")

PART_SIZE = 1000  # crystals of a part
NO_ROOM = (ENOSPC, EDQUOT, EFBIG)  # errors of a full disk, a used quota, and a limit of file sizes


class StoreWriter:
    """A writer of a new or an existing store in a local folder, to be used as a context manager.

    When the block ends, also by an error or Ctrl-C, the last part is completed and small parts are merged. After
    kill -9 or a full disk the crystals that were added are kept, and the next writer continues the unfinished part. One
    process writes a store at a time. A lost index is made again from the parts.

    Parameters
    ----------
    path : the folder of the store.
    bound : eps_mae of the `fourier` pipeline.
    pipeline : "fourier", or "real" for lossless float32.
    part_size : the number of crystals of a part.

    Raises
    ------
    UsageError : the path is a URL, a file or a folder with other files, or another argument is wrong.
    StoreError : another process writes the store.
    """

    def __init__(
        self, path: str | Path, bound: float = 1e-5, pipeline: str = "fourier", part_size: int = PART_SIZE
    ) -> None:
        self.refuse_arguments(path, bound, pipeline)
        self.path, self.bound, self.pipeline, self.part_size = Path(path), bound, pipeline, part_size
        self._parts.mkdir(parents=True, exist_ok=True)
        self._release = lock_folder(self._parts, self)
        for leftover in self.path.glob(".index*"):
            leftover.unlink()  # a process that was killed has left it
        self._table = self._load_table()
        self._sources: dict[str, str | None] = dict(
            zip(self._table["id"].to_pylist(), self._table["source_sha256"].to_pylist(), strict=True)
        )
        self._by_source: dict[str, str] | None = None
        self._open: OpenPart | None = None
        self._resume()

    @staticmethod
    def is_there(path: str | Path) -> bool:
        """Whether a store, or an unfinished one, exists at a path."""
        return (Path(path) / INDEX).exists() or (Path(path) / "parts").is_dir()

    @staticmethod
    def remove_empty(path: str | Path, *others: str) -> None:
        """Remove a store without crystals, with the files `others` in it; a store with parts is not changed."""
        folder = Path(path)
        with suppress(OSError):  # a folder of parts that is not empty cannot be removed, and then nothing is
            (folder / "parts").rmdir()
            for name in (INDEX, *others):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()

    @property
    def _parts(self) -> Path:
        return self.path / "parts"

    @staticmethod
    def refuse_arguments(path: str | Path, bound: float, pipeline: str) -> None:
        """Raise UsageError where a writer with these arguments would; nothing is written."""
        if "://" in str(path):
            raise UsageError(f"{path}: stores are written to a local folder; copy the folder there afterwards")
        if pipeline not in PIPELINES:
            raise UsageError(f"there is no pipeline {pipeline!r}: give {' or '.join(PIPELINES)}")
        if not 0 < real_number(bound, "the bound", "1e-5") < 1:
            raise UsageError(f"the bound {bound} is not a fraction between 0 and 1: give one such as 1e-5")
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file: give a folder for the store")
        refuse_file_name(folder)
        if folder.is_dir() and not StoreWriter.is_there(folder):
            others = [p.name for p in folder.iterdir() if not p.name.startswith(".")]
            if others:
                raise UsageError(f"{folder} has other files and no {INDEX}: give a new folder for the store")

    def _load_table(self) -> pa.Table:
        index = self.path / INDEX
        if index.exists():
            return Index(index).table()
        parts = [part for part in sorted(self._parts.glob("part-*.zarr.zip")) if not journal_path(part).exists()]
        rows = [row for part in parts for row in recover_rows(part)]
        table = make_table(rows)
        if rows:
            log.warning("%s had no %s: it was made again from the parts, with %d crystals", self.path, INDEX, len(rows))
            save_index(table, index)
        return table

    def _resume(self) -> None:
        """Continue what another writer left: a complete part that is not in the index, or an unfinished part."""
        for path, rows in find_unfinished_parts(self._parts):
            rows = [row for row in rows if row["id"] not in self._sources]
            if path.exists():
                self._add_to_index(rows)
                journal_path(path).unlink()
            elif rows and self._open is None:
                self._open = OpenPart(path, rows)
                self._sources |= {row["id"]: row["source_sha256"] for row in rows}
                log.info("%s: continuing after %d crystals of an interrupted run", self.path, len(rows))
            else:
                journal_path(path).unlink()
        current = self._open and self._open.path.name
        for leftover in self._parts.glob(".part-*.writing"):
            if leftover.name != f".{current}.writing":
                leftover.unlink()

    def _add_to_index(self, rows: list[Row]) -> None:
        """Add the rows of a complete part to the index."""
        if rows:
            self._table = join_tables([self._table, make_table(rows)])
            self._sources |= {row["id"]: row["source_sha256"] for row in rows}
            save_index(self._table, self.path / INDEX)

    def __contains__(self, id: object) -> bool:
        return id in self._sources

    def __len__(self) -> int:
        return len(self._sources)

    def row(self, id: str) -> Row:
        """The index row of an id; raises KeyError where the store does not have it."""
        for row in self._open.rows if self._open else ():
            if row["id"] == id:
                return row
        number = pc.index(self._table["id"], id).as_py()
        if number < 0:
            raise KeyError(id)
        return dict(self._table.slice(number, 1).to_pylist()[0])

    def source_sha256(self, id: str) -> str | None:
        """The hash of the file that an id of the store comes from."""
        return self._sources[id]

    def id_from(self, sha256: str) -> str | None:
        """The id that comes from a file with this hash; None where there is none."""
        if self._by_source is None:
            self._by_source = {digest: id for id, digest in reversed(self._sources.items()) if digest}
        return self._by_source.get(sha256)

    def digests(self) -> dict[str, str]:
        """The hash of the stored bytes of every id."""
        return self.values("sha256")

    def values(self, column: str) -> dict[str, Any]:
        """A column of the index, also of the unfinished part, by id."""
        unfinished = {row["id"]: row[column] for row in self._open.rows} if self._open else {}
        return dict(zip(*(self._table[n].to_pylist() for n in ("id", column)), strict=True)) | unfinished

    def add(self, id: str, density: Density, source: str | None = None, source_sha256: str | None = None) -> Row:
        """Add a density and return its index row.

        Parameters
        ----------
        id : the material id, which must be new in the store and possible as the name of a folder.
        density : the density in e/Å^3.
        source, source_sha256 : the name and hash of the file that the density comes from.

        Raises
        ------
        StoreError : the store has the id already, or some values are not finite.
        UsageError : the id cannot be the name of a folder.
        """
        if id in self:
            raise StoreError(f"{id} is in {self.path} already: give another id or another store")
        options: dict[str, Any] = {"source": source, "source_sha256": source_sha256}
        return self.put(pack_crystal(id, density, bound=self.bound, pipeline=self.pipeline, **options))

    def put(self, item: PackedCrystal) -> Row:
        """Add a crystal that `pack_crystal` has packed, or from another store, and return its index row."""
        if item.id in self:
            raise StoreError(f"{item.id} is in {self.path} already: give another id or another store")
        if self._open is None:
            self._open = OpenPart(self._next_part())
        row = self._open.add(item)
        self._sources[item.id] = row["source_sha256"]
        if self._by_source is not None and row["source_sha256"]:
            self._by_source.setdefault(row["source_sha256"], item.id)
        if len(self._open) >= self.part_size:
            self.flush()
        return row

    def _next_part(self) -> Path:
        names = {*pc.unique(self._table["part"]).to_pylist(), *(p.name for p in self._parts.glob("part-*.zarr.zip"))}
        used = {int(m[1]) for name in names if (m := re.search(r"part-(\d+)", name))}
        return self._parts / f"part-{max(used, default=-1) + 1:05d}.zarr.zip"

    def flush(self) -> None:
        """Complete the open part and the index, so that readers see all crystals that were added so far."""
        if self._open is not None:
            if self._open.rows:
                self._open.complete()
                self._table = join_tables([self._table, make_table(self._open.rows)])
            save_index(self._table, self.path / INDEX)
            self._open.remove_journal()
            self._open = None
        elif not (self.path / INDEX).exists():
            save_index(self._table, self.path / INDEX)

    def compact(self) -> None:
        """Merge parts that are less than half full, byte for byte, and remove parts that the index does not have."""
        counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(self._table["part"]).to_pylist()}
        small = [part for part, count in counts.items() if count < self.part_size / 2]
        if len(small) > 1:
            try:
                self._table = self._merge_parts(small)
            except StoreError as error:
                log.warning("the small parts were not merged: %s", error)
                return
            save_index(self._table, self.path / INDEX)
        named = set(pc.unique(self._table["part"]).to_pylist())
        for path in self._parts.glob("part-*.zarr.zip"):
            if path.name not in named:
                path.unlink()

    def _merge_parts(self, small: list[str]) -> pa.Table:
        """Copy the crystals of the parts `small` into new parts, and return the table with their new locations."""
        rows = self._table.select(LOCATION_COLUMNS).to_pylist()
        moving = [row for row in rows if row["part"] in set(small)]
        for start in range(0, len(moving), self.part_size):
            with PartWriter(self._next_part()) as part:
                for row in moving[start : start + self.part_size]:
                    extent = part.add(row["id"], self._read(row))
                    row |= {"part": part.path.name, **vars(extent)}
        table = pa.Table.from_pylist(rows, schema=pa.schema([SCHEMA.field(name) for name in LOCATION_COLUMNS]))
        rest = [name for name in self._table.column_names if name not in LOCATION_COLUMNS]
        for name in rest:
            table = table.append_column(self._table.schema.field(name), self._table[name])
        return table

    def _read(self, row: Row) -> dict[str, bytes]:
        at = Extent(row["offset"], row["length"], row["sha256"])
        return read_entries(str(self._parts / row["part"]), at, row["id"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, cause: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not isinstance(cause, OSError):  # a full or lost disk takes no more; the next writer continues
                self.flush()
                self.compact()
        except OSError as error:
            cause = error
            raise
        finally:
            if isinstance(cause, OSError) and cause.errno in NO_ROOM and cause.filename is None:
                cause.filename = str(self.path)
            if self._open is not None:
                self._open.release()
            self._release()
