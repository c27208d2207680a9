"""Self-consistencies with the real engine on a few small crystals at low cutoffs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Density, open_store, write
from ecd_data.dft.engines import load_engine
from ecd_data.dft.espresso import Espresso
from ecd_data.dft.settings import Job, Settings
from ecd_data.errors import EcdError, UsageError
from ecd_models import load_model
from ecd_models.cli import _run
from ecd_models.scf.bench import ATOMS, ENGINE, FIRST_THRESHOLD, ORACLE, Bench, Start
from ecd_models.scf.jobs import make_scf_jobs, read_settings
from ecd_models.scf.run import OWN_THRESHOLD, run_starts
from ecd_models.scf.starts import file_start, model_start
from tests.data.dft.records import SILICON
from tests.models.scf.engine import LIH, SI, real

CHEAP = Settings("PBE", ecutwfc=20.0, kmesh=(2, 2, 2))
JOBS = {
    "Si": Job("Si", SI, CHEAP),
    "gamma": Job("gamma", LIH, replace(CHEAP, ecutwfc=30.0, kmesh=(1, 1, 1))),
    "spin": Job("spin", LIH, replace(CHEAP, ecutwfc=30.0, smearing=True, start_magnetization=0.3)),
    "U": Job("U", LIH, replace(CHEAP, ecutwfc=30.0, hubbard_u=(("H", 2.0),))),
}


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("scf")


@real
@pytest.mark.parametrize("name", JOBS)
def test_the_converged_density_restarts_as_pwx_own_file_does(name, work):
    """Half of the waves, all of them, and two components: each in pw.x's own order; with U its occupations too."""
    report = run_starts([JOBS[name]], {}, own_restart=True, work=work)
    (crystal,) = report.crystals
    runs = crystal.runs
    assert runs[ORACLE].steps <= runs[ENGINE].steps < runs[ATOMS].steps
    assert runs[ORACLE].energy_eV == pytest.approx(runs[ATOMS].energy_eV, abs=1e-5)
    assert runs[ORACLE].eps_mae < 1e-9
    assert 0.005 < runs[ATOMS].eps_mae < 0.5
    assert runs[ORACLE].channels["density"] == "converged"
    assert all(run.before_wall_seconds == 0 for run in (runs[ATOMS], runs[ENGINE]))
    assert runs[ORACLE].before_wall_seconds > 0


@real
def test_a_run_with_u_starts_from_occupations_of_atoms(work):
    """pw.x stops where they are missing."""
    bench = Bench(load_engine(), JOBS["U"], work / "U")
    atoms = bench.run_from_atoms()
    run = bench.run_from_density(Start("file", bench.converged_density(), {"density": "converged"}))
    assert run.channels["occupations"] == "atomic"
    assert run.steps <= atoms.steps
    assert run.energy_eV == pytest.approx(atoms.energy_eV, abs=1e-5)


@real
def test_the_order_of_waves_matters_and_the_grid_does_not(work):
    """A density on a finer grid restarts as well; one of a scrambled order would be another density."""
    bench = Bench(load_engine(), JOBS["Si"], work / "Si")
    bench.run_from_atoms()
    rho = bench.converged_density()
    finer = Start("finer", rho.resample((32, 30, 36)), {"density": "converged"})
    assert bench.run_from_density(finer).steps == bench.run_from_own_file().steps
    scaled = replace(rho, values=0.95 * rho.values)
    measured = bench.run_from_density(Start("scaled", scaled, {"density": "converged"}))
    assert measured.steps == bench.run_from_own_file().steps
    assert measured.electrons_off == pytest.approx(-0.05)


@real
def test_a_density_is_no_start_for_ultrasoft_pseudopotentials(work, tmp_path):
    engine = load_engine()
    bench = Bench(engine, JOBS["Si"], work / "Si")
    bench.run_from_atoms()
    text = (engine.pseudo / "Si.upf").read_text()
    (tmp_path / "Si.upf").write_text(text.replace('pseudo_type="NC"', 'pseudo_type="US"'))
    ultrasoft = Bench(load_engine("espresso", None, tmp_path), JOBS["Si"], work / "Si")
    with pytest.raises(UsageError, match=r"Si\.upf is US: .* take norm-conserving"):
        ultrasoft.run_from_density(Start("model", bench.converged_density(), {"density": "predicted"}))


