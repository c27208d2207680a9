"""Servers on this machine that tests read from: a folder over HTTP with ranges, and S3."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class FolderServer:
    """A folder over HTTP with range requests, from a thread.

    The first `failing` requests for its data get 503, and those for files below `silent` are never answered.
    """

    def __init__(self, folder: Path, failing: int = 0, silent: str = "") -> None:
        self.folder, self.failing, self.silent = folder, failing, silent
        self.requests: list[tuple[str, str | None]] = []
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._started.wait()

    def _run(self) -> None:
        from aiohttp import web

        @web.middleware
        async def noted(request: web.Request, handler: Any) -> web.StreamResponse:
            self.requests.append((request.path, request.headers.get("Range")))
            if self.silent and self.silent in request.path:
                await asyncio.sleep(3600)
            if self.failing and "Range" in request.headers:
                self.failing -= 1
                return web.Response(status=503)
            return await handler(request)

        async def start() -> None:
            app = web.Application(middlewares=[noted])
            app.router.add_static("/", self.folder)
            self._runner = web.AppRunner(app, shutdown_timeout=0.1)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
            self._started.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)


@pytest.fixture
def served() -> Iterator[Callable[..., str]]:
    """A function that serves a folder and gives its URL."""
    servers: list[FolderServer] = []

    def serve(folder: Path, **options: Any) -> str:
        servers.append(FolderServer(folder, **options))
        return servers[-1].url

    yield serve
    for server in servers:
        server.stop()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An s3fs file system with an empty bucket "bucket", that s3:// URLs reach too."""
    s3fs = pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    fs = s3fs.S3FileSystem()
    fs.mkdir("bucket")
    yield fs
    fs.rm("bucket", recursive=True)  # servers of one process share their buckets
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
