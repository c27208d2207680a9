"""`ecd fetch`: stops, full disks, and the commands of the documentation."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ecd_models.cli import _run
from tests.data.bad_server import BadServer
from tests.data.download.conftest import IDS, assert_complete, get, path_of

ROOT = Path(__file__).parents[3]


def words(server: BadServer, dest: Path, *more: str) -> list[str]:
    options = ["--set", "hse", "--mirror", server.url, "--stall", "5", "--pause", "0.01", "-q", "--connections", "2"]
    return ["fetch", *options, *more, *IDS, str(dest)]


def once_one_is_done(dest: Path, act: Callable[[], object]) -> None:
    """Call `act` when the journal has a first crystal."""
    journal, until = dest / ".fetch" / "journal.jsonl", time.monotonic() + 60
    while not (journal.exists() and '"done"' in journal.read_text()) and time.monotonic() < until:
        time.sleep(0.01)
    act()


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stop_in_the_middle_loses_nothing(server, bodies, tmp_path, capsys, stop, workers):
    dest, slow = tmp_path / "a.ecd", path_of(IDS[1])
    server.rates[slow] = 2e4 if workers == "1" else 4e3  # under way for longer than all else together
    if stop is signal.SIGKILL:
        process = subprocess.Popen([sys.executable, "-m", "ecd_models.cli", *words(server, dest, "-j", workers)])
        once_one_is_done(dest, process.kill)
        assert process.wait() == -stop
    else:
        threading.Thread(target=once_one_is_done, args=(dest, lambda: os.kill(os.getpid(), stop))).start()
        assert _run(words(server, dest, "-j", workers)) == 130
        assert capsys.readouterr().err.endswith("ecd: interrupted; the same command continues where it stopped\n")
    server.rates.clear()
    asked = len(server.requests)
    report = get(server, dest)
    assert 1 <= len(report.skipped) < 5
    assert {path for _, path, _ in server.requests[asked:]} == {path_of(id) for id in report.added}
    assert {path for _, path, wanted in server.requests[asked:] if wanted} >= {slow}  # goes on inside the file
    assert_complete(dest, bodies)


def test_a_full_disk_is_one_sentence_and_the_same_command_continues(server, bodies, tmp_path, capsys):
    """On a real file system of 160 kB, where the system lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    try:
        assert _run(words(server, disk / "a.ecd")) == 1
        err = capsys.readouterr().err
        assert "free some space" in err
        assert err.count("\n") == 1
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        assert get(server, disk / "a.ecd").failed == {}
        assert_complete(disk / "a.ecd", bodies)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_the_verb(server, tmp_path, capsys):
    common = ["fetch", "--set", "hse", "--mirror", server.url, "-q", "--pause", "0.01"]
    dest = str(tmp_path / "a.ecd")
    assert _run([*common, "--dry-run", *IDS[:2], dest]) == 0
    assert "2 files to fetch" in capsys.readouterr().out
    server.files.pop(path_of(IDS[1]))
    assert _run([*common, *IDS[:2], dest]) == 1
    out, err = capsys.readouterr()
    assert "1 added" in out
    assert "1 failed, 0 left" in out
    assert f"failed: {IDS[1]}: http" in err
    assert _run(["fetch", "--status", dest]) == 1
    assert "1 done" in capsys.readouterr().out
    assert _run(["fetch", dest]) == 2
    assert _run(["fetch", "--status", str(tmp_path)]) == 2


COMMANDS = re.findall(r"^ecd (fetch .*?)(?:  #.*)?$", (ROOT / "docs/fetch.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", [line for line in COMMANDS if "--status" not in line])
def test_the_commands_of_the_documentation_mean_something(line, capsys):
    assert _run([*shlex.split(line), "--dry-run", "--mirror", "http://127.0.0.1:9"]) == 0
    assert "files to fetch" in capsys.readouterr().out


def test_the_same_seed_pauses_alike():
    from ecd_data.download.transfer import _make_generator

    draws = [_make_generator(seed, "http://x/a").uniform(size=3) for seed in (0, 0, 1)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
