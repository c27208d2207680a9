"""The bytes of a file: in memory, or a plain file that stays on the disk until a part of it is wanted."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class MappedFile(mmap.mmap):
    """A file that is searched and sliced like bytes, and whose long blocks are read with `view`."""

    fd: int

    @classmethod
    def open(cls, path: Path) -> MappedFile:
        """The file `path`, which must not be empty."""
        fd = os.open(path, os.O_RDONLY)
        try:
            mapped = cls(fd, 0, access=mmap.ACCESS_READ)
        except BaseException:
            os.close(fd)
            raise
        mapped.fd = fd
        return mapped

    def __del__(self) -> None:
        os.close(self.fd)


Text = bytes | MappedFile


def view(data: Text, start: int, count: int, scratch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bytes [count] from `start`, in `scratch` where they come from the disk.

    Reading them into memory that is in the cache already costs a fifth of mapping their pages, and a disk that fails
    is an OSError here and a crash there.
    """
    if isinstance(data, bytes) or not hasattr(os, "preadv"):
        return np.frombuffer(data, dtype=np.uint8, count=count, offset=start)
    got = os.preadv(data.fd, [scratch[:count].data], start)
    if got != count:
        raise OSError(f"the file ended at {start + got} while it was read")
    return scratch[:count]
