"""Files on a web server, read by range requests that are repeated when the server fails for a moment."""

from __future__ import annotations

import io
import os
import re
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.util import Retry, Timeout, make_headers

from ecd_data.errors import StoreError
from ecd_data.io.network import refuse_network

RANGE_BEYOND_END = 416  # HTTP status: the range begins after the end of the file
RETRY_STATUS = (408, 425, 429, 500, 502, 503, 504)
RETRIES = Retry(
    4, connect=2, backoff_factor=0.2, status_forcelist=RETRY_STATUS, raise_on_status=False, retry_after_max=60
)
CONNECT_SECONDS, READ_SECONDS = 20.0, 60.0  # that a server may leave a request without an answer
TIMEOUT = Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
CONNECTIONS = 8  # that are kept open to a server


def read_web(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file from `start` up to `end`, or all where the server does not support ranges.

    Raises
    ------
    FileNotFoundError : there is no such file.
    StoreError : the server cannot be reached or refuses.
    """
    if start is None and end is None:
        return _request(url, {}).data
    answer = _request(url, {"Range": f"bytes={start or 0}-{'' if end is None else end - 1}"})
    return b"" if answer.status == RANGE_BEYOND_END else answer.data


def open_web(url: str, small: int) -> WebFile | bytes:
    """An open file of which ranges can be read; its bytes where it has at most `small`, or the server has no ranges."""
    answer = _request(url, {"Range": f"bytes=0-{max(1, small) - 1}", "Cache-Control": "no-cache"})
    if answer.status != 206:
        return b"" if answer.status == RANGE_BEYOND_END else answer.data
    stated = re.fullmatch(r"bytes 0-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    if stated is None:
        return read_web(url)
    size = int(stated[1])
    return answer.data if len(answer.data) == size else WebFile(url, size, answer.data, _file_state(answer))


def _file_state(answer: urllib3.BaseHTTPResponse) -> tuple[str, str | None]:
    """The size of a file and its tag or time of change: they differ after the file is replaced on the server."""
    size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return size, answer.headers.get("ETag") or answer.headers.get("Last-Modified")


class WebFile(io.RawIOBase):
    """A file of `size` bytes on a web server whose first bytes (`head`) are read already; a read requests the rest.

    A read raises StoreError where the file was replaced on the server, so that its state is not `state` any more.
    """

    def __init__(self, url: str, size: int, head: bytes, state: tuple[str, str | None]) -> None:
        self._url, self._size, self._head, self._state = url, size, head, state
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        data = self._head[self._at : stop]
        if (rest := self._at + len(data)) < stop:
            answer = _request(self._url, {"Range": f"bytes={rest}-{stop - 1}"})
            data += answer.data if _file_state(answer) == self._state else b""
        if len(data) != max(0, stop - self._at):
            raise StoreError(f"{self._url} was replaced while it was read: open the store again")
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _request(url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
    """The server's response to a GET request, with its body; raises OfflineError where the network is forbidden."""
    refuse_network(url)
    user = unquote(urlsplit(url).netloc.rpartition("@")[0])
    headers |= {"Accept-Encoding": "identity"} | (make_headers(basic_auth=user) if user else {})
    try:
        answer = _connections(os.getpid(), _proxy(url)).request("GET", url, headers=headers)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise StoreError(f"{url} cannot be read ({' '.join(str(reason).split())}): check the URL") from error
    if answer.status in (404, 410):
        raise FileNotFoundError(url)
    if answer.status not in (200, 206, RANGE_BEYOND_END):
        raise StoreError(f"{url} cannot be read (the server answers {answer.status} {answer.reason}): check the URL")
    return answer


@lru_cache(maxsize=8)
def _connections(process: int, proxy: str | None) -> urllib3.PoolManager:
    """The open connections of a process; a forked process must have its own."""
    options: dict[str, Any] = {"maxsize": CONNECTIONS, "retries": RETRIES, "timeout": TIMEOUT}
    return urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)


def _proxy(url: str) -> str | None:
    """The proxy that the environment variables set for a URL; None without one."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass

    place = urlsplit(url)
    return None if proxy_bypass(place.hostname or "") else getproxies().get(place.scheme)
