"""One file over HTTP: retries that wait politely, stalls that are noticed, and going on where a transfer broke off."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import requests
import urllib3

import ecd_data
from ecd_data.errors import EcdError

STEP = 1 << 18
PROGRESS = 1 << 20  # bytes after which a transfer that breaks off was worth it and its next try is a first one
MAX_BODY = 1 << 33
LONGEST_PAUSE = 60.0
LONGEST_WISH = 900.0  # Retry-After beyond which it is better to come back another day
BUSY = (408, 425, 429, 500, 502, 503, 504)
TITLE = re.compile(rb"<title[^>]*>([^<]{1,80})", re.IGNORECASE)
GZIP = b"\x1f\x8b"  # which some servers call text/html
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, ConnectionError, TimeoutError)


class TransferError(EcdError):
    """A file that the server does not give, as one sentence."""


class Unavailable(TransferError):
    """The server or the way to it fails, whatever the file: another time may do."""


class WrongContent(TransferError):
    """What came is not the file, or not as it should be."""


class Stopped(Exception):
    """The run ends: what has come so far of the file stays for the next one."""


class _Broken(Exception):
    """A try that failed and may be repeated, after a pause that the server may have asked for."""

    def __init__(self, what: str, pause: float | None = None) -> None:
        super().__init__(what)
        self.pause = pause


@dataclass(frozen=True)
class Patience:
    """Tries without progress before a file is given up, the first pause and the silence that is a stall, in seconds."""

    retries: int = 6
    pause: float = 1.0
    stall: float = 30.0


@dataclass(frozen=True)
class Version:
    """What a server says of a file, by which a change is noticed."""

    etag: str | None = None
    modified: str | None = None

    @property
    def validator(self) -> str | None:
        """What If-Range takes: a strong ETag, else the date."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.modified


@dataclass(frozen=True)
class Body:
    """A file that has come whole."""

    path: Path
    size: int
    sha256: str
    version: Version


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
            before = _size(spool)
            tries += 1
            try:
                return self._try(url, spool)
            except _Broken as error:
                failures = 1 if _size(spool) - before >= PROGRESS else failures + 1
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
            _refuse(response, url)
        except _Broken as error:
            raise Unavailable(f"{url}: {error}") from error
        except BROKEN as error:
            raise Unavailable(f"{url}: {_reason(error)}") from error
        return _stated_size(response)

    def renewed(self, url: str, spool: Path, version: Version) -> Body | None:
        """The file at `url`, None where the server says that it is still this version; raises TransferError."""
        conditions = {"If-None-Match": version.etag, "If-Modified-Since": None if version.etag else version.modified}
        asked = {key: value for key, value in conditions.items() if value}
        try:
            with self._get(url, asked) as response:
                if asked and response.status_code == 304:
                    return None
        except _Broken:  # the download tries again
            pass
        discard(spool)
        return self.download(url, spool)

    def _get(self, url: str, headers: dict[str, str]) -> requests.Response:
        self._courtesy.wait()
        try:
            response = self._session.get(url, headers=headers, stream=True, timeout=self._patience.stall)
        except BROKEN as error:
            raise _Broken(_reason(error)) from error
        try:
            _refuse(response, url)
        except BaseException:
            response.close()
            raise
        return response

    def _try(self, url: str, spool: Path) -> Body:
        partial = _Partial.of(spool)
        with self._get(url, partial.conditions(url)) as response:
            if _is_whole(response, spool):
                return _body(spool, partial.version)
            version = Version(response.headers.get("ETag"), response.headers.get("Last-Modified"))
            start = _start(response, partial, version)
            if start is None:
                partial.remove()
                raise _Broken("the file changed on the server while it came")
            stated = _stated_size(response)
            total = None if stated is None else start + stated
            if total is not None and total > MAX_BODY:
                raise WrongContent(f"{url} is {total / 1e9:.0f} GB, more than any density")
            if not start:
                partial.begin(url, version)
            self._receive(response, spool, start, total)
        return _body(spool, version)

    def _receive(self, response: requests.Response, spool: Path, start: int, total: int | None) -> None:
        """Append what comes to the spool; raises _Broken where it ends early."""
        size = start
        with spool.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            while chunk := self._next(response):
                self._courtesy.go_on()
                if not size:
                    _refuse_page(response, chunk)
                file.write(chunk)
                file.flush()  # what came before a kill is there for the next run
                size += len(chunk)
                self._came(len(chunk))
                if size > MAX_BODY:
                    raise WrongContent(f"{response.url} does not end within {MAX_BODY / 1e9:.0f} GB")
        if not size or (total is not None and size != total):
            raise _Broken(f"it ended after {size:,} of {'some' if total is None else f'{total:,}'} bytes")

    def _next(self, response: requests.Response) -> bytes:
        try:
            chunk: bytes = response.raw.read1(STEP, decode_content=False)
        except BROKEN as error:
            raise _Broken(_reason(error, self._patience.stall)) from error
        return chunk


