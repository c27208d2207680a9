"""Many small byte ranges of a few large files, read together from a disk or any fsspec URL."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ecd_data.errors import MovedError, StoreError
from ecd_data.io.locations import is_plain_web, local_path, missing_backend
from ecd_data.io.network import refuse_remote_url

Range = tuple[str, int, int]  # file, first byte, byte after the last
ATTEMPTS = 5  # of a request before its error is raised
PAUSE = 0.2  # seconds before the second attempt, doubled before each further one


class RangeReader:
    """Reads byte ranges of the files in one folder: from mapped memory on a disk, by concurrent requests at a URL.

    Failed requests are repeated with growing pauses. Threads and forked processes may share a reader.

    Parameters
    ----------
    folder : a path or fsspec URL.
    is_current : whether the index that the ranges come from is unchanged; asked after a file is opened.
    """

    def __init__(self, folder: str, is_current: Callable[[], bool] = lambda: True) -> None:
        self.folder, self._is_current = folder, is_current
        self._maps: dict[str, mmap.mmap] = {}
        self._opened: tuple[int, Any, str] | None = None
        self._guard = threading.Lock()

    def _filesystem(self) -> tuple[Any, str]:
        """The file system and the folder's path in it, for this process: a forked one needs its own connections."""
        with self._guard:
            if self._opened is None or self._opened[0] != os.getpid():
                refuse_remote_url(self.folder)
                try:
                    import fsspec

                    fs, path = fsspec.url_to_fs(self.folder, **_web_options(self.folder))
                except ImportError as error:
                    raise missing_backend(self.folder, error) from error
                self._opened = os.getpid(), fs, path
        return self._opened[1], self._opened[2]

    @property
    def remote(self) -> bool:
        """Whether reading waits for a network, so that it pays to read ahead."""
        return local_path(self.folder) is None

    def read(self, wanted: Sequence[Range]) -> list[bytes]:
        """The bytes of each range; raises StoreError where a file is missing, cut or cannot be reached."""
        if not self.remote:
            return [self._read_mapped(*each) for each in wanted]
        return self._fetch(*self._filesystem(), wanted)

    def _read_mapped(self, name: str, start: int, stop: int) -> bytes:
        if name not in self._maps:
            mapped = _map_file(f"{local_path(self.folder)}/{name}")
            if not self._is_current():  # the opened file may be a new one with the name of a removed one
                raise MovedError(f"{self.folder} was written again, and its index changed: open the store again")
            self._maps[name] = mapped
        data = self._maps[name][start:stop]
        return data if len(data) == stop - start else _check_range(data, start, stop, f"{self.folder}/{name}")

    def _fetch(self, fs: Any, folder: str, wanted: Sequence[Range]) -> list[bytes]:
        results: dict[int, bytes] = {}
        for attempt in range(ATTEMPTS):
            missing = [number for number in range(len(wanted)) if number not in results]
            paths = [f"{folder}/{wanted[number][0]}" for number in missing]
            starts, stops = ([wanted[number][k] for number in missing] for k in (1, 2))
            answers = fs.cat_ranges(paths, starts, stops, on_error="return")
            failure = None
            for number, answer in zip(missing, answers, strict=True):
                name, start, stop = wanted[number]
                try:
                    results[number] = _check_range(answer, start, stop, f"{self.folder}/{name}")
                except StoreError as error:
                    failure = error
            if failure is None:
                break
            if attempt == ATTEMPTS - 1 or isinstance(failure.__cause__, FileNotFoundError):
                raise failure
            time.sleep(PAUSE * 2**attempt)
        return [results[number] for number in range(len(wanted))]


def _web_options(url: str) -> dict[str, Any]:
    """The options of fsspec for a web server that does not answer, for which aiohttp waits 5 minutes."""
    if not is_plain_web(url):
        return {}
    from aiohttp import ClientTimeout

    from ecd_data.io.web_files import CONNECT_SECONDS, READ_SECONDS

    return {"client_kwargs": {"timeout": ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)}}


def _map_file(path: str) -> mmap.mmap:
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise MovedError(f"{path} is missing or empty; restore it or make it again") from error
    if hasattr(mmap, "MADV_RANDOM"):  # otherwise the system reads many pages ahead of each small range
        mapped.madvise(mmap.MADV_RANDOM)
    return mapped


def _check_range(answer: bytes | Exception, start: int, stop: int, name: str) -> bytes:
    """The bytes of a range; raises StoreError where they are missing or incomplete."""
    if isinstance(answer, FileNotFoundError):
        raise MovedError(f"{name} is missing; restore it or make it again") from answer
    if isinstance(answer, Exception):
        raise StoreError(f"{name} cannot be read ({answer or type(answer).__name__}): check the URL") from answer
    if len(answer) > stop - start:  # a web server without ranges sends the whole file
        answer = answer[start:stop]
    if len(answer) != stop - start:
        raise MovedError(f"{name} is cut; restore it or make it again")
    return answer
