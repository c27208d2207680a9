"""The meaning of a web server's answer: a file, a reason to try again, or a final failure."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any

import requests
import urllib3

from ecd_data.errors import EcdError

LONGEST_RETRY_AFTER = 900.0  # seconds; a server that asks for a longer pause is asked again in another run
RETRY_STATUSES = (408, 425, 429, 500, 502, 503, 504)  # the server is busy or fails for the moment
TITLE = re.compile(rb"<title[^>]*>([^<]{1,80})", re.IGNORECASE)
GZIP = b"\x1f\x8b"  # first bytes of a file in gzip, which some servers declare as text/html
CONNECTION_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    HTTPException,
    ConnectionError,
    TimeoutError,
)


class TransferError(EcdError):
    """A file that could not be downloaded; the message says why in one sentence."""


class UnavailableError(TransferError):
    """The server or the connection fails, whichever the file; a later run may succeed."""


class WrongContentError(TransferError):
    """The server sent something other than the file, such as a web page."""


class RetryableError(Exception):
    """A failure after which the download is tried again; `pause` is the seconds that the server asked for, if any."""

    def __init__(self, what: str, pause: float | None = None) -> None:
        super().__init__(what)
        self.pause = pause


def content_length(response: requests.Response) -> int | None:
    """The length in bytes that the server states for an answer; None if it states none."""
    stated = response.headers.get("Content-Length", "")
    return int(stated) if stated.isdigit() else None


def raise_for_status(response: requests.Response, url: str) -> None:
    """Raise the error that fits the status of an answer without a file: to try again, or final."""
    status = response.status_code
    if status in (200, 206, 304, 416):
        return
    if status in RETRY_STATUSES:
        pause = _retry_after(response.headers.get("Retry-After"))
        if pause is not None and pause > LONGEST_RETRY_AFTER:
            raise UnavailableError(
                f"{url}: the server asks to come back in {pause / 60:.0f} minutes: run it again then"
            )
        raise RetryableError(f"the server answers {status} {response.reason}", pause)
    if status in (404, 410):
        raise TransferError(f"{url} does not exist on the server ({status}): it was removed, or the URL changed")
    raise TransferError(f"{url}: the server refuses it ({status} {response.reason})")


def refuse_web_page(response: requests.Response, first: bytes) -> None:
    """Raise WrongContentError if the first bytes of an answer with status 200 are those of a web page."""
    html = response.headers.get("Content-Type", "").startswith("text/html") and not first.startswith(GZIP)
    if html or first.lstrip()[:1] == b"<":
        title = TITLE.search(first)
        named = f" ({title[1].decode(errors='replace').strip()})" if title else ""
        raise WrongContentError(f"{response.url} is a web page{named} and not the file")


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


def describe_failure(error: Any, stall: float | None = None) -> str:
    """The reason of a connection error in a few words; `stall` is the longest silence in seconds."""
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
