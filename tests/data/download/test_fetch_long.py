"""Five hundred files from a server of which every fifth answer is wrong, with kill -9 in between: nothing is lost.

`pytest -m slow -s tests/data/download/test_fetch_long.py` prints the figures.
"""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Store, open_store
from ecd_data.download.journal import fetch_status
from ecd_data.download.plan import plan_fetch
from tests.data.bad_server import FAULTS, BadServer, bad_server
from tests.data.download.conftest import REAL, chgcar, packed

FILES, SHARE, KILLS = 500, 0.2, 3


def real_bodies(shared: Path) -> list[bytes]:
    """Archives of embedded densities, and of VASP's own CHGCARs with spin and augmentation."""
    store = open_store("hse")
    names = ("Al_atomate", "LiH_scan", "pmg_spin")
    texts = [gzip.decompress((shared / "real" / f"{name}.CHGCAR.gz").read_bytes()) for name in names]
    return [packed(text) for text in [*texts, *(chgcar(store[name]) for name in REAL.values())]]


class Unreliable(dict[str, list[str]]):
    """The faults of every request, drawn as it comes from a generator with a seed."""

    def __init__(self) -> None:
        self.rng, self.count = np.random.default_rng(0), 0

    def __getitem__(self, path: str) -> list[str]:
        if self.rng.random() >= SHARE:
            return []
        self.count += 1
        return [str(self.rng.choice(FAULTS))]


def command(server: BadServer, dest: Path, workers: int) -> list[str]:
    options = ["--mirror", server.url, "--stall", "0.3", "--pause", "0.02", "--limit", str(FILES), "-q"]
    options += ["--workers", str(workers)]
    return [sys.executable, "-m", "ecd_models.cli", "fetch", *options, "hmat_*", str(dest)]


@pytest.mark.slow
def test_five_hundred_files_from_an_unreliable_server(shared, tmp_path):
    plan, bodies = plan_fetch("hmat_*", limit=FILES), real_bodies(shared)
    content = {id: bodies[i % len(bodies)] for i, id in enumerate(plan.ids)}
    rng, began, killed, runs = np.random.default_rng(1), time.monotonic(), 0, 0
    with bad_server() as server:
        server.files = {f"/base/pbe/{id}.chgcar.tar.gz": body for id, body in content.items()}
        server.faults = faults = Unreliable()  # type: ignore[assignment]
        dest = tmp_path / "a.ecd"
        while runs < KILLS + 6:
            runs += 1
            process = subprocess.Popen(
                command(server, dest, 1 + runs % 2), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            if killed < KILLS:
                try:
                    process.wait(timeout=8 + 6 * rng.random())
                except subprocess.TimeoutExpired:
                    killed += 1
                    process.kill()
            out, _ = process.communicate(timeout=600)
            assert "Traceback" not in out
            print(f"run {runs}: exit {process.returncode}; {out.strip().splitlines()[-1:]}")
            if process.returncode == 0:
                break
        seconds = time.monotonic() - began
        store = Store(dest)
        assert sorted(store.ids) == sorted(plan.ids)
        expected = {id: hashlib.sha256(body).hexdigest() for id, body in content.items()}
        assert dict(zip(store.index["id"], store.index["source_sha256"], strict=True)) == expected
        for id in store:
            _ = store[id]
        status = fetch_status(dest)
        assert (status.done, len(status.failed), len(status.left)) == (FILES, 0, 0)
        assert [p.name for p in (dest / ".fetch").iterdir()] == ["journal.jsonl"]
        wanted = sum(map(len, content.values()))
        assert killed >= 1
        print(
            f"{FILES} files, {wanted / 1e6:.0f} MB; {len(server.paths())} requests, {faults.count} answered wrongly, "
            f"{server.answers[206]} continued inside a file; {killed} times kill -9; {server.sent / 1e6:.0f} MB sent; "
            f"{seconds:.0f} s, {wanted / 1e6 / seconds:.1f} MB/s; store {store.index['length'].sum() / 1e6:.1f} MB"
        )
