"""Writing a store: parts appear complete or not at all, and the index names only complete parts."""

from __future__ import annotations

import logging
import re
from errno import ENOSPC
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ecd_data.density import Density
from ecd_data.errors import StoreError, UsageError
from ecd_data.store.group import PIPELINES, pack
from ecd_data.store.index import INDEX, Row, load_rows, row_of, save_index
from ecd_data.store.lock import lock
from ecd_data.store.parts import Extent, PartWriter, read_entries
from ecd_data.store.recover import recover_rows

log = logging.getLogger("ecd_data")

VALID_ID = re.compile(r"[^\s/\\.][^/\\]{0,199}")
PART_SIZE = 1000


class StoreWriter:
    """Opens a new store or continues an existing one, in a local folder.

    bound: eps_mae of the `fourier` pipeline; pipeline: "fourier" or "real"; part_size: crystals a part. Use it as a
    context manager: on leaving, also by an error or Ctrl-C, what was added is completed and small parts are merged. One
    process writes a store at a time. Parts without an index, as after a crash, get a new one.
    """

    def __init__(
        self, path: str | Path, bound: float = 1e-5, pipeline: str = "fourier", part_size: int = PART_SIZE
    ) -> None:
        if "://" in str(path):
            raise UsageError(f"{path}: stores are written to a local folder; copy the folder there afterwards")
        if pipeline not in PIPELINES:
            raise UsageError(f"the pipeline is {' or '.join(PIPELINES)}, not {pipeline!r}")
        if not 0 < bound < 1:
            raise UsageError(f"the bound is a fraction between 0 and 1 such as 1e-5, not {bound}")
        self.path, self.bound, self.pipeline, self.part_size = Path(path), bound, pipeline, part_size
        self._refuse_other_folders()
        self._parts.mkdir(parents=True, exist_ok=True)
        self._release = lock(self._parts, self)
        for left in [*self._parts.glob(".part-*.writing"), *self.path.glob(".index-*")]:
            left.unlink()  # by a process that was killed: nothing refers to them
        self._rows: dict[str, Row] = {row["id"]: row for row in self._existing()}
        self._pending: list[Row] = []
        self._part: PartWriter | None = None

    @property
    def _parts(self) -> Path:
        return self.path / "parts"

    def _refuse_other_folders(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file: name a folder for the store")
        if self.path.is_dir() and not (self.path / INDEX).exists():
            others = [p.name for p in self.path.iterdir() if p.name != "parts" and not p.name.startswith(".")]
            if others:
                raise UsageError(f"{self.path} holds other files and no {INDEX}: name a new folder for the store")

    def _existing(self) -> list[Row]:
        index = self.path / INDEX
        if index.exists():
            return load_rows(index)
        rows = [row for part in sorted(self._parts.glob("part-*.zarr.zip")) for row in recover_rows(part)]
        if rows:
            log.warning("%s has no %s: made again from its parts, %d crystals", self.path, INDEX, len(rows))
            save_index(rows, index)
        return rows

    def __contains__(self, id: str) -> bool:
        return id in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, id: str) -> Row:
        """The index row of an id that the store has."""
        return self._rows[id]

    def add(self, id: str, density: Density, source: str | None = None, source_sha256: str | None = None) -> Row:
        """The index row of a density that was added; ids are unique and become folder names in the part."""
        if not VALID_ID.fullmatch(id) or not id.isprintable() or id == "zarr.json":
            raise UsageError(f"{id!r} cannot be an id: at most 200 printable characters, no slash, no dot in front")
        if id in self._rows:
            raise StoreError(f"{id} is in {self.path} already: give another id or another store")
        meta = dict(density.meta)
        if source is not None:
            meta |= {"source": source, "source_sha256": source_sha256}
        density = Density(density.crystal, density.values, density.magnetization, density.augmentation, meta)
        entries, pipeline = pack(density, self.bound, self.pipeline, _attributes(id, density))
        part = self._open_part()
        extent = part.add(id, entries)
        row = row_of(id, density, pipeline=pipeline, bound=self.bound, part=part.path.name, extent=extent)
        self._rows[id] = row
        self._pending.append(row)
        if len(self._pending) >= self.part_size:
            self.flush()
        return row

    def _open_part(self) -> PartWriter:
        if self._part is None:
            self._part = PartWriter(self._new_part())
        return self._part

    def _new_part(self, skip: int = 0) -> Path:
        used = {int(m[1]) for row in self._rows.values() if (m := re.search(r"part-(\d+)", row["part"]))}
        return self._parts / f"part-{max(used, default=-1) + 1 + skip:05d}.zarr.zip"

    def flush(self) -> None:
        """Complete the open part and the index: what was added so far survives anything."""
        if self._part is not None:
            self._part.close()
            self._part = None
        if self._pending or not (self.path / INDEX).exists():
            save_index(list(self._rows.values()), self.path / INDEX)
            self._pending = []

    def compact(self) -> None:
        """Merge parts that are less than half full, byte for byte, and remove parts that the index no longer names."""
        small = self._small_parts()
        if len(small) > 1:
            try:
                moved = self._merged(small)
            except StoreError as error:
                log.warning("parts are not merged: %s", error)
                return
            for row, part, extent in moved:
                row |= {"part": part, "offset": extent.offset, "length": extent.length, "sha256": extent.sha256}
            save_index(list(self._rows.values()), self.path / INDEX)
        named = {row["part"] for row in self._rows.values()}
        for path in self._parts.glob("part-*.zarr.zip"):
            if path.name not in named:
                path.unlink()

    def _merged(self, small: set[str]) -> list[tuple[Row, str, Extent]]:
        rows = [row for row in self._rows.values() if row["part"] in small]
        moved = []
        for start in range(0, len(rows), self.part_size):
            with PartWriter(self._new_part(start // self.part_size)) as part:
                for row in rows[start : start + self.part_size]:
                    moved.append((row, part.path.name, part.add(row["id"], self._read(row))))
        return moved

    def _small_parts(self) -> set[str]:
        counts: dict[str, int] = {}
        for row in self._rows.values():
            counts[row["part"]] = counts.get(row["part"], 0) + 1
        return {part for part, count in counts.items() if count < self.part_size / 2}

    def _read(self, row: Row) -> dict[str, bytes]:
        return read_entries(str(self._parts / row["part"]), row["offset"], row["length"], row["sha256"], row["id"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, cause: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not isinstance(cause, OSError):  # a full or vanished disk cannot take the open part; completed ones stay
                self.flush()
                self.compact()
        except OSError as error:
            cause = error
            raise
        finally:
            if isinstance(cause, OSError) and cause.errno == ENOSPC and cause.filename is None:
                cause.filename = str(self.path)
            self.discard()
            self._release()

    def discard(self) -> None:
        """Forget what was added since the last flush."""
        if self._part is not None:
            self._part.discard()
            self._part = None
        for row in self._pending:
            del self._rows[row["id"]]
        self._pending = []


def _attributes(id: str, density: Density) -> dict[str, Any]:
    crystal = density.crystal
    return {
        **density.meta,
        "id": id,
        "lattice": crystal.lattice.tolist(),
        "numbers": crystal.numbers.tolist(),
        "frac_coords": crystal.frac_coords.tolist(),
        "pbc": list(crystal.pbc),
        "nelect": density.nelect,
    }
