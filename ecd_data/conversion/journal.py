"""The journal of conversions in a store: the outcome for each file, so that a second run need not read it again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from ecd_data.conversion.sources import Source

JOURNAL = "conversion.jsonl"


class ConversionJournal:
    """The entries of a store's conversion.jsonl, one JSON object a line for each source.

    An entry has the path, size and time of change of the source, its ids with hashes, and its failures with reasons. A
    later line for the same source replaces an earlier one.
    """

    def __init__(self, store: Path) -> None:
        self.path = store / JOURNAL
        self._entries: dict[str, dict[str, Any]] = {}
        self._file: TextIO | None = None
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    self._entries[entry["file"]] = entry
                except (ValueError, KeyError, TypeError):
                    continue  # a line was cut when its process ended; its file is converted again

    def find_ids(self, source: Source, stored: Callable[[str], str | None]) -> list[str] | None:
        """The ids of a source that was converted already; None if it is new, has changed, or has failed.

        `stored` gives the hash of the file that the store has for an id; another hash counts as a change.
        """
        entry = self._entries.get(_key(source))
        if entry is None or entry["failed"] or (entry["size"], entry["changed"]) != file_state(source):
            return None
        if source.id and list(entry["ids"]) != [source.id]:
            return None
        return list(entry["ids"]) if all(stored(id) == sha256 for id, sha256 in entry["ids"].items()) else None

    def note(self, source: Source, state: tuple[int, int], ids: dict[str, str], failed: dict[str, str]) -> None:
        """Write down the outcome for a source: its ids with the hashes of their files, and failures with reasons.

        state: the `file_state` of the source before it was read, so that a file that changed since is read again.
        """
        size, changed = state
        key = _key(source)
        entry: dict[str, Any] = {"file": key, "size": size, "changed": changed, "ids": ids, "failed": failed}
        if self._entries.get(key) == entry:
            return
        self._entries[key] = entry
        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8")
            if self._file.tell():
                self._file.write("\n")  # ends a line that was cut when its process was killed
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _key(source: Source) -> str:
    return os.path.abspath(source.path) + (f"::{source.member}" if source.member else "")


def file_state(source: Source) -> tuple[int, int]:
    """The size and time of change of a source; -1, -1 for one that is missing."""
    try:
        state = os.stat(source.path)
    except OSError:
        return -1, -1
    return state.st_size, state.st_mtime_ns
