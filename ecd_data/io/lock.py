"""One writer a store: a lock on its folder that ends with the process."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path

from ecd_data.errors import StoreError


def lock(folder: Path, owner: object) -> Callable[[], object]:
    """A function that releases the lock on `folder`, which also ends with `owner` or the process.

    Raises StoreError where another process holds it. Systems without flock get no lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return lambda: None
    handle = os.open(folder, os.O_RDONLY)
    release = weakref.finalize(owner, os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        release()
        raise StoreError(f"{folder.parent} is being written by another process: wait, or name another store") from error
    except OSError:  # some network file systems know no locks
        pass
    return release