@dataclass(frozen=True)
class _Partial:
    """What a spool holds of a file, with the server's words on it beside it."""

    spool: Path
    url: str | None = None
    version: Version = Version()

    @classmethod
    def of(cls, spool: Path) -> _Partial:
        try:
            record = json.loads(_note(spool).read_text(encoding="utf-8"))
            return cls(spool, record["url"], Version(record["etag"], record["modified"]))
        except (OSError, ValueError, LookupError, TypeError):
            return cls(spool)

    def conditions(self, url: str) -> dict[str, str]:
        """The headers that ask for the rest, if the file is still the same; none to ask for all of it."""
        size, validator = _size(self.spool), self.version.validator
        if not size or not validator or url != self.url:
            return {}
        return {"Range": f"bytes={size}-", "If-Range": validator}

    def begin(self, url: str, version: Version) -> None:
        record = {"url": url, **asdict(version)}
        self.spool.unlink(missing_ok=True)
        _note(self.spool).write_text(json.dumps(record), encoding="utf-8")

    def remove(self) -> None:
        discard(self.spool)


def discard(spool: Path) -> None:
    """Remove what came of a file, and the note beside it."""
    spool.unlink(missing_ok=True)
    _note(spool).unlink(missing_ok=True)


def _body(spool: Path, version: Version) -> Body:
    with spool.open("rb") as file:
        return Body(spool, _size(spool), hashlib.file_digest(file, "sha256").hexdigest(), version)


def _note(spool: Path) -> Path:
    return spool.with_name(spool.name + ".version")


def _size(spool: Path) -> int:
    try:
        return spool.stat().st_size
    except FileNotFoundError:
        return 0


def _start(response: requests.Response, partial: _Partial, version: Version) -> int | None:
    """Where the body begins in the file: 0, or the size of the part that is here; None where that part is of no use."""
    if response.status_code == 200:
        return 0
    size = _size(partial.spool)
    ranged = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    same = version.etag in (None, partial.version.etag) and version.modified in (None, partial.version.modified)
    return size if response.status_code == 206 and ranged and int(ranged[1]) == size and same else None


def _is_whole(response: requests.Response, spool: Path) -> bool:
    """Whether nothing is left to ask for: a run ended between the last byte and its use."""
    return response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{_size(spool)}"


def _stated_size(response: requests.Response) -> int | None:
    stated = response.headers.get("Content-Length", "")
    return int(stated) if stated.isdigit() else None


def _refuse(response: requests.Response, url: str) -> None:
    """Raise what an answer that is no file means."""
    status = response.status_code
    if status in (200, 206, 304, 416):
        return
    if status in BUSY:
        wish = _retry_after(response.headers.get("Retry-After"))
        if wish is not None and wish > LONGEST_WISH:
            raise Unavailable(f"{url}: the server asks to come back in {wish / 60:.0f} minutes: run it again then")
        raise _Broken(f"the server answers {status} {response.reason}", wish)
    if status in (404, 410):
        raise TransferError(f"{url} does not exist on the server ({status}): it was removed, or the URL changed")
    raise TransferError(f"{url}: the server refuses it ({status} {response.reason})")


def _refuse_page(response: requests.Response, first: bytes) -> None:
    """Raise WrongContent where a web page comes with status 200."""
    html = response.headers.get("Content-Type", "").startswith("text/html") and not first.startswith(GZIP)
    if html or first.lstrip()[:1] == b"<":
        title = TITLE.search(first)
        named = f" ({title[1].decode(errors='replace').strip()})" if title else ""
        raise WrongContent(f"{response.url} is a web page{named} and not the file")


def _retry_after(stated: str | None) -> float | None:
    """The seconds of a Retry-After header, which are a number or a date."""
    if not stated:
        return None
    try:
        return max(0.0, float(stated))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(stated).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _reason(error: Any, stall: float | None = None) -> str:
    """What went wrong on the way, in a few words."""
    text = f"{type(error).__name__} {error}"
    if "timed out" in text.lower() or "timeout" in text.lower():
        return f"no byte came for {stall:g} s" if stall else "the server does not answer in time"
    if "NameResolution" in text or "getaddrinfo" in text:
        return "the server's name is not known here"
    if "refused" in text:
        return "the server refuses connections"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not accepted"
    return "the connection broke off"


def _generator(seed: int, url: str) -> np.random.Generator:
    digest = int.from_bytes(hashlib.sha256(url.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, digest])
