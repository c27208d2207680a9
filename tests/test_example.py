"""The promise of the README's first command, kept in full: minutes on two cores."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_example_halves_the_error_of_superposed_atoms_within_ten_minutes(tmp_path):
    started = time.monotonic()
    command = [sys.executable, ROOT / "examples/train_chargE3net.py", "--out", tmp_path / "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 600
    results = {part: json.loads((tmp_path / f"run/{part}.json").read_text()) for part in PARTS}
    geometries = results["test_geometries"]
    assert geometries["summary"]["mean_percent"] < 0.5 * geometries["superposed_atoms"]["summary"]["mean_percent"]
    for part, count in PARTS.items():
        summary = results[part]["summary"]
        assert summary["count"] == count
        assert summary["low_percent"] < summary["mean_percent"] < summary["high_percent"]


PARTS = {"test_geometries": 15, "test_compositions": 38}
