"""GPAW as an engine: its input, output, failures and resume with a stand-in; the last tests run the real one."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import pickle
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecd_data.dft import make_jobs, relax, run, setup
from ecd_data.dft.engine import NotConvergedError, RunError, Step
from ecd_data.dft.gpaw import Gpaw
from ecd_data.dft.gpaw_run import DENSITY, INPUT, LEVELS, LOG, RESULT
from ecd_data.dft.gpaw_setups import find_gpaw, load_setups
from ecd_data.dft.settings import Settings
from ecd_data.dft.steps import list_attempts
from ecd_data.errors import FormatError, MissingDependencyError, UsageError
from ecd_data.store import open_store
from ecd_models import cli
from tests.data.dft.records import HALF, HYDROGEN, SILICON

IRON = {**SILICON, "numbers": [26, 26], "metal": True, "start_magnetisation": 0.4, "symmetry": False}
VOLUME = 2 * HALF**3


@pytest.fixture
def setups(tmp_path: Path) -> Path:
    """A folder of stand-ins for PAW setups."""
    folder = tmp_path / "setups"
    folder.mkdir()
    for symbol, valence in (("Si", 4), ("Fe", 8), ("Ge", 14)):
        with gzip.open(folder / f"{symbol}.PBE.gz", "wt") as file:
            file.write(f'<paw_dataset><atom symbol="{symbol}" Z="1" core="10.0" valence="{valence}"/></paw_dataset>')
    (folder / "Si.revPBE.gz").touch()
    (folder / "Mg.2.PBE.gz").touch()
    return folder


def leave_result(folder: Path, spins: int = 1, electrons: float = 8.0, converged: bool = True) -> None:
    """The files of a finished run of silicon: two k points and three bands, the third of them empty."""
    folder.mkdir(parents=True, exist_ok=True)
    shares = [1.0] if spins == 1 else [0.75, 0.25]
    np.save(folder / DENSITY, np.array([np.full((4, 4, 4), share * electrons / VOLUME) for share in shares]))
    energies = np.array([[[0.0, 1.0, 2.0], [0.5, 0.6, 2.5]]])
    np.savez(folder / LEVELS, energies=energies, occupations=np.array([[[1.0, 1.0, 0.0]] * 2]))
    result = {
        "version": "26.7.0",
        "shape": [4, 4, 4],
        "crystal": {name: SILICON[name] for name in ("lattice", "numbers", "frac_coords")},
        "properties": {"energy_eV": -10.6, "scf_steps": 10, "cpu_seconds": 5.5, "wall_seconds": 9.0},
        "arrays": {"forces_eV_A": [[0, 0, 0.3], [0, 0.4, 0]], "stress_GPa": np.diag([1.0, 2.0, 6.0]).tolist()},
        "convergence": {"converged": converged},
    }
    (folder / RESULT).write_text(json.dumps(result))


@pytest.fixture
def python(tmp_path: Path, setups: Path):
    """Makes a stand-in for an interpreter with GPAW from shell lines; `finish` leaves the files of a finished run."""
    leave_result(tmp_path / "good")

    def make(lines: str = "finish", version: str = "26.7.0") -> str:
        path = tmp_path / "python"
        path.write_text(
            f'#!/bin/sh\nif [ $2 = -c ]; then echo \'["{version}", ["{setups}"]]\'; exit; fi\n'
            f"echo run >> {tmp_path}/count\nfinish() {{ cp {tmp_path}/good/* .; }}\n{lines}\n"
        )
        path.chmod(0o755)
        return str(path)

    return make


def step(record: dict = SILICON, kind: str = "density", **options: object) -> Step:
    """A step for a record called x."""
    (job,) = make_jobs({"x": record}, "pbe")
    return Step(kind, "x", job.crystal, replace(job.settings, **options))  # type: ignore[arg-type]


def test_input_states_all_that_matters_and_no_path(setups: Path) -> None:
    engine = Gpaw("python", [setups])
    text = engine.input_text(step(forces=True))
    given = json.loads(text)
    assert str(setups) not in text
    assert given["crystal"]["lattice"] == SILICON["lattice"]
    assert given["setups"]["Si"] == {"file": "Si.PBE.gz", "sha256": setup_hash(setups)}
    assert given["parameters"]["mode"] == {"name": "pw", "ecut": pytest.approx(544.23, abs=0.01)}
    assert given["parameters"]["kpts"] == {"size": [4, 4, 4], "gamma": True}
    assert given["parameters"]["occupations"] == {"name": "fixed-uniform"}
    assert (given["magmoms"], given["forces"]) == (None, True)
    assert engine.input_text(step(forces=True, kmesh=(5, 5, 5))) != text


def setup_hash(setups: Path) -> str:
    """The SHA-256 of the stand-in for silicon's setup."""
    return load_setups([setups])["Si"].sha256


