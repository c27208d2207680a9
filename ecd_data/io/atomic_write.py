"""Atomic writes: a file is written under a temporary name in its folder and then renamed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def write_whole(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """The path of an empty temporary file, which replaces `path` when the block ends and is removed when it fails.

    Parameters
    ----------
    path : the file to write; its folder must exist. Of two writers at once the last one wins, with a whole file.
    durable : whether to write the bytes through to the disk first, for files that others depend on.

    Raises
    ------
    OSError : the folder cannot be written to, or the disk is full; an older file at `path` is then unchanged.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}-", suffix=".writing")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if durable:
            _flush_to_disk(temporary)
        temporary.chmod(0o644)  # mkstemp makes files that only the owner can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file, which appears whole or not at all; raises OSError as `write_whole`."""
    with write_whole(path) as aside:
        aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
