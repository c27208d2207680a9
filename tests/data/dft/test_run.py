"""`run` with a stand-in for pw.x: failures, interrupts, and what a second call does."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ecd_data.dft import run
from ecd_data.dft.espresso_output import OUTPUT, XML
from ecd_data.errors import EcdError
from ecd_data.store import StoreWriter, open_store
from tests.data.dft.espresso_files import (
    FINISH,
    random_density,
    runs,
)
from tests.data.dft.records import SILICON


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ('echo "convergence NOT achieved after 120 iterations: stopping"; exit 2', "did not converge"),
        ('echo "  Error in routine readpp (1):\n   no such file"; exit 1', r"Error in routine readpp \(1\): no such"),
        ("echo iteration; kill -9 $$", "killed by signal 9"),
        ("echo iteration; exit 0", "before its job was done"),
        ('echo "forrtl: No space left on device"; exit 1', "disk is full"),
        ('echo "JOB DONE."; exit 0', "left no density"),
    ],
)
def test_failures_are_named_and_the_rest_goes_on(
    tmp_path: Path, engine, pseudo: Path, capsys: pytest.CaptureFixture, lines: str, reason: str
) -> None:
    pwx = engine(f"if grep -q Ge.upf pw.in; then\n{lines}\nfi\n{FINISH}")
    bad = {**SILICON, "numbers": [32, 32]}
    report = run({"Ge": bad, "Si": SILICON}, tmp_path / "s.ecd", pwx=pwx, pseudo=pseudo)
    assert report.done == ["Si"]
    assert list(report.failures) == ["Ge"]
    with pytest.raises(EcdError, match=reason):
        raise EcdError(report.failures["Ge"])
    assert report.failures["Ge"].startswith("Ge: ")
    assert "Ge" in capsys.readouterr().err
    assert open_store(tmp_path / "s.ecd").ids == ["Si"]
    assert (tmp_path / "s.ecd.work" / "Ge" / OUTPUT).exists()
    assert not (tmp_path / "s.ecd.work" / "Si").exists()


def test_full_disk_stops_and_keeps_what_was_finished(
    tmp_path: Path, engine, pseudo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwx = engine(FINISH)
    run({"a": SILICON}, tmp_path / "s.ecd", pwx=pwx, pseudo=pseudo)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StoreWriter, "add", full)
    with pytest.raises(EcdError, match=r"b: the disk of .*s\.ecd is full"):
        run({"a": SILICON, "b": SILICON}, tmp_path / "s.ecd", pwx=pwx, pseudo=pseudo)
    assert open_store(tmp_path / "s.ecd").ids == ["a"]


def test_wrong_electron_count_and_missing_element_are_left_out(tmp_path: Path, engine, pseudo: Path) -> None:
    cerium = {**SILICON, "numbers": [58, 14]}
    germanium = {**SILICON, "numbers": [32, 32]}
    report = run({"Ge": germanium, "CeSi": cerium}, tmp_path / "s.ecd", pwx=engine(FINISH), pseudo=pseudo)
    assert "8.000000 electrons instead of 28" in report.failures["Ge"]
    assert "no pseudopotential for Ce" in report.failures["CeSi"]


@pytest.mark.parametrize(
    ("functional", "named"),
    [("PZ", True), ("PBESOL", True), ("PBE", False), (" SLA  PW   PBX  PBC", False)],
)
def test_pseudopotentials_of_another_functional_give_no_pbe_density(
    tmp_path: Path, engine, pseudo: Path, functional: str, named: bool
) -> None:
    says = f"<output><dft><functional>{functional}</functional></dft>"
    pwx = engine(f"{FINISH}\nsed -i 's|<output>|{says}|' {XML}")
    report = run({"Si": SILICON}, tmp_path / "s.ecd", pwx=pwx, pseudo=pseudo)
    assert report.done == ([] if named else ["Si"])
    if named:
        assert f"{pseudo} are of the functional {functional}" in report.failures["Si"]


def test_density_stands_in_the_store_with_all_that_made_it(tmp_path: Path, engine, pseudo: Path) -> None:
    run({"Si": SILICON}, tmp_path / "s.ecd", pwx=engine(FINISH), pseudo=pseudo)
    store = open_store(tmp_path / "s.ecd")
    density = store["Si"]
    np.testing.assert_allclose(density.values, random_density(8), atol=2e-4)
    assert density.meta["functional"] == "PBE"
    assert density.meta["settings"]["kmesh"] == [4, 4, 4]
    assert density.meta["settings"]["pseudopotentials"]["Si"]["file"] == "Si.upf"
    assert density.meta["provenance"]["prototype"] == "diamond"
    assert density.meta["provenance"]["engine_version"] == "6.7MaX"
    assert store.index.loc[0, "gap_eV"] == pytest.approx(0.025 * 27.211386, abs=1e-6)


def test_second_call_computes_only_what_is_missing(tmp_path: Path, engine, pseudo: Path) -> None:
    pwx = engine(FINISH)
    first = run({"a": SILICON, "b": SILICON}, tmp_path / "s.ecd", pwx=pwx, pseudo=pseudo, processes=2)
    assert sorted(first.done) == ["a", "b"]
    second = run({"a": SILICON, "b": SILICON, "c": SILICON}, tmp_path / "s.ecd", pwx=pwx, pseudo=pseudo)
    assert (second.present, second.done) == (["a", "b"], ["c"])
    assert runs(tmp_path) == 3


def test_kept_engine_files_serve_again_unless_the_input_changed(tmp_path: Path, engine, pseudo: Path) -> None:
    pwx, work = engine(FINISH), tmp_path / "work"
    run({"Si": SILICON}, tmp_path / "one.ecd", pwx=pwx, pseudo=pseudo, work=work)
    run({"Si": SILICON}, tmp_path / "two.ecd", pwx=pwx, pseudo=pseudo, work=work)
    assert runs(tmp_path) == 1
    run({"Si": {**SILICON, "ecutwfc_Ry": 50.0}}, tmp_path / "three.ecd", pwx=pwx, pseudo=pseudo, work=work)
    assert runs(tmp_path) == 2


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_the_engine_and_leaves_a_store_that_continues(
    tmp_path: Path, engine, pseudo: Path, sent: signal.Signals
) -> None:
    slow = engine(f"if grep -q Ge.upf pw.in; then echo $$ > {tmp_path}/pid; exec sleep 60; fi\n{FINISH}")
    script = tmp_path / "go.py"
    script.write_text(
        "from ecd_data.dft import run\n"
        f"bad = { ({**SILICON, 'numbers': [32, 32]})!r}\n"
        f"run({{'a': {SILICON!r}, 'b': bad}}, {str(tmp_path / 's.ecd')!r}, pwx={slow!r}, pseudo={str(pseudo)!r})\n"
    )
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE)
    for _ in range(300):
        written = (tmp_path / "s.ecd" / "index.parquet").exists()
        if written and (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip():
            break
        time.sleep(0.1)
    started = time.monotonic()
    process.send_signal(sent)
    process.communicate(timeout=20)
    assert time.monotonic() - started < 20
    assert process.returncode != 0
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    assert open_store(tmp_path / "s.ecd").ids == ["a"]


UNSOLVED = 'echo "    c_bands:  1 eigenvalues not converged"'


@pytest.mark.parametrize("missing", ["", "diago_thr_init = 1e-08", "diago_thr_init"])
@pytest.mark.parametrize("kmesh", [[3, 3, 3], [2, 2, 2]])  # with and without a run on the zone boundary
def test_gaps_are_of_converged_levels(
    tmp_path: Path, engine, pseudo: Path, caplog: pytest.LogCaptureFixture, kmesh: list[int], missing: str
) -> None:
    """pw.x goes on where it did not solve for some level; levels at a looser threshold are as good for a gap."""
    pwx = engine(f"if grep -q '{missing or 'never'}' pw.in; then {UNSOLVED}; fi\n{FINISH}")
    options = {"steps": ["static", "nscf"], "pwx": pwx, "pseudo": pseudo, "work": tmp_path / "work"}
    assert run({"Si": {**SILICON, "kmesh": kmesh}}, tmp_path / "s.ecd", **options).done == ["Si"]
    properties = open_store(tmp_path / "s.ecd")["Si"].meta["properties"]
    unsolved = missing == "diago_thr_init"
    assert ("gap_nscf_eV" in properties) is not unsolved
    assert ("gap_eV" in properties) is not (unsolved and kmesh == [3, 3, 3])
    assert ("did not converge: the density is stored without gap" in caplog.text) is unsolved
    assert properties.get("gap_eV", 0.680) == pytest.approx(0.680, abs=1e-3)
    levels = 2 if kmesh == [3, 3, 3] else 1
    assert runs(tmp_path) == 1 + levels * (2 if missing else 1)
