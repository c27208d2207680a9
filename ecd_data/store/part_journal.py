"""The part that is being written, with a journal of its rows, and the rows of a part whose index is lost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ecd_data.errors import StoreError
from ecd_data.store.crystal_group import unpack_density
from ecd_data.store.index import Row
from ecd_data.store.packing import PackedCrystal, make_row, to_plain
from ecd_data.store.parts import LOCAL_HEADER, PartWriter, unfinished_path

JOURNAL = ".rows.jsonl"


class OpenPart:
    """A part that is being written, and its rows. A crystal that was added is kept even if the process is killed.

    path: the name that the part will have; rows: the rows of a part that another writer left unfinished.
    """

    def __init__(self, path: Path, rows: list[Row] | None = None) -> None:
        self.path, self.rows = path, rows or []
        self._part = PartWriter(path, resume=_end_of_rows(self.rows))
        self._journal = open(journal_path(path), "w", encoding="utf-8")  # noqa: SIM115 - closed by leave()
        self._write_rows(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, item: PackedCrystal) -> Row:
        """Write a crystal and return its row with its location."""
        extent = self._part.add(item.id, item.entries)
        row = item.row | {"part": self.path.name, **vars(extent)}
        self._write_rows([row])
        self.rows.append(row)
        return row

    def complete(self) -> None:
        """Give the part its name; the journal stays until the index has the rows and `remove_journal` is called."""
        self._part.close()

    def remove_journal(self) -> None:
        """Remove the journal, after the index has the rows of the part."""
        self._journal.close()
        journal_path(self.path).unlink(missing_ok=True)

    def release(self) -> None:
        """Close the files of the unfinished part, so that the next writer can continue it."""
        self._part.release()
        with contextlib.suppress(OSError):  # on a full disk the buffered bytes cannot be written
            self._journal.close()

    def _write_rows(self, rows: list[Row]) -> None:
        self._journal.writelines(json.dumps(row, default=to_plain) + "\n" for row in rows)
        self._journal.flush()


def journal_path(path: Path) -> Path:
    """The path of the journal of a part."""
    return path.with_name(f".{path.name}{JOURNAL}")


def find_unfinished_parts(folder: Path) -> Iterator[tuple[Path, list[Row]]]:
    """The unfinished parts in `folder`, each with those of its rows whose bytes are complete."""
    for journal in sorted(folder.glob(f".part-*{JOURNAL}")):
        path = folder / journal.name.removeprefix(".").removesuffix(JOURNAL)
        file = path if path.exists() else unfinished_path(path)
        yield path, list(_read_intact_rows(file, journal)) if file.exists() else []


def _read_intact_rows(file: Path, journal: Path) -> Iterator[Row]:
    with file.open("rb") as part, journal.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                row: Row = json.loads(line)
            except ValueError:  # the process ended while it wrote the line
                return
            part.seek(row["offset"])
            if hashlib.sha256(part.read(row["length"])).hexdigest() != row["sha256"]:
                return
            yield row


def _end_of_rows(rows: list[Row]) -> int:
    return max((row["offset"] + row["length"] for row in rows), default=0)


def recover_rows(part: Path) -> list[Row]:
    """The index rows of the crystals in a part; raises StoreError where the part is damaged."""
    try:
        with zipfile.ZipFile(part) as archive:
            members = [m for m in archive.infolist() if "/" in m.filename]
            ids = dict.fromkeys(m.filename.partition("/")[0] for m in members)
            return [_row(part, archive, id, [m for m in members if m.filename.startswith(f"{id}/")]) for id in ids]
    except (zipfile.BadZipFile, EOFError, struct.error) as error:
        raise StoreError(f"{part} is damaged ({error}); remove it and convert its files again") from error


def _row(part: Path, archive: zipfile.ZipFile, id: str, members: list[zipfile.ZipInfo]) -> Row:
    entries = {m.filename.removeprefix(f"{id}/"): archive.read(m) for m in members}
    start = min(m.header_offset for m in members)
    end = max(m.header_offset + LOCAL_HEADER.size + len(m.filename.encode()) + m.file_size for m in members)
    with open(part, "rb") as file:
        file.seek(start)
        digest = hashlib.sha256(file.read(end - start)).hexdigest()
    density = unpack_density(entries)
    bound = density.meta.get("bound", 0.0)
    place = {"part": part.name, "offset": start, "length": end - start, "sha256": digest}
    return make_row(id, density, pipeline="fourier" if bound else "real", bound=bound) | place
