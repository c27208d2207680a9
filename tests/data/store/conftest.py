"""A small store, its content, and a server that counts range requests."""

from __future__ import annotations

import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from ecd_data import Density, Store
from ecd_data.store import StoreWriter
from tests.conftest import smooth_density

IDS = ["MgO_rs", "NaCl_rs", "Si_diamond"]


def densities() -> dict[str, Density]:
    return {id: smooth_density(seed=i, spin=i == 1) for i, id in enumerate(IDS)}


@pytest.fixture
def path(tmp_path) -> Path:
    with StoreWriter(tmp_path / "my.ecd") as writer:
        for id, rho in densities().items():
            writer.add(id, rho)
    return tmp_path / "my.ecd"


def part_of(path: Path) -> Path:
    (part,) = (path / "parts").glob("*.zip")
    return part


def contents(path: Path) -> dict[str, tuple]:
    """What a store holds, whatever part it lies in."""
    store = Store(path)
    return {id: (store.row(id)["sha256"], hashlib.sha256(store[id].values.tobytes()).hexdigest()) for id in store}


def one_sentence(error: pytest.ExceptionInfo, *words: object) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 400
    for word in words:
        assert str(word) in message


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files with Range, as object stores serve them, and a list of what was asked."""

    asked: list[tuple[str, str | None]] = []  # noqa: RUF012
    ranges = True

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        Handler.asked.append((Path(self.path).name, wanted))
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            return self.send_error(404)
        data = file.read_bytes()
        self.send_response(206 if wanted and Handler.ranges else 200)
        if wanted and Handler.ranges:
            start, end = wanted.removeprefix("bytes=").split("-")
            size, data = len(data), data[int(start) : int(end) + 1]
            self.send_header("Content-Range", f"bytes {start}-{int(start) + len(data) - 1}/{size}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(path):
    handler = lambda *args: Handler(*args, directory=str(path.parent))  # noqa: E731
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        Handler.asked, Handler.ranges = [], True
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
