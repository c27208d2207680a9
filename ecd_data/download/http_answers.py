"""What a web server's answer means: a file, a reason to try again, or none to hope for it."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any

import requests
import urllib3

from ecd_data.errors import EcdError

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


class Broken(Exception):
    """A try that failed and may be repeated, after a pause that the server may have asked for."""

    def __init__(self, what: str, pause: float | None = None) -> None:
        super().__init__(what)
        self.pause = pause


def stated_size(response: requests.Response) -> int | None:
    stated = response.headers.get("Content-Length", "")
    return int(stated) if stated.isdigit() else None


def refuse(response: requests.Response, url: str) -> None:
    """Raise what an answer that is no file means."""
    status = response.status_code
    if status in (200, 206, 304, 416):
        return
    if status in BUSY:
        wish = _retry_after(response.headers.get("Retry-After"))
        if wish is not None and wish > LONGEST_WISH:
            raise Unavailable(f"{url}: the server asks to come back in {wish / 60:.0f} minutes: run it again then")
        raise Broken(f"the server answers {status} {response.reason}", wish)
    if status in (404, 410):
        raise TransferError(f"{url} does not exist on the server ({status}): it was removed, or the URL changed")
    raise TransferError(f"{url}: the server refuses it ({status} {response.reason})")


def refuse_page(response: requests.Response, first: bytes) -> None:
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


def reason(error: Any, stall: float | None = None) -> str:
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