def test_every_step_has_its_input(setups: Path, tmp_path: Path) -> None:
    engine = Gpaw("python", [setups])
    iron = json.loads(engine.input_text(step(IRON)))
    assert iron["magmoms"] == [pytest.approx(3.2)] * 2
    half = IRON | {"numbers": [26, 14]}
    assert json.loads(engine.input_text(step(half)))["magmoms"] == [pytest.approx(3.2), 0]
    assert iron["parameters"]["occupations"] == {
        "name": "marzari-vanderbilt",
        "width": pytest.approx(0.13606, abs=1e-5),
    }
    assert iron["parameters"]["symmetry"] == {"point_group": False}
    assert iron["parameters"]["nbands"] > (16 + 6.4) / 2
    assert not iron["forces"]
    assert json.loads(engine.input_text(step(kind="relax")))["max_force_eV_A"] < 2.6e-3
    calm = list_attempts(step().settings)["mixing_beta 0.3, local-TF, more steps"]
    slower = json.loads(engine.input_text(replace(step(), settings=calm)))["parameters"]
    assert slower["mixer"]["beta"] < iron["parameters"]["mixer"]["beta"]
    assert slower["maxiter"] == 2 * Settings.max_steps
    (tmp_path / INPUT).write_text("one")
    one = engine.input_text(replace(step(kind="restart"), start=tmp_path))
    (tmp_path / INPUT).write_text("two")
    two = engine.input_text(replace(step(kind="restart"), start=tmp_path))
    assert one != two
    assert json.loads(one)["forces"]


