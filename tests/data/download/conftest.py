"""A server with five files of the release that can misbehave, and downloads from it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from ecd_data import Density, Store, fetch, open_store
from ecd_data.download.fetch_release import FetchReport
from ecd_data.download.transfer import Patience
from ecd_data.formats import find_renderer
from tests.data.bad_server import BadServer, bad_server

QUICK = Patience(retries=3, pause=0.01, stall=1.0)  # longer than the server waits for a processor on a busy machine


REAL = {
    "icsd-159373-Mg1O1": "MgO_rs",
    "icsd-168789-H1Li1": "LiH_rs",
    "icsd-671887-Al1P1": "AlP_zb",
    "icsd-182731-B1N1": "BN_zb",
    "cod-5900000-C1": "C_diamond",
}


IDS = list(REAL)


def packed(text: bytes, name: str = "CHGCAR", **others: bytes) -> bytes:
    """A .tar.gz as the release has them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for member, content in {name: text, **others}.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def chgcar(rho: Density) -> bytes:
    return find_renderer("CHGCAR")(rho)


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    """The release's files of five crystals, with the embedded sample's densities in them."""
    store = open_store("hse")
    return {id: packed(chgcar(store[name]), f"{id}.chgcar") for id, name in REAL.items()}


def path_of(id: str) -> str:
    return f"/base/hse/{id}.chgcar.tar.gz"


@pytest.fixture
def server(bodies):
    with bad_server() as running:
        running.files = {path_of(id): body for id, body in bodies.items()}
        yield running


def get(server: BadServer, dest: Path, what=IDS, **options) -> FetchReport:
    options = {"set": "hse", "patience": QUICK, "mirror": server.url} | options
    return fetch(what, dest, **options)


def assert_complete(dest: Path, bodies: dict[str, bytes], ids=IDS) -> None:
    """The store has these crystals, with the hashes of their files, and nothing else is left behind."""
    store = Store(dest)
    assert sorted(store.ids) == sorted(ids)
    for id in ids:
        assert store.row(id)["source_sha256"] == hashlib.sha256(bodies[id]).hexdigest()
        assert store.row(id)["functional"] == "HSE06"
        _ = store[id]
    assert [p.name for p in (dest / ".fetch").iterdir()] == ["journal.jsonl"]
