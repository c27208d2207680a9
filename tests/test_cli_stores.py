"""The verbs that write and check stores: what they print, their exit codes, one sentence for every mistake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ecd_data import Store, open_store, write
from ecd_data.store import StoreWriter
from ecd_models import cli
from tests.conftest import smooth_density


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with four good files, a cut one, and a store of the good ones, as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECD_ROOT", raising=False)
    for number in range(4):
        rho = smooth_density((8, 8, 10), seed=number)
        write(f"CHGCAR_{number}", replace(rho, values=rho.values / 5))
    Path("CHGCAR_cut").write_bytes(Path("CHGCAR_1").read_bytes()[:2000])
    Path("bad").write_text("bytes of no store")
    assert run("convert", "-q", "CHGCAR_[0-9]", "my.ecd") == 0
    return tmp_path


def run(*arguments: str) -> int:
    return cli._run([str(a) for a in arguments])


MISTAKES = {
    ("convert", "@nothing", "new.ecd"): (2, "the list nothing cannot be read"),
    ("convert", "-j", "0", "CHGCAR_1", "new.ecd"): (2, "a positive whole number"),
    ("convert", "--dask", "nonsense", "CHGCAR_1", "new.ecd"): (2, "no Dask scheduler answers at nonsense"),
    ("convert", "-q", "CHGCAR_cut", "new.ecd"): (1, "left out: CHGCAR_cut"),
    ("subset", "nothing", "new.ecd"): (1, "nothing is not a store"),
    ("subset", "bad", "new.ecd"): (1, "bad is not a store"),
    ("subset", "my.ecd", "new.ecd", "--id", "9"): (1, "9 is not in my.ecd"),
    ("subset", "my.ecd", "new.ecd", "--id", "@nothing"): (2, "the list nothing cannot be read"),
    ("subset", "my.ecd", "new.ecd", "--natoms", "a:b"): (2, "'a:b' is no range"),
    ("subset", "my.ecd", "new.ecd", "--elements", "Xy"): (2, "'Xy' is no element symbol"),
    ("subset", "my.ecd", "new.ecd", "--functional", "SCAN"): (2, "meets all conditions"),
    ("subset", "my.ecd", "new.ecd", "--task", "ecd_hse"): (2, "none of the"),
    ("subset", "my.ecd", "my.ecd"): (2, "read and written at once"),
    ("merge", "my.ecd"): (2, "ecd merge wants stores"),
    ("merge", "my.ecd", "nothing", "new.ecd"): (1, "nothing is not a store"),
    ("merge", "my.ecd", "new.ecd", "--duplicates", "any"): (2, "no rule 'any' for duplicates"),
    ("reencode", "my.ecd", "new.ecd", "--bound", "1e-6"): (2, "errors add up"),
    ("reencode", "my.ecd", "new.ecd", "--bound", "3"): (2, "a fraction between 0 and 1"),
    ("verify", "nothing"): (1, "nothing is not a store"),
}


@pytest.mark.parametrize(("arguments", "code", "words"), [(a, *expected) for a, expected in MISTAKES.items()])
def test_a_mistake_is_one_sentence_and_writes_nothing(here, capsys, arguments, code, words):
    if "--dask" in arguments:
        pytest.importorskip("dask.distributed", reason="pip install 'ecd-data[cluster]'")
    before = {p: p.read_bytes() for p in Path("my.ecd").rglob("*") if p.is_file()}
    capsys.readouterr()
    assert run(*arguments) == code
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert "CHGCAR_cut" in arguments or not Path("new.ecd").exists()
    assert {p: p.read_bytes() for p in Path("my.ecd").rglob("*") if p.is_file()} == before


def test_the_verbs_say_what_they_did(here, capsys):
    assert run("subset", "-q", "my.ecd", "a.ecd", "--id", "[0-2]", "--natoms", "3", "--points", ":1000") == 0
    assert "a.ecd: 3 added, 0 there already" in capsys.readouterr().out
    assert run("merge", "-q", "a.ecd", "my.ecd", "all.ecd") == 0
    assert "all.ecd: 4 added" in capsys.readouterr().out
    assert run("reencode", "-q", "all.ecd", "small.ecd", "--bound", "1e-3") == 0
    assert "small.ecd: 4 added" in capsys.readouterr().out
    assert run("verify", "-q", "small.ecd") == 0
    assert "small.ecd: 4 crystals read, 0 bad, 0 bad parts" in capsys.readouterr().out
    part = next(Path("small.ecd/parts").iterdir())
    part.write_bytes(part.read_bytes()[:-400])
    assert run("verify", "-q", "small.ecd") == 1
    said = capsys.readouterr().out
    assert "bad: part-00000.zarr.zip" in said
    assert "Traceback" not in said


def test_a_list_of_ids_has_one_on_each_line(here):
    """An id may have spaces, and its words may be ids themselves."""
    with StoreWriter("words.ecd") as writer:
        for seed, id in enumerate(("my run", "my", "run")):
            writer.add(id, smooth_density(seed=seed))
    Path("list").write_text("my run\n\n", encoding="utf-8-sig")  # as Windows saves it
    assert run("subset", "-q", "words.ecd", "new.ecd", "--id", "@list") == 0
    assert Store("new.ecd").ids == ["my run"]


def running_in(group: int) -> list[str]:
    """The states of the processes of a group that have not ended, where the system says."""
    states = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, in_group, *_ = file.read_text().rpartition(")")[2].split()
            states += [state] if int(in_group) == group and state != "Z" else []
    return states


@pytest.mark.slow
def test_a_merge_of_different_densities_names_its_option(here, capsys):
    Path("other").mkdir()
    Path("other/CHGCAR_0").write_bytes(Path("CHGCAR_1").read_bytes())
    assert run("convert", "-q", "other", "other.ecd") == 0
    same = set(open_store("my.ecd").ids) & set(open_store("other.ecd").ids)
    assert len(same) == 1
    assert run("merge", "my.ecd", "other.ecd", "new.ecd") == 1
    assert "--duplicates first or last" in capsys.readouterr().err


def test_ctrl_c_with_workers_ends_all_processes_and_a_rerun_continues(tmp_path):
    """As a terminal sends it: to the whole group of processes."""
    for i in range(30):
        write(tmp_path / f"CHGCAR_{i:02d}", smooth_density((24, 24, 24), seed=i))
    store = tmp_path / "my.ecd"
    command = [sys.executable, "-m", "ecd_models.cli", "convert", "-q", "-j", "2", str(tmp_path), str(store)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and not list((store / "parts").glob(".part-*")):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "ecd: interrupted; the same command continues where it stopped\n")
    deadline = time.monotonic() + 10
    while alive := running_in(process.pid):
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)
    assert len(Store(store)) < 30
    assert run("convert", "-q", str(tmp_path), str(store)) == 0
    assert len(Store(store)) == 30


def test_ctrl_c_in_a_conversion_exits_130_and_a_rerun_continues(tmp_path):
    for i in range(60):
        write(tmp_path / f"CHGCAR_{i:02d}", smooth_density((24, 24, 24), seed=i))
    command = [sys.executable, "-m", "ecd_models.cli", "convert", "-q", str(tmp_path), str(tmp_path / "my.ecd")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    parts = tmp_path / "my.ecd" / "parts"
    while process.poll() is None and not (parts.exists() and any(parts.iterdir())):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "ecd: interrupted; the same command continues where it stopped\n"
    done = len(Store(tmp_path / "my.ecd"))
    assert done < 60
    assert run(*command[3:]) == 0
    assert len(Store(tmp_path / "my.ecd")) == 60