def test_what_gpaw_does_not_do_is_said(setups: Path, tmp_path: Path, python, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Gpaw("python", [setups])
    with pytest.raises(UsageError, match="x: U is not supported with GPAW here"):
        engine.input_text(step(IRON, hubbard_u=(("Fe", 4.6),)))
    with pytest.raises(UsageError, match="x is spin-polarised and its moment is not known"):
        engine.input_text(step({**IRON, "metal": False}))
    with pytest.raises(UsageError, match="x: HSE06 is not computed with GPAW here"):
        engine.input_text(step(functional="HSE06", qmesh=(3, 3, 3)))
    monkeypatch.setenv("ECD_GPAW_PYTHON", python())
    with pytest.raises(UsageError, match="HSE06 is not computed with GPAW here"):
        run({"Si": SILICON}, tmp_path / "s.ecd", steps=["static", "hse"], engine="gpaw")
    with pytest.raises(UsageError, match="no engine 'vasp': take espresso or gpaw"):
        run({"Si": SILICON}, tmp_path / "s.ecd", engine="vasp")
    assert not (tmp_path / "s.ecd").exists()
    assert cli._run(["dft", "setup", "--engine", "gpaw"]) == 0
    assert cli._run(["dft", "setup", "--engine", "gpaw", "--pwx", "pw.x"]) == 2


def test_gpaw_and_its_setups_are_found(setups: Path, tmp_path: Path, python, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECD_GPAW_PYTHON", python())
    report = setup(engine="gpaw")
    assert set(report.sha256) == {"Si", "Fe", "Ge"}
    assert str(report).startswith("GPAW 26.7.0: ")
    other = tmp_path / "other"
    other.mkdir()
    (other / "Si.PBE").write_text('<atom symbol="Si" Z="14" core="2" valence="12"/>')
    assert load_setups([other, setups])["Si"].valence == 12  # the first folder, as GPAW searches
    assert load_setups([setups, other])["Si"].valence == 4
    assert list(setup(pseudo=other, engine="gpaw").sha256) == ["Si"]
    engine = pickle.loads(pickle.dumps(Gpaw(report.python, report.folders)))
    assert engine.nelect(step(IRON).crystal) == 16
    with pytest.raises(UsageError, match=r"no PAW setup for Ce in .*: give a folder that has Ce\.PBE\.gz"):
        engine.nelect(step({**SILICON, "numbers": [58, 14]}).crystal)
    (setups / "Si.PBE.gz").write_bytes((setups / "Si.PBE.gz").read_bytes()[:20])
    with pytest.raises(UsageError, match=r"Si\.PBE\.gz is a damaged PAW setup"):
        load_setups([setups])


def test_missing_and_old_ones_are_refused(setups: Path, tmp_path: Path, python) -> None:
    with pytest.raises(MissingDependencyError, match=r"cannot import GPAW: install it .* \$ECD_GPAW_PYTHON"):
        find_gpaw(tmp_path / "nowhere")
    with pytest.raises(MissingDependencyError, match=r"has GPAW 25\.1\.0: install 26\.7 or later"):
        find_gpaw(python(version="25.1.0"))
    with pytest.raises(UsageError, match="holds no PAW setups"):
        find_gpaw(python(), tmp_path)


def test_density_stands_in_the_store_with_all_that_made_it(setups: Path, tmp_path: Path, python, monkeypatch) -> None:
    monkeypatch.setenv("ECD_GPAW_PYTHON", python())
    work = tmp_path / "work"
    assert run({"Si": SILICON}, tmp_path / "s.ecd", engine="gpaw", work=work).done == ["Si"]
    rho = open_store(tmp_path / "s.ecd")["Si"]
    assert rho.nelect == pytest.approx(8)
    found, settings, made = (rho.meta[name] for name in ("properties", "settings", "provenance"))
    assert (found["gap_eV"], found["gap_direct_eV"]) == (1.0, 1.0)
    assert (found["max_force_eV_A"], found["pressure_GPa"], found["max_stress_GPa"]) == (0.4, 3.0, 6.0)
    assert (made["engine"], made["engine_version"]) == ("GPAW", "26.7.0")
    assert settings["pseudopotentials"]["Si"]["sha256"] == setup_hash(setups)
    assert (settings["mixing_mode"], settings["conv_thr_Ry"]) == ("msr1", None)
    run({"Si": SILICON}, tmp_path / "t.ecd", engine="gpaw", work=work, forces=False)
    assert (tmp_path / "count").read_text().split() == ["run"] * 2
    run({"Si": SILICON}, tmp_path / "u.ecd", engine="gpaw", work=work)  # one without forces serves
    assert (tmp_path / "count").read_text().split() == ["run"] * 2


def test_spins_become_density_and_magnetization(tmp_path: Path) -> None:
    leave_result(tmp_path, spins=2)
    values, magnetization = Gpaw("python", []).density(tmp_path, (4, 4, 4))
    np.testing.assert_allclose(values, 8 / VOLUME)
    np.testing.assert_allclose(magnetization, 4 / VOLUME)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("kill -9 $$", "x: GPAW was killed by signal 9, perhaps for lack of memory, and its output is partial"),
        (
            "echo Traceback >&2; echo 'ValueError: no' >&2; echo 'see it' >&2; exit 1",
            "GPAW stopped with “ValueError: no”",
        ),
        ("echo 'OSError: [Errno 28] No space left on device' >&2; exit 1", "x: the disk under .* is full"),
        ("echo 'OSError: 27000 requested and 10736 written' >&2; exit 1", "x: the disk under .* is full"),
        ("exit 0", "x: GPAW ended before its job was done"),
        ("finish; sed -i s/true/false/ result.json", "x: the self-consistency did not converge"),
        ("finish; echo '{' > result.json", r"result\.json is damaged"),
    ],
)
def test_failures_are_named_and_a_second_call_resumes(
    setups: Path, tmp_path: Path, python, lines: str, reason: str
) -> None:
    engine, folder = Gpaw(python(lines), [setups]), tmp_path / "x"
    text = engine.input_text(step())
    with pytest.raises((RunError, FormatError), match=reason):
        engine.run(step(), text, folder)
    if "converge" in reason:
        with pytest.raises(NotConvergedError):
            engine.is_finished(step(), text, folder)
        return
    assert not engine.is_finished(step(), text, folder)
    python()
    engine.run(step(), text, folder)
    assert engine.is_finished(step(), text, folder)
    assert not engine.is_finished(step(kmesh=(5, 5, 5)), engine.input_text(step(kmesh=(5, 5, 5))), folder)
    (folder / LEVELS).write_bytes(b"cut")
    with pytest.raises(FormatError, match="not the result of a finished run"):
        engine.read(step(), folder)


def test_wrong_electron_count_is_left_out_and_the_rest_goes_on(tmp_path: Path, python, monkeypatch) -> None:
    monkeypatch.setenv("ECD_GPAW_PYTHON", python())
    germanium = {**SILICON, "numbers": [32, 32]}
    report = run({"Ge": germanium, "Si": SILICON}, tmp_path / "s.ecd", engine="gpaw")
    assert report.done == ["Si"]
    assert "8.000000 electrons instead of 28" in report.failures["Ge"]


real = pytest.mark.skipif(
    not os.environ.get("ECD_GPAW_PYTHON") and importlib.util.find_spec("gpaw") is None,
    reason="no GPAW here: install it, or name an interpreter that has it with ECD_GPAW_PYTHON",
)


