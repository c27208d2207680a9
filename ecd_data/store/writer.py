"""Writing a store: parts appear complete or not at all, and the index names only complete parts."""

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
from ecd_data.io.lock import lock
from ecd_data.store.crystal_group import PIPELINES
from ecd_data.store.destination import refuse_file_name
from ecd_data.store.index import INDEX, PLACE, SCHEMA, Index, Row, joined, save_index, table_of
from ecd_data.store.packing import Packed, packed
from ecd_data.store.part_journal import OpenPart, journal_of, left_parts
from ecd_data.store.parts import PartWriter, read_entries
from ecd_data.store.recover_index import recover_rows

log = logging.getLogger("ecd_data")

PART_SIZE = 1000
NO_ROOM = (ENOSPC, EDQUOT, EFBIG)


class StoreWriter:
    """Opens a new store or continues an existing one, in a local folder.

    bound: eps_mae of the `fourier` pipeline; pipeline: "fourier" or "real"; part_size: crystals a part. Use it as a
    context manager: on leaving, also by an error or Ctrl-C, what was added is completed and small parts are merged. One
    process writes a store at a time. What was added survives also kill -9 and a full disk: the next writer goes on with
    the part that was under way. Parts without an index get a new one.
    """

    def __init__(
        self, path: str | Path, bound: float = 1e-5, pipeline: str = "fourier", part_size: int = PART_SIZE
    ) -> None:
        if "://" in str(path):
            raise UsageError(f"{path}: stores are written to a local folder; copy the folder there afterwards")
        if pipeline not in PIPELINES:
            raise UsageError(f"the pipeline is {' or '.join(PIPELINES)}, not {pipeline!r}")
        if not 0 < real_number(bound, "the bound", "1e-5") < 1:
            raise UsageError(f"the bound is a fraction between 0 and 1 such as 1e-5, not {bound}")
        self.path, self.bound, self.pipeline, self.part_size = Path(path), bound, pipeline, part_size
        self._refuse_other_folders()
        self._parts.mkdir(parents=True, exist_ok=True)
        self._release = lock(self._parts, self)
        for left in self.path.glob(".index*"):
            left.unlink()  # by a process that was killed: nothing refers to it
        self._table = self._existing()
        self._sources: dict[str, str | None] = dict(
            zip(self._table["id"].to_pylist(), self._table["source_sha256"].to_pylist(), strict=True)
        )
        self._by_source: dict[str, str] | None = None
        self._open: OpenPart | None = None
        self._go_on()

    @staticmethod
    def is_there(path: str | Path) -> bool:
        """Whether there is a store at a path, or what a writer left of one."""
        return (Path(path) / INDEX).exists() or (Path(path) / "parts").is_dir()

    @staticmethod
    def remove_empty(path: str | Path, *others: str) -> None:
        """Remove a store without crystals, with the files `others` in it; nothing where another writer goes on."""
        folder = Path(path)
        with suppress(OSError):  # parts that are there stay, and with them the rest
            (folder / "parts").rmdir()
            for name in (INDEX, *others):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()

    @property
    def _parts(self) -> Path:
        return self.path / "parts"

    def _refuse_other_folders(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file: name a folder for the store")
        refuse_file_name(self.path)
        if self.path.is_dir() and not (self.path / INDEX).exists() and not self._parts.is_dir():
            others = [p.name for p in self.path.iterdir() if not p.name.startswith(".")]
            if others:
                raise UsageError(f"{self.path} holds other files and no {INDEX}: name a new folder for the store")

    def _existing(self) -> pa.Table:
        index = self.path / INDEX
        if index.exists():
            return Index(index).table()
        parts = [part for part in sorted(self._parts.glob("part-*.zarr.zip")) if not journal_of(part).exists()]
        rows = [row for part in parts for row in recover_rows(part)]
        table = table_of(rows)
        if rows:
            log.warning("%s has no %s: made again from its parts, %d crystals", self.path, INDEX, len(rows))
            save_index(table, index)
        return table

    def _go_on(self) -> None:
        """Take up what another writer left: a part without its rows in the index, or a part under way."""
        for path, rows in left_parts(self._parts):
            rows = [row for row in rows if row["id"] not in self._sources]
            if path.exists():
                self._take(rows)
                journal_of(path).unlink()
            elif rows and self._open is None:
                self._open = OpenPart(path, rows)
                self._sources |= {row["id"]: row["source_sha256"] for row in rows}
                log.info("%s: going on behind %d crystals of an interrupted run", self.path, len(rows))
            else:
                journal_of(path).unlink()
        under_way = self._open and self._open.path.name
        for left in self._parts.glob(".part-*.writing"):
            if left.name != f".{under_way}.writing":
                left.unlink()

    def _take(self, rows: list[Row]) -> None:
        """Name these rows of a complete part in the index."""
        if rows:
            self._table = joined([self._table, table_of(rows)])
            self._sources |= {row["id"]: row["source_sha256"] for row in rows}
            save_index(self._table, self.path / INDEX)

    def __contains__(self, id: object) -> bool:
        return id in self._sources

    def __len__(self) -> int:
        return len(self._sources)

    def row(self, id: str) -> Row:
        """The index row of an id that the store has."""
        for row in self._open.rows if self._open else ():
            if row["id"] == id:
                return row
        place = pc.index(self._table["id"], id).as_py()
        if place < 0:
            raise KeyError(id)
        return dict(self._table.slice(place, 1).to_pylist()[0])

    def source_sha256(self, id: str) -> str | None:
        """The hash of the file that an id of the store came from."""
        return self._sources[id]

    def id_from(self, sha256: str) -> str | None:
        """The id that came from a file with this hash, None where the store has none."""
        if self._by_source is None:
            self._by_source = {digest: id for id, digest in reversed(self._sources.items()) if digest}
        return self._by_source.get(sha256)

    def digests(self) -> dict[str, str]:
        """The hash of the stored bytes of every id."""
        under_way = {row["id"]: row["sha256"] for row in self._open.rows} if self._open else {}
        return dict(zip(*(self._table[n].to_pylist() for n in ("id", "sha256")), strict=True)) | under_way

    def add(self, id: str, density: Density, source: str | None = None, source_sha256: str | None = None) -> Row:
        """The index row of a density that was added; ids are unique and become folder names in the part."""
        if id in self:
            raise StoreError(f"{id} is in {self.path} already: give another id or another store")
        options: dict[str, Any] = {"source": source, "source_sha256": source_sha256}
        return self.put(packed(id, density, bound=self.bound, pipeline=self.pipeline, **options))

    def put(self, item: Packed) -> Row:
        """The index row of a crystal that was packed elsewhere, by `packed` or from another store."""
        if item.id in self:
            raise StoreError(f"{item.id} is in {self.path} already: give another id or another store")
        if self._open is None:
            self._open = OpenPart(self._new_part())
        row = self._open.add(item)
        self._sources[item.id] = row["source_sha256"]
        if self._by_source is not None and row["source_sha256"]:
            self._by_source.setdefault(row["source_sha256"], item.id)
        if len(self._open) >= self.part_size:
            self.flush()
        return row

    def _new_part(self) -> Path:
        names = {*pc.unique(self._table["part"]).to_pylist(), *(p.name for p in self._parts.glob("part-*.zarr.zip"))}
        used = {int(m[1]) for name in names if (m := re.search(r"part-(\d+)", name))}
        return self._parts / f"part-{max(used, default=-1) + 1:05d}.zarr.zip"

    def flush(self) -> None:
        """Complete the open part and the index: readers see all that was added so far."""
        if self._open is not None:
            if self._open.rows:
                self._open.complete()
                self._table = joined([self._table, table_of(self._open.rows)])
            save_index(self._table, self.path / INDEX)
            self._open.settle()
            self._open = None
        elif not (self.path / INDEX).exists():
            save_index(self._table, self.path / INDEX)

    def compact(self) -> None:
        """Merge parts that are less than half full, byte for byte, and remove parts that the index no longer names."""
        counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(self._table["part"]).to_pylist()}
        small = [part for part, count in counts.items() if count < self.part_size / 2]
        if len(small) > 1:
            try:
                self._table = self._merged(small)
            except StoreError as error:
                log.warning("parts are not merged: %s", error)
                return
            save_index(self._table, self.path / INDEX)
        named = set(pc.unique(self._table["part"]).to_pylist())
        for path in self._parts.glob("part-*.zarr.zip"):
            if path.name not in named:
                path.unlink()

    def _merged(self, small: list[str]) -> pa.Table:
        """The table with new places for the crystals of the parts `small`, whose bytes were copied there."""
        places = self._table.select(PLACE).to_pylist()
        moving = [row for row in places if row["part"] in set(small)]
        for start in range(0, len(moving), self.part_size):
            with PartWriter(self._new_part()) as part:
                for row in moving[start : start + self.part_size]:
                    extent = part.add(row["id"], self._read(row))
                    row |= {"part": part.path.name, **vars(extent)}
        moved = pa.Table.from_pylist(places, schema=pa.schema([SCHEMA.field(name) for name in PLACE]))
        rest = [name for name in self._table.column_names if name not in PLACE]
        for name in rest:
            moved = moved.append_column(self._table.schema.field(name), self._table[name])
        return moved

    def _read(self, row: Row) -> dict[str, bytes]:
        return read_entries(str(self._parts / row["part"]), row["offset"], row["length"], row["sha256"], row["id"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, cause: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not isinstance(cause, OSError):  # a full or vanished disk cannot take more; the next writer goes on
                self.flush()
                self.compact()
        except OSError as error:
            cause = error
            raise
        finally:
            if isinstance(cause, OSError) and cause.errno in NO_ROOM and cause.filename is None:
                cause.filename = str(self.path)
            if self._open is not None:
                self._open.leave()
            self._release()
