"""The flow from crystals to densities through an engine that computes nothing; the last tests run the real one."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecd_data.crystal import Crystal
from ecd_data.dft import make_jobs, relax, run
from ecd_data.dft.engine import NotConvergedError, Result, RunError, Step
from ecd_data.dft.espresso import Espresso, pw_input
from ecd_data.dft.pseudopotentials import Pseudopotential, pseudo_folder, pwx_version
from ecd_data.dft.settings import apply_choices
from ecd_data.dft.steps import compute_density, list_attempts
from ecd_data.errors import MissingDependencyError, UsageError
from ecd_data.store import open_store
from ecd_models import cli
from tests.data.dft_records import HYDROGEN

AT_REST = 5.0  # Å: the cell without pressure
SHAPE = (6, 6, 6)


def cubic(a: float, z: int = 14) -> dict:
    """A record of a cubic cell with two atoms."""
    return {
        "lattice": (np.eye(3) * a).tolist(),
        "numbers": [z, z],
        "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
        "kmesh": [2, 2, 2],
        "metal": False,
    }


class Fake:
    """An engine whose cells come to rest at 5 Å, halving the distance with each relaxation; it counts its runs."""

    name = "fake"

    def __init__(self, diverges: Callable[[Step], bool] = lambda step: False) -> None:
        self.diverges, self.runs = diverges, Counter()
        self.dies: str | None = None

    def input_text(self, step: Step) -> str:
        return f"{step.kind} {json.dumps(step.crystal.to_record())} {step.settings}"

    def is_finished(self, step: Step, text: str, folder: Path) -> bool:
        if not (folder / "in").is_file() or (folder / "in").read_text() != text:
            return False
        if (folder / "diverged").exists():
            raise NotConvergedError(f"{step.id}: no")
        return (folder / "done").exists()

    def run(self, step: Step, text: str, folder: Path) -> None:
        assert step.start is None or (step.start / "done").exists()
        self.runs[step.kind] += 1
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "in").write_text(text)
        if self.dies == step.kind:
            raise RunError(f"{step.id}: killed")
        if self.diverges(step):
            (folder / "diverged").touch()
            raise NotConvergedError(f"{step.id}: no")
        (folder / "done").touch()

    def read(self, step: Step, folder: Path) -> Result:
        properties = {"cpu_seconds": 1.0, "gap_eV": 1.0, "gap_direct_eV": 1.0, "scf_steps": 9.0}
        crystal, ended = step.crystal, {}
        if step.kind == "relax":
            a = (crystal.lattice[0, 0] + AT_REST) / 2
            a = AT_REST if abs(a - AT_REST) < 0.1 else a
            crystal = Crystal(np.eye(3) * a, crystal.numbers, crystal.frac_coords)
            properties["pressure_GPa"] = 10 * (AT_REST - a)
            ended = {"relaxed": True, "relax_steps": 3}
        if step.kind == "restart":
            properties |= {"scf_steps": 1.0, "pressure_GPa": 0.5}
        if step.kind == "bands":
            properties["gap_eV"] = 0.1 * step.settings.kmesh[0]
        return Result(crystal, SHAPE, "1.0", properties, {}, ended)

    def density(self, folder: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, None]:
        lattice = json.loads((folder / "in").read_text().split(" ", 1)[1].rsplit(" Settings", 1)[0])["lattice"]
        return np.full(shape, 8 / abs(np.linalg.det(lattice))), None

    def datasets(self, crystal: Crystal) -> dict[str, dict[str, str]]:
        return {}

    def nelect(self, crystal: Crystal) -> float:
        return 8.0

    def stop(self) -> None:
        pass


def test_relaxed_cells_carry_both_functionals(tmp_path: Path) -> None:
    engine = Fake()
    steps = ["relax", "static", "hse", "nscf"]
    report = run({"a": cubic(6.0)}, tmp_path / "out", steps=steps, restart=True, engine=engine)
    assert report.done == ["pbe/a", "hse/a"]
    pbe, hse = (open_store(tmp_path / "out" / f"{name}.ecd")["a"] for name in ("pbe", "hse"))
    for rho in (pbe, hse):
        np.testing.assert_allclose(rho.lattice, np.eye(3) * AT_REST)
        assert rho.meta["provenance"]["relaxation"]["lattice_before"] == (np.eye(3) * 6.0).tolist()
    assert pbe.meta["properties"]["gap_nscf_eV"] == pytest.approx(0.4)
    assert pbe.meta["settings"]["kmesh_nscf"] == [4, 4, 4]
    assert pbe.meta["properties"]["scf_steps_restart"] == 1
    assert pbe.meta["properties"]["pressure_GPa"] == 0.5
    assert "scf_steps_restart" not in hse.meta["properties"]
    assert engine.runs == {"relax": 4, "density": 2, "restart": 1, "bands": 1}
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("dies", ["density", "restart", "bands"])
def test_a_second_call_goes_on_behind_the_last_finished_step(tmp_path: Path, dies: str) -> None:
    engine = Fake()
    engine.dies = dies
    options = {"steps": ["relax", "static", "nscf"], "restart": True, "engine": engine}
    report = run({"a": cubic(6.0)}, tmp_path / "s.ecd", **options)
    assert report.failures == {"a": "a: killed"}
    before = dict(engine.runs)
    engine.dies = None
    assert run({"a": cubic(6.0)}, tmp_path / "s.ecd", **options).done == ["a"]
    order = ["relax", "density", "restart", "bands"]
    again = {kind: engine.runs[kind] - before.get(kind, 0) for kind in order}
    assert again == {kind: int(order.index(kind) >= order.index(dies)) for kind in order}


def test_what_does_not_converge_is_tried_with_other_mixing_then_smearing(tmp_path: Path) -> None:
    engine = Fake(diverges=lambda step: not step.settings.smearing)
    crystals, work = {"a": cubic(5.0)}, tmp_path / "work"
    report = run(crystals, tmp_path / "one.ecd", engine=engine, work=work, restart=True)
    assert report.retried["a"] == ["as asked", "mixing_beta 0.3, local-TF, more steps"]
    meta = open_store(tmp_path / "one.ecd")["a"].meta
    assert meta["settings"]["smearing"] == "cold"
    assert meta["settings"]["mixing_beta"] == 0.3
    assert meta["provenance"]["retries"] == report.retried["a"]
    assert "1 of them at a second attempt" in str(report)
    assert engine.runs == {"density": 3, "restart": 1}
    run(crystals, tmp_path / "two.ecd", engine=engine, work=work, restart=True)
    assert engine.runs == {"density": 3, "restart": 1}


def test_the_dense_mesh_falls_back_to_the_coarser(tmp_path: Path) -> None:
    record = {key: value for key, value in cubic(5.0).items() if key != "kmesh"}
    engine = Fake(diverges=lambda step: step.settings.kmesh[0] > 5)
    run({"a": record}, tmp_path / "s.ecd", engine=engine)
    assert open_store(tmp_path / "s.ecd")["a"].meta["settings"]["kmesh"] == [5, 5, 5]
    assert make_jobs({"a": record}, "pbe")[0].settings.kmesh == (10, 10, 10)
    given = make_jobs({"a": cubic(5.0)}, "pbe")[0].settings
    assert all(settings.kmesh == (2, 2, 2) for settings in list_attempts(given).values())


def test_what_never_converges_is_left_out_with_what_was_tried(tmp_path: Path) -> None:
    engine = Fake(diverges=lambda step: step.id == "a")
    report = run({"a": cubic(5.0), "b": cubic(5.0)}, tmp_path / "s.ecd", engine=engine)
    assert report.done == ["b"]
    assert report.failures["a"].startswith("a: the self-consistency did not converge, tried as asked; mixing_beta 0.3")


def test_u_acts_in_pbe_alone(tmp_path: Path) -> None:
    iron = {"a": cubic(5.0, 26), "b": cubic(5.0)}
    run(iron, tmp_path / "out", steps=["static", "hse"], hubbard_u={"Fe": 4.6}, engine=Fake())
    index = open_store(tmp_path / "out" / "pbe.ecd").index.set_index("id")
    assert index["functional"].to_dict() == {"a": "PBE+U", "b": "PBE"}
    assert set(open_store(tmp_path / "out" / "hse.ecd").index["functional"]) == {"HSE06"}
    with pytest.raises(UsageError, match="U acts on PBE only"):
        run(iron, tmp_path / "h.ecd", "hse", hubbard_u={"Fe": 4.6}, engine=Fake())


def test_choices_hold_for_all_crystals() -> None:
    (job,) = make_jobs({"a": cubic(5.0, 26)}, "pbe")
    settings = apply_choices(job, spin=True, hubbard_u={"Fe": 4.0, "Zn": 7.5}, forces=True).settings
    assert (settings.start_magnetization, settings.smearing, settings.hubbard_u) == (0.4, True, (("Fe", 4.0),))
    assert apply_choices(job, spin=False, smearing=False).settings.start_magnetization == 0
    with pytest.raises(UsageError, match="spin-polarised and its moment is not known"):
        apply_choices(job, spin=True, smearing=False)


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (["relax"], "only static and hse give a density"),
        (["static", "bands"], "no step 'bands'"),
        (["hse", "nscf"], "name both"),
    ],
)
def test_impossible_steps_are_refused(tmp_path: Path, steps: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        run({"a": cubic(5.0)}, tmp_path / "s.ecd", steps=steps, engine=Fake())
    assert cli._run(["dft", "run", "x.cif", str(tmp_path / "s.ecd"), "--steps", ",".join(steps)]) == 2
    assert list(tmp_path.iterdir()) == []


def test_unusable_structures_are_left_out_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    folder.mkdir()
    crystal = make_jobs({"a": cubic(5.0)}, "pbe")[0].crystal
    crystal.to_pymatgen().to(str(folder / "good.cif"))
    half = crystal.to_pymatgen()
    half.replace(0, {"Si": 0.5, "Ge": 0.5})
    half.to(str(folder / "half.cif"))
    near = replace(crystal, frac_coords=np.array([[0, 0, 0], [0, 0, 0.02]]))
    report = run([folder], tmp_path / "s.ecd", kspacing=0.1, engine=Fake())
    assert report.done == ["good"]
    assert "partial occupancies" in report.failures[str(folder / "half.cif")]
    report = run({"near": near, "good": crystal, "none": {"lattice": 1}}, tmp_path / "s.ecd", engine=Fake())
    assert "Si1 and Si2 lie on top of each other (0.10 Å)" in report.failures["near"]
    assert "none is not a crystal record" in report.failures["none"]
    assert report.present == ["good"]
    with pytest.raises(UsageError, match="lie on top"):
        make_jobs({"near": near}, "pbe")


def test_relaxed_crystals_go_on_as_records(tmp_path: Path) -> None:
    engine, file = Fake(diverges=lambda step: step.id == "bad"), tmp_path / "relaxed.json"
    report = relax({"a": cubic(6.0), "bad": cubic(6.0)}, file, engine=engine)
    assert (report.done, list(report.failures)) == (["a"], ["bad"])
    assert relax({"a": cubic(6.0), "c": cubic(5.2)}, file, engine=engine).present == ["a"]
    records = json.loads(file.read_text())
    assert list(records) == ["a", "c"]
    assert records["a"]["relaxation"]["rounds"] == 4
    (job, _) = make_jobs(file, "pbe")
    np.testing.assert_allclose(job.crystal.lattice, np.eye(3) * AT_REST)
    assert job.settings.kmesh == (2, 2, 2)
    assert job.provenance["relaxation"]["relax_steps"] == 12
    file.write_text("[1]")
    with pytest.raises(UsageError, match="does not hold relaxed crystals"):
        relax({"a": cubic(6.0)}, file, engine=engine)


def test_a_cell_that_never_rests_is_named(tmp_path: Path) -> None:
    report = relax({"a": cubic(50.0)}, tmp_path / "r.json", engine=Fake())
    assert "a: 6 relaxations in turn did not suffice" in report.failures["a"]


def test_a_cluster_gives_the_same_store(tmp_path: Path) -> None:
    distributed = pytest.importorskip("dask.distributed")
    crystals = {name: cubic(5.0) for name in "abc"}
    run(crystals, tmp_path / "one.ecd", engine=Fake())
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as local,
        distributed.Client(local) as client,
    ):
        assert sorted(run(crystals, tmp_path / "two.ecd", engine=Fake(), cluster=client).done) == ["a", "b", "c"]
    one, two = open_store(tmp_path / "one.ecd"), open_store(tmp_path / "two.ecd")
    for name in crystals:
        np.testing.assert_array_equal(one[name].values, two[name].values)


def pseudo(*symbols: str) -> dict[str, Pseudopotential]:
    """Stand-ins for pseudopotentials whose hashes are those of their names."""
    digest = {s: hashlib.sha256(s.encode()).hexdigest() for s in symbols}
    return {s: Pseudopotential(s, Path("elsewhere") / f"{s}.upf", 8.0, digest[s]) for s in symbols}


STATIC = """\
&CONTROL
  calculation = 'scf'
  prefix = 'x'
  outdir = '.'
  disk_io = 'low'
  verbosity = 'high'
