"""Quantum ESPRESSO: the input of each step, the output that is read, and the program that is run."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecd_data.crystal import Crystal
from ecd_data.dft.engine import NotConvergedError, Step
from ecd_data.dft.espresso import Espresso, pw_input
from ecd_data.dft.espresso_output import OUTPUT, XML, read_result
from ecd_data.dft.pseudopotentials import (
    Pseudopotential,
    load_pseudopotentials,
    pwx_version,
)
from ecd_data.dft.settings import Settings, apply_choices, default_settings, make_jobs
from ecd_data.dft.steps import list_attempts
from ecd_data.errors import FormatError, MissingDependencyError, UsageError
from ecd_data.formats.espresso_density import read_charge_density
from tests.data.dft.espresso_files import BANDS, GRID, IRON_BANDS, SCHEMA, random_density, write_charge_density
from tests.data.dft.records import SILICON, cubic


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


def test_input_states_the_crystal_and_no_path(pseudo: Path) -> None:
    (job,) = make_jobs({"Si": SILICON}, "pbe")
    text = pw_input(job.crystal, job.settings, load_pseudopotentials(pseudo))
    assert "ecutwfc = 40" in text
    assert "K_POINTS automatic\n4 4 4 0 0 0" in text
    assert "occupations = 'fixed'" in text
    assert "nbnd = 6" in text
    assert "nspin" not in text
    assert "hse" not in text
    assert "0.000000000000 2.715500000000 2.715500000000" in text
    assert text.count("\nSi 0.25") == 1
    assert str(pseudo) not in text
    assert load_pseudopotentials(pseudo)["Si"].sha256 in text


def test_hybrid_input_follows_the_recipe(pseudo: Path) -> None:
    (job,) = make_jobs({"Si": SILICON}, "hse")
    text = pw_input(job.crystal, job.settings, load_pseudopotentials(pseudo))
    for line in ("input_dft = 'hse'", "exxdiv_treatment = 'gygi-baldereschi'", "x_gamma_extrapolation = .true."):
        assert line in text
    assert "ecutfock = 40" in text
    assert "nqx1 = 4" in text
    assert job.settings.kmesh == job.settings.qmesh


def test_metals_smear_and_magnets_start_polarised(pseudo: Path) -> None:
    iron = Crystal(np.eye(3) * 2.87, [26, 26], [[0, 0, 0], [0.5, 0.5, 0.5]])
    text = pw_input(iron, default_settings(iron, "pbe"), load_pseudopotentials(pseudo))
    assert "smearing = 'cold'" in text
    assert "nspin = 2" in text
    assert "starting_magnetization(1) = 0.4" in text
    text = pw_input(iron, Settings("PBE", 90, (1, 1, 1), symmetry=False), load_pseudopotentials(pseudo))
    assert "K_POINTS gamma" in text
    assert "nosym = .true." in text


def test_only_magnetic_elements_start_with_a_moment() -> None:
    (job,) = make_jobs({"FeO": MGO | {"numbers": [26, 8], "start_magnetisation": 0.4}}, "pbe")
    assert job.settings.start_magnetization == (0.4, 0.0)
    text = pw_input(job.crystal, job.settings, pseudo("Fe", "O"))
    assert "nspin = 2" in text
    assert "starting_magnetization(1) = 0.4" in text
    assert "starting_magnetization(2) = 0\n" in text
    (job,) = make_jobs({"MgO": MGO | {"start_magnetisation": 0.4}}, "pbe")  # nothing magnetic: all atoms, as asked
    assert "starting_magnetization(2) = 0.4" in pw_input(job.crystal, job.settings, pseudo("Mg", "O"))


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
    levels = pw_input(job.crystal, settings, pseudo("Mg", "O"), "bands")
    assert "calculation = 'nscf'" in levels
    assert "diago_thr_init = 1e-08" in levels


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


@pytest.mark.parametrize("gamma_only", [False, True])
def test_charge_density_comes_back(tmp_path: Path, gamma_only: bool) -> None:
    total, spin = random_density(8, 1), random_density(2, 2)
    write_charge_density(tmp_path / "one.dat", [total], gamma_only)
    write_charge_density(tmp_path / "two.dat", [total, spin], gamma_only)
    values, magnetization = read_charge_density(tmp_path / "one.dat", GRID)
    np.testing.assert_allclose(values, total, rtol=1e-12, atol=1e-14)
    assert magnetization is None
    values, magnetization = read_charge_density(tmp_path / "two.dat", GRID)
    np.testing.assert_allclose(values, total, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(magnetization, spin, rtol=1e-12, atol=1e-14)


def test_cut_charge_density_is_named(tmp_path: Path) -> None:
    path = tmp_path / "charge-density.dat"
    write_charge_density(path, [random_density(8)])
    with pytest.raises(FormatError, match="do not fit a grid"):
        read_charge_density(path, (8, 8, 8))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match=r"charge-density\.dat is not a complete"):
        read_charge_density(path, GRID)


@pytest.mark.parametrize(
    ("bands", "gap", "direct"),
    [
        (BANDS, 0.025, 0.1),
        (BANDS.replace("2.4e-1 3.4e-1", "2.8e-1 3.4e-1"), 0.0, 0.06),
        (BANDS.replace("8.000000000000000e0", "7.0"), 0.0, 0.0),
        (IRON_BANDS.format("7.5e-1"), 0.72 - 0.583, 0.74 - 0.583),
        (IRON_BANDS.format("6.8e-1"), 0.0, 0.0),
        # four levels of equal occupation at all k points hold three electrons, as the degenerate ones of an atom do
        (IRON_BANDS.format("7.5e-1").replace("<nelec>4.0", "<nelec>3.0"), 0.0, 0.0),
    ],
)
def test_output_gives_properties(tmp_path: Path, bands: str, gap: float, direct: float) -> None:
    (tmp_path / XML).parent.mkdir()
    (tmp_path / XML).write_text(SCHEMA.format(bands=bands))
    (tmp_path / OUTPUT).write_text("iteration #  1\niteration #  2\nJOB DONE.\n")
    result = read_result(tmp_path)
    properties = result.properties
    assert (result.version, result.shape) == ("6.7MaX", GRID)
    np.testing.assert_allclose(result.crystal.lattice, SILICON["lattice"], atol=1e-9)
    np.testing.assert_allclose(result.crystal.frac_coords, SILICON["frac_coords"], atol=1e-9)
    assert properties["energy_eV"] == pytest.approx(-8.455 * 27.211386)
    assert properties["scf_steps"] == 2
    assert properties["cpu_seconds"] == 1.07
    assert properties["max_force_eV_A"] == pytest.approx(0.01 * 51.422067, rel=1e-6)
    assert properties["pressure_GPa"] == pytest.approx(2e-5 * 29421.016, rel=1e-6)
    assert result.convergence == {"converged": True, "scf_error_Ry": 2e-10}
    assert properties["total_magnetization"] == 2.307
    assert properties["gap_eV"] == pytest.approx(gap * 27.211386, abs=1e-6)
    assert properties["gap_direct_eV"] == pytest.approx(direct * 27.211386, abs=1e-6)


def test_a_run_without_spin_has_no_moment(tmp_path: Path) -> None:
    """pw.x 7.2 leaves the total moment out there; where a run has spin, it must be there."""
    path, moments = tmp_path / XML, "<magnetization><lsda>{}</lsda><absolute>0.0</absolute></magnetization>"
    before, after = SCHEMA.split("<magnetization>")[0], SCHEMA.split("</magnetization>")[1]
    path.parent.mkdir()
    path.write_text((before + moments.format("false") + after).format(bands=BANDS))
    properties = read_result(tmp_path).properties
    assert (properties["total_magnetization"], properties["absolute_magnetization"]) == (0.0, 0.0)
    path.write_text((before + moments.format("true") + after).format(bands=BANDS))
    with pytest.raises(FormatError, match="no <magnetization/total>"):
        read_result(tmp_path)


def test_unreadable_output_is_named(tmp_path: Path) -> None:
    (tmp_path / XML).parent.mkdir()
    (tmp_path / XML).write_text(SCHEMA.format(bands=BANDS)[:500])
    with pytest.raises(FormatError, match="not the XML of a finished"):
        read_result(tmp_path)


def test_atoms_that_start_with_different_magnetizations_are_different_species() -> None:
    cell = Crystal(np.diag([4.0, 4.0, 8.0]), [26, 8, 26, 26], np.arange(12).reshape(4, 3) / 12)
    settings = Settings("PBE", 90, (2, 2, 2), start_magnetization=(0.4, 0.0, -0.4, 0.4), hubbard_u=(("Fe", 4.0),))
    lines = pw_input(cell, settings, pseudo("Fe", "O")).splitlines()
    species = lines.index("ATOMIC_SPECIES")
    assert lines[species + 1 : species + 4] == ["Fe1 1.0 Fe.upf", "O 1.0 O.upf", "Fe2 1.0 Fe.upf"]
    atoms = lines.index("ATOMIC_POSITIONS crystal")
    assert [line.split()[0] for line in lines[atoms + 1 : atoms + 5]] == ["Fe1", "O", "Fe2", "Fe1"]
    found = dict(line.strip().split(" = ") for line in lines if " = " in line)
    assert [found[f"starting_magnetization({k})"] for k in (1, 2, 3)] == ["0.4", "0", "-0.4"]
    assert found["ntyp"] == "3"
    assert [found.get(f"Hubbard_U({k})") for k in (1, 2, 3)] == ["4", None, "4"]
    many = Crystal(np.eye(3) * 20, [26] * 10, np.arange(30).reshape(10, 3) / 30)
    with pytest.raises(UsageError, match="names for 9"):
        pw_input(many, replace(settings, start_magnetization=tuple(np.arange(10) / 10)), pseudo("Fe"))
