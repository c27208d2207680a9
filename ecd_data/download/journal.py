"""The journal of a fetch: which crystals are done, failed or left, as lines appended to a file in the store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ecd_data.errors import EcdError, UsageError
from ecd_data.store.index import INDEX

FOLDER = ".fetch"
JOURNAL = "journal.jsonl"
LEFT, DONE, FAILED, CHANGED = "left", "done", "failed", "changed"
STATES = (LEFT, DONE, FAILED, CHANGED)
MOST_LINES = 3  # lines for each entry; a longer file is written anew, so that it does not grow with every run


@dataclass(frozen=True)
class Entry:
    """The state of one crystal; "changed" means stored, but the server has another file by now.

    size (in bytes), sha256, etag and modified are those of the downloaded file.
    """

    id: str
    state: str
    reason: str | None = None
    size: int | None = None
    sha256: str | None = None
    etag: str | None = None
    modified: str | None = None


@dataclass(frozen=True)
class FetchStatus:
    """The progress of the fetch into a store, which `ecd fetch --status DEST` prints; `set` is None without a fetch."""

    dest: Path
    set: str | None
    done: int
    size: int
    left: tuple[str, ...]
    failed: dict[str, str]
    changed: dict[str, str]

    def __str__(self) -> str:
        if self.set is None:
            return f"{self.dest}: no fetch was started here; `ecd fetch TASK {self.dest}` starts one"
        lines = [
            f"{self.dest}: set {self.set}, {self.done:,} done ({self.size / 1e6:,.1f} MB of files), "
            f"{len(self.failed):,} failed, {len(self.left):,} left"
        ]
        lines += [f"failed: {id}: {reason}" for id, reason in self.failed.items()]
        lines += [f"changed: {id}: {reason}" for id, reason in self.changed.items()]
        return "\n".join(lines)


class Journal:
    """The entries of a store's journal; each change appends one line, so a crash loses at most the last one."""

    def __init__(self, dest: Path, set: str | None = None) -> None:
        self.path = dest / FOLDER / JOURNAL
        self.entries: dict[str, Entry] = {}
        self.set: str | None = None
        lines = self._load()
        if set is not None:
            self.refuse_other_set(set)
            self.set = set
            self._open(lines)

    def refuse_other_set(self, set: str) -> None:
        """Raise UsageError if the store holds another set of the release."""
        if self.set not in (None, set):
            store = self.path.parent.parent
            raise UsageError(f"{store} is a store of the set {self.set}: name another store for the set {set}")

    def _load(self) -> int:
        if not self.path.exists():
            return 0
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")  # a crash can leave a last line without its end
        records = [self._record(line) for line in whole.splitlines()]
        names = {field.name for field in fields(Entry)}
        for record in records:
            if "set" in record:
                self.set = record["set"]
            else:
                entry = Entry(**{key: value for key, value in record.items() if key in names})
                self.entries[entry.id] = entry
        return len(records)

    def _record(self, line: bytes) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads(line)
            if "set" in record or (isinstance(record["id"], str) and record["state"] in STATES):
                return record
        except (ValueError, LookupError, TypeError):
            pass
        raise EcdError(f"{self.path} is damaged: remove it; the same command makes it again from the store")

    def _open(self, lines: int) -> None:
        """Create the file, or write it anew if its last line is cut or it has too many lines."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
        if not lines or torn or lines > MOST_LINES * (len(self.entries) + 1):
            aside = self.path.with_suffix(".writing")
            aside.write_text("".join([_line({"set": self.set}), *map(_entry_line, self.entries.values())]), "utf-8")
            aside.replace(self.path)

    def append(self, entries: Iterable[Entry]) -> None:
        """Append entries to the file and make sure that they are on the disk."""
        entries = list(entries)
        text = "".join(map(_entry_line, entries))
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self.entries |= {entry.id: entry for entry in entries}


def _entry_line(entry: Entry) -> str:
    return _line({key: value for key, value in asdict(entry).items() if value is not None})


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def fetch_status(dest: str | Path) -> FetchStatus:
    """The progress of the fetch into the store `dest`; its `set` is None if none was started there.

    Raises UsageError if `dest` is a file or a folder that is no store.
    """
    dest = Path(dest)
    journal = Journal(dest)
    if journal.set is None and dest.exists() and not (dest / INDEX).exists():
        raise UsageError(f"{dest} is not the store of a fetch: name one, as in `ecd fetch TASK my.ecd`")
    by_state = {state: [e for e in journal.entries.values() if e.state == state] for state in STATES}
    return FetchStatus(
        dest=dest,
        set=journal.set,
        done=len(by_state[DONE]) + len(by_state[CHANGED]),
        size=sum(entry.size or 0 for entry in [*by_state[DONE], *by_state[CHANGED]]),
        left=tuple(entry.id for entry in by_state[LEFT]),
        failed={entry.id: entry.reason or "" for entry in by_state[FAILED]},
        changed={entry.id: entry.reason or "" for entry in by_state[CHANGED]},
    )