/
&SYSTEM
  ibrav = 0
  nat = 2
  ntyp = 2
  ecutwfc = 84
  occupations = 'fixed'
  nbnd = 10
/
&ELECTRONS
  conv_thr = 1e-09
  electron_maxstep = 120
/
ATOMIC_SPECIES
Mg 1.0 Mg.upf
O 1.0 O.upf
CELL_PARAMETERS angstrom
0.000000000000 2.106000000000 2.106000000000
2.106000000000 0.000000000000 2.106000000000
2.106000000000 2.106000000000 0.000000000000
ATOMIC_POSITIONS crystal
Mg 0.000000000000 0.000000000000 0.000000000000
O 0.500000000000 0.500000000000 0.500000000000
K_POINTS automatic
5 5 5 0 0 0
"""
MGO = {
    "lattice": [[0, 2.106, 2.106], [2.106, 0, 2.106], [2.106, 2.106, 0]],
    "numbers": [12, 8],
    "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
    "ecutwfc_Ry": 84,
    "kmesh": [5, 5, 5],
    "metal": False,
}


def test_the_input_of_a_density_stays_what_it_was() -> None:
    """Finished runs are known by their input: another byte would repeat all of them."""
    (job,) = make_jobs({"MgO": MGO}, "pbe")
    given = pseudo("Mg", "O")
    text = pw_input(job.crystal, job.settings, given)
    assert text.split("! ")[0] == STATIC
    assert text.splitlines()[-2:] == [f"! {s}.upf sha256 {given[s].sha256}" for s in ("Mg", "O")]


def test_every_step_has_its_input() -> None:
    (job,) = make_jobs({"MgO": MGO}, "pbe")
    settings = apply_choices(job, hubbard_u={"O": 3.0}, spin=True).settings
    text = pw_input(job.crystal, settings, pseudo("Mg", "O"), "relax")
    for line in ("calculation = 'vc-relax'", "forc_conv_thr = 0.0001", "&IONS\n/", "press_conv_thr = 0.5"):
        assert line in text
    for line in ("lda_plus_u = .true.", "Hubbard_U(2) = 3", "nspin = 2"):
        assert line in text
    assert "Hubbard_U(1)" not in text
    text = pw_input(
        job.crystal, list_attempts(settings)["mixing_beta 0.3, local-TF, more steps"], pseudo("Mg", "O"), "restart"
    )
    for line in ("startingpot = 'file'", "tprnfor = .true.", "mixing_beta = 0.3", "mixing_mode = 'local-TF'"):
        assert line in text
    assert "electron_maxstep = 240" in text
    assert "calculation = 'nscf'" in pw_input(job.crystal, settings, pseudo("Mg", "O"), "bands")


def test_a_finished_run_without_forces_serves(tmp_path: Path) -> None:
    for symbol in ("Mg", "O"):
        (tmp_path / f"{symbol}.upf").write_text('<PP_HEADER z_valence="8.0"/>')
    engine, (job,) = Espresso("pw.x", tmp_path), make_jobs({"MgO": MGO}, "pbe")
    step = Step("density", "MgO", job.crystal, job.settings)
    wanted = engine.input_text(replace(step, settings=replace(job.settings, forces=True)))
    (tmp_path / "x.save").mkdir()
    for name, content in (("pw.in", engine.input_text(step)), ("pw.out", "JOB DONE.")):
        (tmp_path / name).write_text(content)
    for name in ("data-file-schema.xml", "charge-density.dat"):
        (tmp_path / "x.save" / name).touch()
    assert "tprnfor" in wanted
    assert engine.is_finished(step, wanted, tmp_path)
    assert not engine.is_finished(step, wanted.replace("5 5 5", "6 6 6"), tmp_path)
    (tmp_path / "pw.out").write_text("convergence NOT achieved after 120 iterations: stopping\nJOB DONE.")
    with pytest.raises(NotConvergedError, match="MgO: the self-consistency did not converge"):
        engine.is_finished(step, wanted, tmp_path)


def test_engines_travel_and_new_ones_refuse_u(tmp_path: Path) -> None:
    (tmp_path / "Mg.upf").write_text('<PP_HEADER z_valence="8.0"/>')
    engine = pickle.loads(pickle.dumps(Espresso("pw.x", tmp_path, (7, 2))))
    (job,) = make_jobs({"Mg": {**cubic(5.0, 12)}}, "pbe")
    step = Step("density", "Mg", job.crystal, job.settings)
    assert "Mg.upf" in engine.input_text(step)
    with pytest.raises(UsageError, match=r"Mg: U can be written for .* up to 7\.0 only, and pw\.x is 7\.2"):
        engine.input_text(replace(step, settings=replace(job.settings, hubbard_u=(("Mg", 2.0),))))


@pytest.mark.parametrize(
    ("told", "says"), [("Program PWSCF v.5.4.0", "install 6.4 or later"), ("hello", "is not pw.x")]
)
def test_other_programs_and_versions_are_refused(tmp_path: Path, told: str, says: str) -> None:
    program = tmp_path / "pw.x"
    program.write_text(f"#!/bin/sh\necho '{told}'\n")
    program.chmod(0o755)
    with pytest.raises(MissingDependencyError, match=says):
        pwx_version(str(program))


real = pytest.mark.skipif(
    shutil.which("pw.x") is None or not pseudo_folder().is_dir(),
    reason="no Quantum ESPRESSO (pw.x), or no pseudopotentials in the cache: run `ecd dft setup`",
)


@real
def test_real_density_starts_itself_again(tmp_path: Path) -> None:
    options = {"steps": ["static", "nscf"], "restart": True, "work": tmp_path / "work"}
    report = run({"H2": HYDROGEN}, tmp_path / "s.ecd", **options)
    assert report.done == ["H2"], report.failures
    meta = open_store(tmp_path / "s.ecd")["H2"].meta
    found = meta["properties"]
    assert found["scf_steps_restart"] == 1 < found["scf_steps"]
    assert found["max_force_eV_A"] == pytest.approx(abs(meta["forces_eV_A"][0][2]), abs=1e-6)
    assert found["pressure_GPa"] == pytest.approx(np.trace(meta["stress_GPa"]) / 3)
    assert found["gap_nscf_eV"] < found["gap_eV"]
    (job,) = make_jobs({"H2": HYDROGEN}, "pbe")
    again = compute_density(Espresso("pw.x", pseudo_folder()), job, tmp_path / "work" / "H2")
    assert again.meta["provenance"]["convergence"]["converged"] is True


@real
@pytest.mark.slow
def test_real_cell_comes_to_rest(tmp_path: Path) -> None:
    a = 2.7
    silicon = {"lattice": [[0, a, a], [a, 0, a], [a, a, 0]], "numbers": [14, 14], "ecutwfc_Ry": 18, "kmesh": [2, 2, 2]}
    silicon |= {"frac_coords": [[0, 0, 0], [0.26, 0.25, 0.24]], "metal": False}
    report = relax({"Si": silicon}, tmp_path / "relaxed.json")
    assert report.done == ["Si"], report.failures
    (job,) = make_jobs(tmp_path / "relaxed.json", "pbe")
    assert run({"Si": job.crystal}, tmp_path / "s.ecd", kspacing=0.16).done == ["Si"]
    np.testing.assert_allclose((job.crystal.frac_coords[1] - job.crystal.frac_coords[0]) % 1, 0.25, atol=2e-3)
    assert abs(job.provenance["relaxation"]["pressure_GPa"]) <= 0.1
    assert job.crystal.volume == pytest.approx(43.9, rel=0.01)  # coarse mesh and cutoff; 40.9 with good ones