@real
def test_real_density_starts_itself_again(tmp_path: Path) -> None:
    report = run({"H2": HYDROGEN}, tmp_path / "s.ecd", engine="gpaw", steps=["static", "nscf"], restart=True)
    assert report.done == ["H2"], report.failures
    rho = open_store(tmp_path / "s.ecd")["H2"]
    assert rho.nelect == pytest.approx(2, abs=1e-6)
    found = rho.meta["properties"]
    assert found["scf_steps_restart"] <= 3 < found["scf_steps"]
    (_, _, left), (_, _, right) = rho.meta["forces_eV_A"]
    assert left == pytest.approx(-right, rel=0.01)
    assert found["max_force_eV_A"] == pytest.approx(max(abs(left), abs(right)))
    assert found["pressure_GPa"] == pytest.approx(np.trace(rho.meta["stress_GPa"]) / 3, abs=1e-5)
    assert found["gap_nscf_eV"] < found["gap_eV"]


@real
def test_real_run_stopped_in_the_middle_is_repeated_exactly(tmp_path: Path) -> None:
    found = find_gpaw()
    first, second = Gpaw(found.python, found.folders), Gpaw(found.python, found.folders)
    one, two = tmp_path / "one", tmp_path / "two"
    text = first.input_text(step(HYDROGEN, forces=True))

    def stop_in_the_middle() -> None:
        while not (one / LOG).exists() or "iter:   1" not in (one / LOG).read_text():
            time.sleep(0.02)
        first.stop()

    threading.Thread(target=stop_in_the_middle, daemon=True).start()
    with pytest.raises(RunError, match="x: GPAW was killed by signal 15"):
        first.run(step(HYDROGEN), text, one)
    assert not second.is_finished(step(HYDROGEN), text, one)
    for folder in (one, two):
        second.run(step(HYDROGEN), text, folder)
    np.testing.assert_allclose(*(second.density(folder, ())[0] for folder in (one, two)), rtol=1e-5, atol=1e-7)


@real
@pytest.mark.slow
def test_real_gaps_and_moments_are_those_of_the_literature(tmp_path: Path) -> None:
    h = 1.435
    magnesia = {**SILICON, "lattice": [[0, 2.106, 2.106], [2.106, 0, 2.106], [2.106, 2.106, 0]], "numbers": [12, 8]}
    magnesia |= {"frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]], "kmesh": [3, 3, 3]}
    iron = {"lattice": [[-h, h, h], [h, -h, h], [h, h, -h]], "numbers": [26], "frac_coords": [[0, 0, 0]]}
    iron |= {"ecutwfc_Ry": 30, "kmesh": [6, 6, 6], "metal": True, "start_magnetisation": 0.4}
    insulators = {"Si": SILICON, "MgO": magnesia}
    report = run(insulators, tmp_path / "s.ecd", engine="gpaw", steps=["static", "nscf"], forces=False)
    assert sorted(report.done) == sorted(insulators), report.failures
    assert run({"Fe": iron}, tmp_path / "s.ecd", engine="gpaw", forces=False).done == ["Fe"]
    store = open_store(tmp_path / "s.ecd")
    gaps = {id: store[id].meta["properties"]["gap_nscf_eV"] for id in insulators}
    assert gaps["Si"] == pytest.approx(0.6, abs=0.03)
    assert 4.5 < gaps["MgO"] < 4.8
    assert store["Fe"].meta["properties"]["gap_eV"] == 0
    assert store["Fe"].moment == pytest.approx(2.2, abs=0.1)
    assert store["Fe"].meta["site_moments"] == [pytest.approx(2.2, abs=0.15)]


@real
@pytest.mark.slow
def test_real_cell_comes_to_rest(tmp_path: Path) -> None:
    moved = {**SILICON, "lattice": (np.array(SILICON["lattice"]) * 0.99).tolist(), "ecutwfc_Ry": 25, "kmesh": [2, 2, 2]}
    moved |= {"frac_coords": [[0, 0, 0], [0.26, 0.25, 0.24]]}
    report = relax({"Si": moved}, tmp_path / "relaxed.json", engine="gpaw")
    assert report.done == ["Si"], report.failures
    (job,) = make_jobs(tmp_path / "relaxed.json", "pbe")
    np.testing.assert_allclose((job.crystal.frac_coords[1] - job.crystal.frac_coords[0]) % 1, 0.25, atol=2e-3)
    assert abs(job.provenance["relaxation"]["pressure_GPa"]) <= 0.1