@real
def test_what_is_no_density_of_the_crystal_is_refused(work):
    bench = Bench(load_engine(), JOBS["Si"], work / "Si")
    bench.run_from_atoms()
    rho = bench.converged_density()
    moved = replace(SI, frac_coords=SI.frac_coords + [[0.0] * 3, [0.01] * 3])
    larger = replace(SI, lattice=SI.lattice * 1.01)
    other = replace(SI, numbers=np.array([14, 6]))
    spin = replace(rho, magnetization=0.1 * rho.values)
    cases = {
        "another cell": replace(rho, crystal=larger),
        "atoms elsewhere": replace(rho, crystal=moved),
        "is to be run": replace(rho, crystal=other),
        "9.60 electrons where 8 are due": replace(rho, values=1.2 * rho.values),
        "where the cutoff needs": rho.resample((12, 12, 12)),
        "no spin": spin,
        "non-collinear": replace(rho, magnetization=np.stack([rho.values] * 3)),
        "nan electrons": replace(rho, values=np.full(rho.shape, np.nan)),
    }
    for words, wrong in cases.items():
        with pytest.raises(UsageError, match=words) as error:
            bench.run_from_density(Start("file", wrong, {}))
        assert "\n" not in str(error.value)
    swapped = replace(SI, frac_coords=SI.frac_coords[::-1] + [1.0, 0.0, -1.0])
    assert bench.run_from_density(Start("order", replace(rho, crystal=swapped), {})).steps == 1


@real
def test_models_and_files_from_the_command_line(work, tmp_path, capsys):
    write(tmp_path / "Si_CHGCAR", Density(SI, np.ones((24, 24, 24)) * 8 / SI.volume))
    output = tmp_path / "runs.json"
    records = tmp_path / "records.json"
    records.write_text(json.dumps({"Si": {**SILICON, "ecutwfc_Ry": 20.0, "kmesh": [2, 2, 2], "metal": False}}))
    command = ["scf", "run", str(records), "-m", "charge3net-sample", "--density", str(tmp_path / "Si_CHGCAR")]
    assert _run([*command, "--work", str(work), "--clock", "cpu", "--own-threshold", "-o", str(output), "-q"]) == 0
    said = json.loads(output.read_text())
    runs = said["crystals"]["Si"]["runs"]
    names = [ORACLE, "charge3net-sample", str(tmp_path / "Si_CHGCAR")]
    assert list(runs) == [ATOMS, *(name + end for name in names for end in ("", OWN_THRESHOLD))]
    assert "a cell of 2 atoms converges" in str(runs["charge3net-sample"]["doubts"])
    assert runs[ORACLE]["first_threshold"] == FIRST_THRESHOLD
    assert runs[ORACLE + OWN_THRESHOLD]["first_threshold"] is None
    assert all(run["iterations"] > run["steps"] for run in runs.values())
    assert runs["charge3net-sample"]["channels"]["density"] == "predicted"
    assert runs["charge3net-sample"]["seen"] == "unseen"
    assert runs["charge3net-sample"]["before_cpu_seconds"] > runs[ORACLE]["before_cpu_seconds"]
    assert runs[str(tmp_path / "Si_CHGCAR")]["eps_mae"] > 0.3
    assert said["settings"]["conv_thr_Ry"] == 1e-8
    printed = capsys.readouterr().out
    assert "optimal ratio" in printed
    assert "charge3net-sample" in printed


@real
def test_a_spin_run_says_that_its_magnetization_is_atomic(work):
    model = load_model()
    report = run_starts([JOBS["spin"]], {"model": model_start("model", model)}, work=work)
    run = report.crystals[0].runs["model"]
    assert run.channels == {"density": "predicted", "magnetization": "atomic", "augmentation": None}


@real
def test_a_hybrid_counts_its_loops_apart(work):
    """The density shortens PBE's loop alone, as the exchange starts from orbitals."""
    job = Job("hybrid", SI, Settings("HSE06", ecutwfc=14.0, kmesh=(3, 3, 3), qmesh=(3, 3, 3)))
    runs = run_starts([job], {}, own_restart=True, work=work).crystals[0].runs
    loops = runs[ATOMS].loops
    assert len(loops) > 1
    assert runs[ATOMS].steps == sum(loops)
    assert runs[ORACLE].loops[0] <= runs[ENGINE].loops[0] < loops[0]


