"""The download of one file over HTTP: polite retries, a limit on silence, and continuation of broken transfers.

requests, without tenacity or fsspec: the count of retries starts anew after each mebibyte of progress and all
connections share one Retry-After, which tenacity would need as hooks longer than the loop below; fsspec, which reads
stores, has neither If-Range nor undecoded bodies.
"""

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
    CONNECTION_ERRORS,
    RetryableError,
    UnavailableError,
    WrongContentError,
    content_length,
    describe_failure,
    raise_for_status,
    refuse_web_page,
)
from ecd_data.download.partial_files import (
    WORTH_KEEPING,
    Body,
    PartialFile,
    Version,
    file_size,
    find_offset,
    is_complete,
    read_body,
    remove_spool,
)
from ecd_data.io.network import refuse_network

CHUNK_BYTES = 1 << 18  # read at a time: small enough that a stop is noticed soon
MAX_BODY = 1 << 33  # bytes; no density is larger, and a server must not fill the disk
LONGEST_PAUSE = 60.0  # seconds between two tries, before jitter


class StopFetch(Exception):
    """The run ends; the partial file stays for the next run."""


@dataclass(frozen=True)
class Patience:
    """How long a fetch waits for a server.

    Attributes
    ----------
    retries : tries without progress before a file fails.
    pause : seconds before the first retry; doubles with each further one.
    stall : seconds without a byte that break a transfer off.
    """

    retries: int = 6
    pause: float = 1.0
    stall: float = 30.0


class RequestGate:
    """Shared by all connections: the time before which the server wants no request, and the signal to stop."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._not_before = 0.0

    def postpone(self, seconds: float) -> None:
        """Let no connection send a request for so many seconds."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def wait(self, seconds: float = 0.0) -> None:
        """Sleep for so many seconds, longer if requests are postponed; raises StopFetch if the run ends meanwhile."""
        until = time.monotonic() + seconds
        while (left := max(until, self._not_before) - time.monotonic()) > 0:
            self.stopping.wait(left)
            self.raise_if_stopped()
        self.raise_if_stopped()

    def raise_if_stopped(self) -> None:
        """Raise StopFetch if the run ends."""
        if self.stopping.is_set():
            raise StopFetch


class Connection:
    """Downloads one file after the other; proxies and certificates come from the environment, as requests reads it.

    Parameters
    ----------
    patience : retries, pauses and the longest silence.
    gate : shared with the other connections.
    seed : random seed for the retry pauses.
    count_bytes : is called with the number of bytes of each chunk that arrives.
    """

    def __init__(self, patience: Patience, gate: RequestGate, seed: int, count_bytes: Callable[[int], None]) -> None:
        self._patience, self._gate, self._seed, self._count_bytes = patience, gate, seed, count_bytes
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": f"ecd-data/{ecd_data.__version__}", "Accept-Encoding": "identity"})

    def close(self) -> None:
        """End the connection."""
        self._session.close()

    def download(self, url: str, spool: Path) -> Body:
        """The file at `url`, downloaded into `spool`; bytes of the same version that are there already are kept.

        Raises UnavailableError after all retries, WrongContentError for a web page or a file that is too large, and
        TransferError for any other refusal of the server. Raises OfflineError where the network is forbidden.
        """
        refuse_network(url)
        rng = _make_generator(self._seed, url)
        tries = failures = 0
        while True:
            before = file_size(spool)
            tries += 1
            try:
                return self._download_once(url, spool)
            except RetryableError as error:
                failures = 1 if file_size(spool) - before >= WORTH_KEEPING else failures + 1
                if failures > self._patience.retries:
                    raise UnavailableError(
                        f"{url}: {error}, in {tries} tries: run the same command again later"
                    ) from error
                pause = min(self._patience.pause * 2.0 ** (failures - 1), LONGEST_PAUSE) * rng.uniform(0.5, 1.5)
                if error.pause is not None:
                    self._gate.postpone(error.pause)
                self._gate.wait(pause if error.pause is None else 0.0)

    def request_size(self, url: str) -> int | None:
        """The size in bytes that the server states for a file, None if it states none; raises TransferError."""
        refuse_network(url)
        self._gate.wait()
        try:
            response = self._session.head(url, timeout=self._patience.stall, allow_redirects=True)
            raise_for_status(response, url)
        except RetryableError as error:
            raise UnavailableError(f"{url}: {error}") from error
        except CONNECTION_ERRORS as error:
            raise UnavailableError(f"{url}: {describe_failure(error)}") from error
        return content_length(response)

    def download_if_changed(self, url: str, spool: Path, version: Version) -> Body | None:
        """The file at `url`, or None if the server says that it is still this version; raises TransferError."""
        refuse_network(url)
        conditions = {"If-None-Match": version.etag, "If-Modified-Since": None if version.etag else version.modified}
        headers = {key: value for key, value in conditions.items() if value}
        try:
            with self._get(url, headers) as response:
                if headers and response.status_code == 304:
                    return None
        except RetryableError:  # the download below tries again
            pass
        remove_spool(spool)
        return self.download(url, spool)

    def _get(self, url: str, headers: dict[str, str]) -> requests.Response:
        self._gate.wait()
        try:
            response = self._session.get(url, headers=headers, stream=True, timeout=self._patience.stall)
        except CONNECTION_ERRORS as error:
            raise RetryableError(describe_failure(error)) from error
        try:
            raise_for_status(response, url)
        except BaseException:
            response.close()
            raise
        return response

    def _download_once(self, url: str, spool: Path) -> Body:
        partial = PartialFile.load(spool)
        with self._get(url, partial.resume_headers(url)) as response:
            if is_complete(response, spool):
                return read_body(spool, partial.version)
            version = Version(response.headers.get("ETag"), response.headers.get("Last-Modified"))
            start = find_offset(response, partial, version)
            if start is None:
                partial.remove()
                raise RetryableError("the file changed on the server while it came")
            stated = content_length(response)
            total = None if stated is None else start + stated
            if total is not None and total > MAX_BODY:
                raise WrongContentError(f"{url} is {total / 1e9:.0f} GB, more than any density")
            if not start:
                partial.start(url, version)
            self._receive(response, spool, start, total)
        return read_body(spool, version)

    def _receive(self, response: requests.Response, spool: Path, start: int, total: int | None) -> None:
        """Write the answer into the spool from position `start` on; raises RetryableError if it ends early."""
        size = start
        with spool.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            while chunk := self._read_chunk(response):
                self._gate.raise_if_stopped()
                if not size:
                    refuse_web_page(response, chunk)
                file.write(chunk)
                file.flush()  # so that the next run can continue if this process is killed
                size += len(chunk)
                self._count_bytes(len(chunk))
                if size > MAX_BODY:
                    raise WrongContentError(f"{response.url} does not end within {MAX_BODY / 1e9:.0f} GB")
        if not size or (total is not None and size != total):
            raise RetryableError(f"it ended after {size:,} of {'some' if total is None else f'{total:,}'} bytes")

    def _read_chunk(self, response: requests.Response) -> bytes:
        try:
            chunk: bytes = response.raw.read1(CHUNK_BYTES, decode_content=False)
        except CONNECTION_ERRORS as error:
            raise RetryableError(describe_failure(error, self._patience.stall)) from error
        return chunk


def _make_generator(seed: int, url: str) -> np.random.Generator:
    digest = int.from_bytes(hashlib.sha256(url.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, digest])
