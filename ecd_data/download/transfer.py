"""One file over HTTP: retries that wait politely, stalls that are noticed, and going on where a transfer broke off."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests

import ecd_data
from ecd_data.download.http_answers import (
    BROKEN,
    Broken,
    Unavailable,
    WrongContent,
    reason,
    refuse,
    refuse_page,
    stated_size,
)
from ecd_data.download.partial_files import (
    PROGRESS,
    Body,
    Partial,
    Version,
    body_in,
    discard,
    is_whole,
    size_of,
    start_of,
)

STEP = 1 << 18
MAX_BODY = 1 << 33
LONGEST_PAUSE = 60.0


class Stopped(Exception):
    """The run ends: what has come so far of the file stays for the next one."""


@dataclass(frozen=True)
class Patience:
    """Tries without progress before a file is given up, the first pause and the silence that is a stall, in seconds."""

    retries: int = 6
    pause: float = 1.0
    stall: float = 30.0


class Courtesy:
    """What all connections to a server share: the time before which it wants no request, and the end of the run."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._not_before = 0.0

    def postpone(self, seconds: float) -> None:
        """Let no connection ask anything for so long."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def wait(self, seconds: float = 0.0) -> None:
        """Sleep, and until the server may be asked; raises Stopped where the run ends meanwhile."""
        until = time.monotonic() + seconds
        while (left := max(until, self._not_before) - time.monotonic()) > 0:
            self.stopping.wait(left)
            self.go_on()
        self.go_on()

    def go_on(self) -> None:
        """Raise Stopped where the run ends."""
        if self.stopping.is_set():
            raise Stopped


class Connection:
    """Brings one file after the other; proxies and certificates are those of the environment, as requests has them."""

    def __init__(self, patience: Patience, courtesy: Courtesy, seed: int, came: Callable[[int], None]) -> None:
        self._patience, self._courtesy, self._seed, self._came = patience, courtesy, seed, came
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": f"ecd-data/{ecd_data.__version__}", "Accept-Encoding": "identity"})

    def close(self) -> None:
        """End the connection."""
        self._session.close()

    def download(self, url: str, spool: Path) -> Body:
        """The file at `url`, in `spool`, continuing what is there where the server still has the same file.

        Raises TransferError: Unavailable after all retries, WrongContent for a web page, else what the server refuses.
        """
        rng = _generator(self._seed, url)
        tries = failures = 0
        while True:
            before = size_of(spool)
            tries += 1
            try:
                return self._try(url, spool)
            except Broken as error:
                failures = 1 if size_of(spool) - before >= PROGRESS else failures + 1
                if failures > self._patience.retries:
                    raise Unavailable(f"{url}: {error}, in {tries} tries: run the same command again later") from error
                pause = min(self._patience.pause * 2.0 ** (failures - 1), LONGEST_PAUSE) * rng.uniform(0.5, 1.5)
                if error.pause is not None:
                    self._courtesy.postpone(error.pause)
                self._courtesy.wait(pause if error.pause is None else 0.0)

    def head(self, url: str) -> int | None:
        """The size that the server states for a file, None where it states none; raises TransferError."""
        self._courtesy.wait()
        try:
            response = self._session.head(url, timeout=self._patience.stall, allow_redirects=True)
            refuse(response, url)
        except Broken as error:
            raise Unavailable(f"{url}: {error}") from error
        except BROKEN as error:
            raise Unavailable(f"{url}: {reason(error)}") from error
        return stated_size(response)

    def renewed(self, url: str, spool: Path, version: Version) -> Body | None:
        """The file at `url`, None where the server says that it is still this version; raises TransferError."""
        conditions = {"If-None-Match": version.etag, "If-Modified-Since": None if version.etag else version.modified}
        asked = {key: value for key, value in conditions.items() if value}
        try:
            with self._get(url, asked) as response:
                if asked and response.status_code == 304:
                    return None
        except Broken:  # the download tries again
            pass
        discard(spool)
        return self.download(url, spool)

    def _get(self, url: str, headers: dict[str, str]) -> requests.Response:
        self._courtesy.wait()
        try:
            response = self._session.get(url, headers=headers, stream=True, timeout=self._patience.stall)
        except BROKEN as error:
            raise Broken(reason(error)) from error
        try:
            refuse(response, url)
        except BaseException:
            response.close()
            raise
        return response

    def _try(self, url: str, spool: Path) -> Body:
        partial = Partial.of(spool)
        with self._get(url, partial.conditions(url)) as response:
            if is_whole(response, spool):
                return body_in(spool, partial.version)
            version = Version(response.headers.get("ETag"), response.headers.get("Last-Modified"))
            start = start_of(response, partial, version)
            if start is None:
                partial.remove()
                raise Broken("the file changed on the server while it came")
            stated = stated_size(response)
            total = None if stated is None else start + stated
            if total is not None and total > MAX_BODY:
                raise WrongContent(f"{url} is {total / 1e9:.0f} GB, more than any density")
            if not start:
                partial.begin(url, version)
            self._receive(response, spool, start, total)
        return body_in(spool, version)

    def _receive(self, response: requests.Response, spool: Path, start: int, total: int | None) -> None:
        """Append what comes to the spool; raises Broken where it ends early."""
        size = start
        with spool.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            while chunk := self._next(response):
                self._courtesy.go_on()
                if not size:
                    refuse_page(response, chunk)
                file.write(chunk)
                file.flush()  # what came before a kill is there for the next run
                size += len(chunk)
                self._came(len(chunk))
                if size > MAX_BODY:
                    raise WrongContent(f"{response.url} does not end within {MAX_BODY / 1e9:.0f} GB")
        if not size or (total is not None and size != total):
            raise Broken(f"it ended after {size:,} of {'some' if total is None else f'{total:,}'} bytes")

    def _next(self, response: requests.Response) -> bytes:
        try:
            chunk: bytes = response.raw.read1(STEP, decode_content=False)
        except BROKEN as error:
            raise Broken(reason(error, self._patience.stall)) from error
        return chunk


def _generator(seed: int, url: str) -> np.random.Generator:
    digest = int.from_bytes(hashlib.sha256(url.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, digest])
