"""Conversions that end early: Ctrl-C, kills and full disks; the same call completes the store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Store, check, convert, read, write
from tests.conftest import smooth_density
from tests.data.conversion.conftest import IDS, bytes_of, contents


def test_ctrl_c_keeps_what_was_done_and_a_rerun_continues(files, tmp_path, monkeypatch):
    import ecd_data.conversion.convert_files as module

    calls = []

    def interrupted(file, unit=None):
        calls.append(file)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(file)

    monkeypatch.setattr(module, "read_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(files, tmp_path / "a.ecd")
    assert len(Store(tmp_path / "a.ecd")) == 2
    report = convert(files, tmp_path / "a.ecd")
    assert (len(report.skipped), len(report.added)) == (2, 2)
    convert(files, tmp_path / "whole.ecd")
    assert contents(tmp_path / "a.ecd") == contents(tmp_path / "whole.ecd")


CONVERT = "import sys; from ecd_data import convert; convert(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]))"


def written(store: Path) -> int:
    """How many crystals are in a store or its part under way."""
    journals = [p.read_bytes().count(b"\n") for p in (store / "parts").glob(".part-*.jsonl")]
    return sum(journals) + (len(Store(store)) if (store / "index.parquet").exists() else 0)


def stopped_at_random(many: Path, store: Path, stop: int, workers: int, wait: float) -> bool:
    """Whether a conversion was ended by a signal `wait` seconds after it wrote something; the store must be sound."""
    before = written(store)
    command = [sys.executable, "-c", CONVERT, str(many), str(store), str(workers)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and written(store) <= before:
        time.sleep(0.001)
    time.sleep(wait)
    process.send_signal(stop)
    ended = process.wait() != 0
    if (store / "index.parquet").exists():
        assert all(Store(store)[id].shape == (8, 9, 7) for id in Store(store))
    return ended


@pytest.mark.parametrize(("stop", "workers"), [(signal.SIGKILL, 2), (signal.SIGINT, 1)])
def test_a_stop_at_any_moment_leaves_a_store_that_a_rerun_completes(many, tmp_path, stop, workers):
    convert(many, tmp_path / "whole.ecd")
    rng = np.random.default_rng([stop, workers])
    tries = (tmp_path / f"{number}.ecd" for number in range(5))  # on a busy machine a run may end before its signal
    store = next(path for path in tries if stopped_at_random(many, path, stop, workers, rng.random() * 0.03))
    convert(many, store)
    assert contents(store) == contents(tmp_path / "whole.ecd")
    assert [p.name for p in store.rglob(".*")] == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_many_kills_lose_nothing_that_was_written(many, tmp_path, workers):
    """Each run is killed after a random time and none may have fewer crystals than the one before."""
    convert(many, tmp_path / "whole.ecd")
    rng = np.random.default_rng(workers)
    kept, kills = 0, 0
    while kept < 24:
        kills += stopped_at_random(many, tmp_path / "a.ecd", signal.SIGKILL, workers, rng.random() * 0.1)
        assert written(tmp_path / "a.ecd") > kept
        kept = written(tmp_path / "a.ecd")
    assert kills >= 2
    convert(many, tmp_path / "a.ecd")
    assert contents(tmp_path / "a.ecd") == contents(tmp_path / "whole.ecd")


def test_a_full_disk_is_one_sentence_and_a_rerun_continues(many, tmp_path):
    """On a real file system of 40 kB, where the system lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    try:
        command = [sys.executable, "-m", "ecd_models.cli", "convert", "-q", str(many), str(disk / "a.ecd")]
        full = subprocess.run([*command[:4], "--bound", "1e-7", *command[4:]], capture_output=True, text=True)
        assert full.returncode == 1
        assert "free some space" in full.stderr
        assert "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=9m", str(disk)], check=True)
        convert(many, disk / "a.ecd")
        assert len(Store(disk / "a.ecd")) == 24
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_journal_names_failures_and_spares_reading_again(files, tmp_path, monkeypatch):
    (files / "cut_CHGCAR").write_text("cut")
    report = convert(files, tmp_path / "a.ecd")
    lines = [json.loads(line) for line in (tmp_path / "a.ecd" / "conversion.jsonl").read_text().splitlines()]
    assert {key: reason for line in lines for key, reason in line["failed"].items()} == report.failed
    assert sorted(id for line in lines for id in line["ids"]) == IDS
    read_again = []
    monkeypatch.setattr(
        "ecd_data.conversion.convert_files._convert_file", lambda job: read_again.append(job.source.id) or iter(())
    )
    convert(files, tmp_path / "a.ecd")
    assert read_again == ["cut"]
    monkeypatch.undo()
    write(files / "cut_CHGCAR", smooth_density((4, 4, 4)))
    assert convert(files, tmp_path / "a.ecd").added == ["cut"]
    os.utime(files / "MgO" / "CHGCAR")
    assert len(convert(files, tmp_path / "a.ecd").skipped) == 5
    with open(tmp_path / "a.ecd" / "conversion.jsonl", "a") as journal:
        journal.write('{"file": "cu')
    assert len(convert(files, tmp_path / "a.ecd").skipped) == 5


def test_a_file_that_changes_while_it_is_converted_is_read_again(files, tmp_path, monkeypatch):
    import ecd_data.conversion.convert_files as module

    def read_while_a_run_writes(file, unit=None):
        rho = read(file)
        if Path(file).name == "CHGCAR":
            write(file, smooth_density((6, 5, 4), seed=99))
        return rho

    monkeypatch.setattr(module, "read_run", read_while_a_run_writes)
    assert len(convert(files, tmp_path / "a.ecd").added) == 4
    monkeypatch.undo()
    report = convert(files, tmp_path / "a.ecd")
    assert "with other content" in report.failed[str(files / "MgO" / "CHGCAR")]
    assert len(report.skipped) == 3


def test_flags_of_the_check_and_settings_beside_land_in_the_index(tmp_path):
    rho = smooth_density((6, 5, 4))
    write(tmp_path / "good_CHGCAR", rho)
    write(tmp_path / "bad_CHGCAR", replace(rho, values=rho.values - 0.9 * rho.values.mean()))
    convert([tmp_path / "good_CHGCAR", tmp_path / "bad_CHGCAR"], tmp_path / "a.ecd")
    flags = Store(tmp_path / "a.ecd").index.set_index("id")["flags"]
    report = check(read(tmp_path / "bad_CHGCAR"))
    assert "negative-charge" in flags["bad"]
    assert set(flags["bad"]) == {*report.flags, *(problem.name for problem in report.problems)}
    assert "negative-charge" in Store(tmp_path / "a.ecd")["bad"].meta["problems"]
    report = check(read(tmp_path / "good_CHGCAR"))
    assert set(flags["good"]) == {*report.flags, *(problem.name for problem in report.problems)}


def test_a_part_that_was_complete_but_not_in_the_index_is_taken_up(many, tmp_path, monkeypatch):
    """As after a kill between the two."""
    import ecd_data.store.writer as module

    monkeypatch.setattr(module, "save_index", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        convert(many, tmp_path / "a.ecd")
    monkeypatch.undo()
    assert [p.name for p in (tmp_path / "a.ecd" / "parts").glob("part-*")] == ["part-00000.zarr.zip"]
    report = convert(many, tmp_path / "a.ecd")
    assert (len(report.skipped), report.added) == (24, [])
    convert(many, tmp_path / "whole.ecd")
    assert bytes_of(tmp_path / "a.ecd") == bytes_of(tmp_path / "whole.ecd")