@real
def test_a_failed_start_is_named_and_the_others_go_on(work, tmp_path):
    write(tmp_path / "LiH_CHGCAR", Density(LIH, np.ones((24, 24, 24))))
    report = run_starts([JOBS["Si"]], {"wrong": file_start(tmp_path / "LiH_CHGCAR")}, work=work)
    (crystal,) = report.crystals
    assert set(crystal.runs) == {ATOMS, ORACLE}
    assert "another cell" in crystal.failed["wrong"]
    with pytest.raises(UsageError, match="another name"):
        run_starts([JOBS["Si"]], {ORACLE: file_start(tmp_path / "LiH_CHGCAR")})


@real
def test_two_calls_at_a_time_do_not_share_the_folder_of_a_crystal(work):
    inner = []

    def run_again(bench: Bench) -> Start:
        inner.append(run_starts([JOBS["Si"]], {}, conv_thr=1e-6, work=work))  # would replace the files of this one
        return Start("again", bench.converged_density(), {"density": "converged", "magnetization": None})

    (crystal,) = run_starts([JOBS["Si"]], {"again": run_again}, work=work).crystals
    assert "another process computes in" in inner[0].failed["Si"]
    assert crystal.runs["again"].eps_mae < 1e-9


@real
def test_an_interrupt_ends_the_engine(monkeypatch, tmp_path):
    stopped: list[str] = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Espresso, "run", interrupt)
    monkeypatch.setattr(Espresso, "stop", lambda self: stopped.append(self.name))
    with pytest.raises(KeyboardInterrupt):
        run_starts([JOBS["Si"]], {}, work=tmp_path)
    assert stopped == ["Quantum ESPRESSO"]


@real
@pytest.mark.slow
def test_iron_keeps_its_moment(work):
    job = make_scf_jobs(["pbe"], ids=["Fe_bcc"])[0]
    job = replace(job, settings=replace(job.settings, kmesh=(4, 4, 4)))
    (crystal,) = run_starts([job], {}, own_restart=True, work=work).crystals
    assert crystal.runs[ORACLE].steps <= crystal.runs[ENGINE].steps < crystal.runs[ATOMS].steps
    assert not crystal.reached_other_state(ORACLE)


def test_stored_settings_are_those_of_the_stored_density():
    rho = open_store("pbe")["MgO_rs"]
    settings, said = read_settings(rho), rho.meta["settings"]
    for name, value in settings.as_meta().items():
        if name not in ("conv_thr_Ry", "qmesh", "ecutfock_Ry"):
            assert value == said[name], name
    assert read_settings(replace(rho, meta={})).smearing


def test_the_mixing_of_another_program_is_not_asked_of_pwx():
    rho = open_store("pbe")["Si_diamond"]
    settings = {**rho.meta["settings"], "mixing_mode": "msr1", "mixing_beta": 0.05}  # as GPAW's densities have it
    found = read_settings(replace(rho, meta={"settings": settings}))
    assert (found.mixing_mode, found.mixing_beta) == ("plain", 0.7)
    assert found.kmesh == tuple(settings["kmesh"])


def test_which_crystals_are_meant(tmp_path):
    jobs = make_scf_jobs(["pbe"], part="test_compositions", limit=2)
    assert [job.id for job in jobs] == ["Si_diamond", "Al_fcc"]
    assert [job.id for job in make_scf_jobs(["pbe"], ids=["MgO_rs"])] == ["MgO_rs"]
    SI.to_ase().write(tmp_path / "Si.cif")
    assert [job.id for job in make_scf_jobs([str(tmp_path / "Si.cif")])] == ["Si"]
    assert [job.id for job in make_scf_jobs([str(tmp_path)])] == ["Si"]
    assert make_scf_jobs([str(tmp_path)], functional="hse")[0].settings.qmesh == (4, 4, 4)
    for options, words in [
        ({"part": "test"}, "leave them out"),
        ({"limit": 0}, "at least 1"),
    ]:
        with pytest.raises(UsageError, match=words):
            make_scf_jobs([str(tmp_path)], **options)
    with pytest.raises(EcdError, match=r"nowhere\.cif does not exist"):
        make_scf_jobs(["nowhere.cif"])
    with pytest.raises(EcdError, match="near: pbe"):
        make_scf_jobs(["pbx"])
    with pytest.raises(UsageError, match="leave --part out"):
        make_scf_jobs(["pbe"], ids=["MgO_rs"], part="test")
    with pytest.raises(UsageError, match="with PBE"):
        make_scf_jobs(["pbe"], functional="hse")


def test_without_an_engine_there_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setenv("ECD_PWX", "/nowhere/pw.x")
    assert _run(["scf", "run", "pbe", "--id", "Si_diamond", "-q"]) == 1
    assert "is not installed" in capsys.readouterr().err
