"""The journal of conversions in a store: what became of each file, so that a re-run need not read it again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from ecd_data.conversion.sources import Source

JOURNAL = "conversion.jsonl"


class ConversionJournal:
    """One JSON object a source: its path, size and time of change, the ids it gave with hashes, and what failed why.

    A later line on the same source replaces an earlier one.
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
                    continue  # the process ended while it wrote the line: the file is read again

    def known(self, source: Source, stored: Callable[[str], str | None]) -> list[str] | None:
        """The ids that a source gave, None where it has changed since or `stored` has another hash for one."""
        entry = self._entries.get(_key(source))
        if entry is None or entry["failed"] or [entry["size"], entry["changed"]] != _state(source):
            return None
        if source.id and list(entry["ids"]) != [source.id]:
            return None
        return list(entry["ids"]) if all(stored(id) == sha256 for id, sha256 in entry["ids"].items()) else None

    def note(self, source: Source, ids: dict[str, str], failed: dict[str, str]) -> None:
        """Write down what became of a source: ids with the hash of what they came from, names with reasons."""
        size, changed = _state(source)
        key = _key(source)
        entry: dict[str, Any] = {"file": key, "size": size, "changed": changed, "ids": ids, "failed": failed}
        if self._entries.get(key) == entry:
            return
        self._entries[key] = entry
        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8")
            if self._file.tell():
                self._file.write("\n")  # behind a line that a killed process left cut
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


def _key(source: Source) -> str:
    return os.path.abspath(source.path) + (f"::{source.member}" if source.member else "")


def _state(source: Source) -> list[int]:
    try:
        state = os.stat(source.path)
    except OSError:
        return [-1, -1]
    return [state.st_size, state.st_mtime_ns]
