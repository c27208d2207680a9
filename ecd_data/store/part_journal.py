"""The part under way: a journal of rows beside its file, from which the next writer goes on after anything."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecd_data.store.index import Row
from ecd_data.store.packing import Packed
from ecd_data.store.parts import PartWriter, aside

JOURNAL = ".rows.jsonl"


class OpenPart:
    """A part under way and its rows: a crystal that was added survives the process, also one that is killed."""

    def __init__(self, path: Path, rows: list[Row] | None = None) -> None:
        self.path, self.rows = path, rows or []
        self._part = PartWriter(path, resume=_end(self.rows))
        self._journal = open(journal_of(path), "w", encoding="utf-8")  # noqa: SIM115 - closed by leave()
        self._note(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, item: Packed) -> Row:
        """The row of a crystal that was written, with its place."""
        extent = self._part.add(item.id, item.entries)
        row = item.row | {"part": self.path.name, **vars(extent)}
        self._note([row])
        self.rows.append(row)
        return row

    def complete(self) -> None:
        """Move the part into place; the journal stays until `settle`, when the index has its rows."""
        self._part.close()

    def settle(self) -> None:
        """Remove the journal: the index names the part."""
        self._journal.close()
        journal_of(self.path).unlink(missing_ok=True)

    def leave(self) -> None:
        """Let go of the part as it is: the next writer goes on with it."""
        self._part.leave()
        with contextlib.suppress(OSError):  # a full disk refuses what is still buffered
            self._journal.close()

    def _note(self, rows: list[Row]) -> None:
        self._journal.writelines(json.dumps(row, default=_plain) + "\n" for row in rows)
        self._journal.flush()


def journal_of(path: Path) -> Path:
    """The journal of a part under way."""
    return path.with_name(f".{path.name}{JOURNAL}")


def left_parts(folder: Path) -> Iterator[tuple[Path, list[Row]]]:
    """The parts that a writer left under way in `folder`, each with the rows whose bytes are there."""
    for journal in sorted(folder.glob(f".part-*{JOURNAL}")):
        path = folder / journal.name.removeprefix(".").removesuffix(JOURNAL)
        file = path if path.exists() else aside(path)
        yield path, list(_sound(file, journal)) if file.exists() else []


def _sound(file: Path, journal: Path) -> Iterator[Row]:
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


def _end(rows: list[Row]) -> int:
    return max((row["offset"] + row["length"] for row in rows), default=0)


def _plain(value: Any) -> Any:
    """What JSON has no type for: numbers and arrays of NumPy."""
    return value.tolist()
