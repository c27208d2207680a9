"""The lock that lets only one process write a folder; it ends with the process.

It locks the folder itself, where filelock would leave a lock file in every store.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ecd_data.errors import StoreError


def lock_folder(folder: Path, owner: object) -> Callable[[], object]:
    """A function that releases the lock on `folder`; the lock also ends with `owner` and with the process.

    Systems and network file systems without flock get no lock.

    Raises
    ------
    StoreError : another process holds the lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return lambda: None
    handle = os.open(folder, os.O_RDONLY)
    release = weakref.finalize(owner, _release, handle, os.getpid())
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        release()
        raise StoreError(f"another process writes {folder.parent}: wait for it, or give another store") from error
    except OSError:  # some network file systems have no locks
        pass
    return release


def _release(handle: int, process: int) -> None:
    import fcntl

    if os.getpid() == process:  # processes that this one has forked hold the handle too, and would keep the lock
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)
