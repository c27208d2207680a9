"""Many small byte ranges of a few large files at once, from a disk or any fsspec URL."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ecd_data.errors import MovedError, StoreError
from ecd_data.io.locations import path_of, unreachable

Range = tuple[str, int, int]  # file, first byte, byte after the last
ATTEMPTS = 5
PAUSE = 0.2  # seconds before the second attempt, doubled before each further one


class RangeReader:
    """Reads ranges of the files in one folder: mapped into memory where it is local, else in concurrent requests.

    holds: whether what the ranges come from still holds, asked behind the opening of each file. Failed requests are
    repeated with growing pauses. Threads and forked processes may share one.
    """

    def __init__(self, folder: str, holds: Callable[[], bool] = lambda: True) -> None:
        self.folder, self._holds = folder, holds
        self._maps: dict[str, mmap.mmap] = {}
        self._place: tuple[int, Any, str] | None = None
        self._guard = threading.Lock()

    def _filesystem(self) -> tuple[Any, str]:
        """The file system and the folder's path in it; a forked process needs connections of its own."""
        with self._guard:
            if self._place is None or self._place[0] != os.getpid():
                try:
                    import fsspec

                    fs, path = fsspec.url_to_fs(self.folder)
                except ImportError as error:
                    raise unreachable(self.folder, error) from error
                self._place = os.getpid(), fs, path
        return self._place[1], self._place[2]

    @property
    def remote(self) -> bool:
        """Whether reading waits for a network."""
        return path_of(self.folder) is None

    def read(self, wanted: Sequence[Range]) -> list[bytes]:
        """The bytes of every range; raises StoreError where a file is missing, cut or cannot be reached."""
        if not self.remote:
            return [self._mapped(*each) for each in wanted]
        return self._fetched(*self._filesystem(), wanted)

    def _mapped(self, name: str, start: int, stop: int) -> bytes:
        if name not in self._maps:
            mapped = _map(f"{path_of(self.folder)}/{name}")
            if not self._holds():  # it may be a new file of the name of one that was removed
                raise MovedError(f"{self.folder} was written again: its index is another by now")
            self._maps[name] = mapped
        data = self._maps[name][start:stop]
        return data if len(data) == stop - start else _whole(data, start, stop, f"{self.folder}/{name}")

    def _fetched(self, fs: Any, folder: str, wanted: Sequence[Range]) -> list[bytes]:
        results: dict[int, bytes] = {}
        for attempt in range(ATTEMPTS):
            left = [number for number in range(len(wanted)) if number not in results]
            paths = [f"{folder}/{wanted[number][0]}" for number in left]
            starts, stops = ([wanted[number][k] for number in left] for k in (1, 2))
            answers = fs.cat_ranges(paths, starts, stops, on_error="return")
            failure = None
            for number, answer in zip(left, answers, strict=True):
                name, start, stop = wanted[number]
                try:
                    results[number] = _whole(answer, start, stop, f"{self.folder}/{name}")
                except StoreError as error:
                    failure = error
            if failure is None:
                break
            if attempt == ATTEMPTS - 1 or isinstance(failure.__cause__, FileNotFoundError):
                raise failure
            time.sleep(PAUSE * 2**attempt)
        return [results[number] for number in range(len(wanted))]


def _map(path: str) -> mmap.mmap:
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise MovedError(f"{path} is missing or empty; restore it or make it again") from error
    if hasattr(mmap, "MADV_RANDOM"):  # or each first touch of a page reads many more ahead
        mapped.madvise(mmap.MADV_RANDOM)
    return mapped


def _whole(answer: bytes | Exception, start: int, stop: int, name: str) -> bytes:
    """The bytes of a range, checked to be all of it."""
    if isinstance(answer, FileNotFoundError):
        raise MovedError(f"{name} is missing; restore it or make it again") from answer
    if isinstance(answer, Exception):
        raise StoreError(f"{name} cannot be read ({answer or type(answer).__name__}): check the place") from answer
    if len(answer) > stop - start:  # a web server without ranges sends the whole file
        answer = answer[start:stop]
    if len(answer) != stop - start:
        raise MovedError(f"{name} is cut; restore it or make it again")
    return answer
