"""Files that appear whole or not at all: written under another name beside their place, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_whole(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """The path of an empty file beside `path` that replaces it when the block ends, and is removed when it fails.

    Parameters
    ----------
    path : the file that is to appear; its folder must exist. Two writers at once leave the file of one of them, whole.
    durable : write the bytes through to the disk first, for files without which others are lost.

    Raises
    ------
    OSError : the folder cannot be written to, or the disk is full; an older file at `path` is then as it was.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}-", suffix=".writing")
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        if durable:
            _flush(aside)
        aside.chmod(0o644)  # mkstemp lets the owner alone read
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
