"""A web server on 127.0.0.1 that serves files in memory and misbehaves as it is told, for the tests of `fetch`."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("drop", "stall", "busy", "cut", "page", "reset")


class BadServer(ThreadingHTTPServer):
    """files: path -> content; faults: path -> what to do wrong, one request after the other; then all is well."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: defaultdict[str, list[str]] = defaultdict(list)
        self.requests: list[tuple[str, str, str | None]] = []
        self.answers: Counter[int] = Counter()
        self.times: list[float] = []
        self.ranges, self.etags = True, True
        self.delay, self.retry_after = 0.0, "0"
        self.rates: dict[str, float] = {}
        self.open_now = self.open_most = 0
        self.sent = 0
        self.closing = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/base"

    def paths(self, method: str = "GET") -> list[str]:
        return [path for m, path, _ in self.requests if m == method]

    def handle_error(self, *_: object) -> None:
        """Clients that leave are part of the test."""


class _Handler(BaseHTTPRequestHandler):
    server: BadServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.open_now += 1
            self.server.open_most = max(self.server.open_most, self.server.open_now)
        try:
            self._answer(body=True)
        finally:
            with self.server.lock:
                self.server.open_now -= 1

    def _answer(self, body: bool) -> None:
        server = self.server
        with server.lock:
            server.requests.append((self.command, self.path, self.headers.get("Range")))
            server.times.append(time.monotonic())
            due = server.faults[self.path] if body else []
            fault = due.pop(0) if due else ""
        server.closing.wait(server.delay)
        data = server.files.get(self.path)
        if data is None:
            return self._send(404, b"gone", {})
        if fault == "busy":
            return self._send(503, b"busy", {"Retry-After": server.retry_after})
        if fault == "error":
            return self._send(500, b"trouble", {})
        if fault == "page":
            page = b"<!DOCTYPE html><html><head><title>Maintenance</title></head></html>"
            return self._send(200, page, {"Content-Type": "text/html"})
        if fault == "reset":
            self.close_connection = True
            return None
        self._file(data, fault)
        return None

    def _file(self, data: bytes, fault: str) -> None:
        server = self.server
        if fault == "cut":  # a proxy that cuts and states the length of what is left
            data = data[: len(data) // 2]
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {"ETag": etag} if server.etags else {}
        if server.etags and self.headers.get("If-None-Match") == etag:
            return self._send(304, b"", headers)
        wanted = self.headers.get("Range")
        if wanted and server.ranges and self.headers.get("If-Range") == etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                return self._send(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self._send(206, data[start:], headers, fault)
        return self._send(200, data, headers, fault)

    def _send(self, status: int, data: bytes, headers: dict[str, str], fault: str = "") -> None:
        server = self.server
        server.answers[status] += 1
        self.send_response(status)
        for name, value in {"Content-Type": "application/gzip", **headers}.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD" or status == 304:
            return
        end = len(data) // 2 if fault in ("drop", "stall") else len(data)
        for piece in self._pieces(data[:end]):
            self.wfile.write(piece)
            server.sent += len(piece)
        if fault in ("drop", "stall"):
            self.wfile.flush()
            if fault == "stall":
                server.closing.wait(5.0)
            self.close_connection = True

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        rate = self.server.rates.get(self.path, 0.0)
        if not rate:
            yield data
            return
        step = max(1, int(rate / 50))
        for start in range(0, len(data), step):
            self.server.closing.wait(0.02)
            yield data[start : start + step]


@contextmanager
def bad_server() -> Iterator[BadServer]:
    """A running BadServer, which ends with the block."""
    server = BadServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
