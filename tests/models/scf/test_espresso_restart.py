"""A folder for pw.x: its files agree and name their origins, what does not fit is refused, pw.x reads it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Density, read, write
from ecd_data.dft.pseudopotentials import find_pwx, pseudo_folder
from ecd_data.errors import UsageError
from ecd_data.formats.espresso_density import read_charge_density, read_xml
from ecd_models.cli import _run
from ecd_models.scf.charge_density import Waves
from ecd_models.scf.espresso_restart import write_espresso_restart
from ecd_models.scf.espresso_start import PwRun, predict_start, read_start
from ecd_models.scf.scf_runs import count_loop_steps, read_errors
from tests.data.dft.espresso_files import BANDS, SCHEMA
from tests.models.scf.engine import LIH, real
from tests.models.scf.test_espresso_input import TEXT

UPF = '<UPF version="2.0.1">\n<PP_HEADER element="{}" pseudo_type="{}" z_valence="{}"/>\n</UPF>\n'
SPIN = "ecutwfc = 30, nspin = 2, starting_magnetization(1) = 0.3, occupations = 'smearing', degauss = 0.01"
BROKEN = "3.076 0 0\n-1.538 2.66389414 0\n0 0 5.048\n"  # hexagonal with eight digits: pw.x's order is not certain


def write_input(folder: Path, *changes: tuple[str, str], h: str = "NC") -> Path:
    """The input of LiH with parts of its text replaced, beside a folder of pseudopotentials (h: the kind of H's)."""
    text = TEXT.replace("prefix = 'lih'", "prefix = 'lih', pseudo_dir = 'pseudos'")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "pseudos").mkdir(parents=True, exist_ok=True)
    (folder / "pseudos/Li.upf").write_text(UPF.format("Li", "NC", "3.00"))
    (folder / "pseudos/H.upf").write_text(UPF.format("H", h, "1.00"))
    (folder / "my.in").write_text(text)
    return folder / "my.in"


def density(electrons: float = 4.0, shape=(24, 24, 24), spin: bool = False) -> Density:
    rng = np.random.default_rng(0)
    values = 1 + 0.1 * rng.random(shape)
    values *= electrons / (values.mean() * LIH.volume)
    return Density(LIH, values, 0.1 * rng.random(shape) if spin else None)


def restart(*arguments: object) -> int:
    return _run(["scf", "restart", *(str(word) for word in arguments), "-q"])


def record(folder: Path) -> dict:
    return json.loads((folder / "restart.json").read_text())


@pytest.mark.parametrize("mesh", ["automatic\n2 2 2 0 0 0", "gamma"])
def test_the_density_comes_out_as_it_went_in(mesh, tmp_path, capsys):
    path = write_input(tmp_path, ("automatic\n2 2 2 0 0 0", mesh))
    write(tmp_path / "CHGCAR", density(electrons=3.9))
    assert restart(path, "--density", tmp_path / "CHGCAR", "-o", tmp_path / "run") == 0
    assert "'The initial density is read from file'" in capsys.readouterr().out
    file = tmp_path / "run/lih.save/charge-density.dat"
    waves = Waves.read(file)
    assert waves.gamma_only == (mesh == "gamma")
    values, magnetization = read_charge_density(file, (24, 24, 24))
    assert values.mean() * LIH.volume == pytest.approx(4.0)
    assert magnetization is None
    given = waves.coefficients(density().values)
    assert np.allclose(waves.coefficients(values), given, atol=1e-8)
    text = (tmp_path / "run/pw.in").read_text()
    assert f"pseudo_dir = '{tmp_path / 'pseudos'}'" in text
    said = record(tmp_path / "run")
    assert said["electrons"]["factor"] == pytest.approx(4 / 3.9)
    assert said["channels"] == {"density": "not known", "magnetization": None}
    assert said["pseudopotentials"]["Li1"]["valence"] == 3
    for name, digest in said["sha256"].items():
        assert hashlib.sha256((tmp_path / "run" / name).read_bytes()).hexdigest() == digest
    assert restart(path, "--density", tmp_path / "CHGCAR", "-o", tmp_path / "run") == 2
    assert "has lih.save, pw.in, restart.json already" in capsys.readouterr().err


def test_the_file_for_hdf5_has_the_same_density(tmp_path):
    pytest.importorskip("h5py")
    rho = density(spin=True)
    run = PwRun.read(write_input(tmp_path, ("ecutwfc = 30", SPIN)))
    write(tmp_path / "CHGCAR", rho)
    write_espresso_restart(run, read_start(run, tmp_path / "CHGCAR"), tmp_path / "run")
    save = tmp_path / "run/lih.save"
    schema = SCHEMA.replace("{bands}", BANDS).replace('nr1="9" nr2="9" nr3="9"', 'nr1="24" nr2="24" nr3="24"')
    (save / "data-file-schema.xml").write_text(schema)
    values, magnetization = read_charge_density(save / "charge-density.dat", (24, 24, 24))
    again = read(save / "charge-density.hdf5")
    assert np.allclose(again.values, values, atol=1e-12)
    assert np.allclose(again.magnetization, magnetization, atol=1e-12)
    assert record(tmp_path / "run")["channels"]["magnetization"] == "not known"


def test_the_electrons_are_those_of_the_run(tmp_path, monkeypatch, capsys):
    write(tmp_path / "CHGCAR", density())
    charged = write_input(tmp_path, ("ecutwfc = 30", "ecutwfc = 30, tot_charge = 0.2"))
    assert PwRun.read(charged).electrons == pytest.approx(3.8)
    with pytest.raises(UsageError, match=r"3\.8 electrons and not 5"):
        PwRun.read(charged, nelect=5.0)
    monkeypatch.delenv("ESPRESSO_PSEUDO", raising=False)
    lost = write_input(tmp_path, ("'pseudos'", "'elsewhere'"))
    with pytest.raises(UsageError, match=r"Li\.upf, H\.upf\) are not where pw\.x looks for them: name their folder"):
        PwRun.read(lost)
    assert PwRun.read(lost, pseudo=tmp_path / "pseudos").electrons == 4
    with pytest.raises(UsageError, match=r"has no Li\.upf"):
        PwRun.read(lost, pseudo=tmp_path)
    monkeypatch.setenv("ESPRESSO_PSEUDO", str(tmp_path / "pseudos"))
    assert PwRun.read(lost).electrons == 4
    monkeypatch.delenv("ESPRESSO_PSEUDO")
    assert restart(lost, "--density", tmp_path / "CHGCAR", "-o", tmp_path / "run", "--nelect", "4") == 0
    assert "was not checked" in capsys.readouterr().err
    assert f"pseudo_dir = '{tmp_path / 'elsewhere'}'" in (tmp_path / "run/pw.in").read_text()
    assert restart(lost, "--density", tmp_path / "CHGCAR", "-o", tmp_path / "b", "--nelect", "6") == 2
    assert "4.00 electrons where 6 are due" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("kind", ["US", "USPP", "PAW", ""])
def test_pseudopotentials_with_augmentation_are_refused(kind, tmp_path):
    with pytest.raises(UsageError, match="augmentation charges"):
        PwRun.read(write_input(tmp_path, h=kind))


def test_pseudopotentials_of_another_element_or_format_are_refused(tmp_path):
    path = write_input(tmp_path)
    (tmp_path / "pseudos/H.upf").write_text(UPF.format("He", "NC", "2.00"))
    with pytest.raises(UsageError, match="is of He and the species H means H"):
        PwRun.read(path)
    (tmp_path / "pseudos/H.upf").write_text("<PP_HEADER>\n 1.00 Z valence\n</PP_HEADER>\n")
    with pytest.raises(UsageError, match="not a UPF version 2 file"):
        PwRun.read(path)


def test_a_density_of_another_crystal_or_grid_is_refused(tmp_path, capsys):
    path = write_input(tmp_path)
    moved = replace(LIH, frac_coords=LIH.frac_coords + [[0.0] * 3, [0.01] * 3])
    wrong = {
        "another cell": replace(density(), crystal=replace(LIH, lattice=LIH.lattice * 1.01)),
        "atoms elsewhere": replace(density(), crystal=moved),
        "is to be run": replace(density(), crystal=replace(LIH, numbers=np.array([11, 1]))),
        "where the cutoff needs": density(shape=(8, 8, 8)),
    }
    for number, (words, rho) in enumerate(wrong.items()):
        write(tmp_path / f"{number}_CHGCAR", rho)
        assert restart(path, "--density", tmp_path / f"{number}_CHGCAR", "-o", tmp_path / "run") == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_charge_and_another_functional_are_doubts_and_a_large_charge_is_refused(tmp_path, capsys):
    model = ("-m", "pair_density")
    path = write_input(tmp_path, ("ecutwfc = 30", "ecutwfc = 30, tot_charge = 0.3, input_dft = 'pbesol'"))
    assert restart(path, *model, "-o", tmp_path / "run") == 0
    doubts = record(tmp_path / "run")["doubts"]
    assert any("tot_charge = 0.3" in doubt for doubt in doubts)
    assert any("input_dft = 'pbesol', and pair_density learned densities of PBE" in doubt for doubt in doubts)
    write_input(tmp_path, ("ecutwfc = 30", "ecutwfc = 30, tot_charge = 1.0"))
    assert restart(path, *model, "-o", tmp_path / "no") == 2
    assert "tot_charge = 1 with 3 electrons" in capsys.readouterr().err
    write(tmp_path / "CHGCAR", density())
    assert restart(path, "--density", tmp_path / "CHGCAR", "-o", tmp_path / "no") == 2
    assert "with tot_charge = 1" in capsys.readouterr().err


def test_paths_that_are_not_there_are_named(tmp_path, capsys):
    path = write_input(tmp_path)
    write(tmp_path / "CHGCAR", density())
    given = ("--density", tmp_path / "CHGCAR", "-o", tmp_path / "run")
    assert restart(path, *given, "--reference", tmp_path / "absent.dat") == 2
    assert "absent.dat does not exist" in capsys.readouterr().err
    assert restart(tmp_path, *given) == 2
    assert "is a folder: give an input of pw.x" in capsys.readouterr().err
    assert restart(path, *given) == 0
    assert restart(path, "--density", tmp_path / "run/lih.save", "-o", tmp_path / "again") == 2
    assert "lih.save/charge-density.dat" in capsys.readouterr().err


def test_what_pwx_does_with_the_density_later_is_said(tmp_path, capsys):
    relax = ("prefix = 'lih'", "calculation = 'relax', prefix = 'lih'"), ("&electrons", "&electrons startingwfc='file'")
    write(tmp_path / "CHGCAR", density())
    assert restart(write_input(tmp_path, *relax), "--density", tmp_path / "CHGCAR", "-o", tmp_path / "run") == 0
    said = capsys.readouterr()
    assert "first self-consistency (no later one)" in said.out
    assert "no wavefunctions lie in the folder" in said.err


def test_spin_needs_a_magnetization(tmp_path, capsys):
    write(tmp_path / "CHGCAR", density())
    write(tmp_path / "spin_CHGCAR", density(spin=True))
    path = write_input(tmp_path, ("ecutwfc = 30", SPIN))
    assert restart(path, "--density", tmp_path / "CHGCAR", "-o", tmp_path / "no") == 2
    assert "has nspin = 2 and" in capsys.readouterr().err
    assert restart(path, "--density", tmp_path / "spin_CHGCAR", "-o", tmp_path / "own") == 0
    reference = tmp_path / "own/lih.save/charge-density.dat"
    capsys.readouterr()
    assert restart(path, "--density", tmp_path / "CHGCAR", "--reference", reference, "-o", tmp_path / "taken") == 0
    assert record(tmp_path / "taken")["channels"]["magnetization"] == "reference"
    files = [tmp_path / f"{name}/lih.save/charge-density.dat" for name in ("own", "taken")]
    own, taken = (read_charge_density(file, (24, 24, 24))[1] for file in files)
    assert np.allclose(own, taken, atol=1e-10)
    plain = write_input(tmp_path / "plain")
    assert restart(plain, "--density", tmp_path / "spin_CHGCAR", "-o", tmp_path / "dropped") == 0
    assert "the magnetization of the density was left out" in capsys.readouterr().err
    assert Waves.read(tmp_path / "dropped/lih.save/charge-density.dat").components == 1


def test_a_run_with_u_needs_its_occupations(tmp_path, capsys):
    write(tmp_path / "CHGCAR", density())
    plain, with_u = (
        write_input(tmp_path / "a"),
        write_input(tmp_path / "b", ("ecutwfc", "lda_plus_u = .true., ecutwfc")),
    )
    assert restart(plain, "--density", tmp_path / "CHGCAR", "-o", tmp_path / "own") == 0
    reference = tmp_path / "own/lih.save/charge-density.dat"
    command = [with_u, "--density", tmp_path / "CHGCAR", "--reference", reference, "-o", tmp_path / "run"]
    assert restart(*command) == 2
    assert "pw.x reads the occupations of U (occup.txt)" in capsys.readouterr().err
    reference.with_name("occup.txt").write_text("0.5 0.5\n")
    assert restart(*command) == 0
    assert (tmp_path / "run/lih.save/occup.txt").read_text() == "0.5 0.5\n"
    assert record(tmp_path / "run")["channels"]["occupations of U"] == "reference"


def test_an_order_that_is_not_certain_is_taken_from_a_reference(tmp_path):
    cell = TEXT[TEXT.index("0.0 2.04") : TEXT.index("ATOMIC_POSITIONS")]
    path = write_input(tmp_path, (cell, BROKEN), ("ecutwfc = 30", "ecutwfc = 40"))
    with pytest.raises(UsageError, match=r"broken in the last digits.*--reference"):
        PwRun.read(path)
    run = PwRun.read(write_input(tmp_path / "other"))
    reference = tmp_path / "reference.dat"
    swapped = replace(run.waves, miller=run.waves.miller[::-1])
    swapped.write(reference, density().values, None)
    again = PwRun.read(write_input(tmp_path / "other"), reference=reference)
    assert np.array_equal(again.waves.miller, swapped.miller)
    with pytest.raises(UsageError, match="of another cell"):
        PwRun.read(path, reference=reference)
    with pytest.raises(UsageError, match="plane waves where the run has"):
        PwRun.read(write_input(tmp_path / "other", ("ecutwfc = 30", "ecutwfc = 31")), reference=reference)
    with pytest.raises(UsageError, match="has all waves and the run half of them"):
        PwRun.read(write_input(tmp_path / "other", ("automatic\n2 2 2 0 0 0", "gamma")), reference=reference)


def test_the_grid_of_the_input_is_taken_where_it_holds_the_waves(tmp_path):
    assert PwRun.read(write_input(tmp_path, ("nat", "nr1=30 nr2=32 nr3=36, nat"))).shape == (30, 32, 36)
    assert PwRun.read(write_input(tmp_path, ("nat", "nr2=32, nat"))).shape[1] == 32
    with pytest.raises(UsageError, match="too small a grid"):
        PwRun.read(write_input(tmp_path, ("nat", "nr1=8, nat")))


def test_a_model_predicts_and_doubts_are_told(tmp_path, capsys):
    path = write_input(tmp_path)
    assert restart(path, "-m", "pair_density", "-o", tmp_path / "run") == 0
    captured = capsys.readouterr()
    assert "a cell of 2 atoms converges" in captured.err
    said = record(tmp_path / "run")
    assert said["density"] == {"input": str(path), "model": "pair_density"}
    assert said["channels"] == {"density": "predicted", "magnetization": None}
    assert len(said["doubts"]) >= 1
    coarse = write_input(tmp_path, ("ecutwfc = 30", "ecutwfc = 15"))
    assert restart(coarse, "-m", "pair_density", "-o", tmp_path / "coarse") == 0
    assert "ecutrho is 60 Ry" in capsys.readouterr().err


def test_a_model_of_other_potentials_is_refused(tmp_path):
    from ecd_models import load_model
    from ecd_models.atoms.valences import TrainingValences

    run = PwRun.read(write_input(tmp_path))
    model = load_model("pair_density")
    model.training_valences = TrainingValences({"Li": 1.0, "H": 1.0}, (), "Quantum ESPRESSO", "pseudopotentials", "PBE")
    with pytest.raises(UsageError, match="Li 3 instead of 1"):
        predict_start(run, model)
    model.training_valences = TrainingValences({"Li": 3.0, "H": 1.0}, (), "VASP", "PAW", "PBE")
    with pytest.raises(UsageError, match="take a model of Quantum ESPRESSO's densities"):
        predict_start(run, model)
    assert "of little use to pw.x" in predict_start(run, model, allow=True).warnings[0]


def test_options_of_the_other_code_are_refused(tmp_path, capsys):
    path = write_input(tmp_path)
    write(tmp_path / "CHGCAR", density())
    cases = {
        "--encut is for VASP": [path, "-m", "pair_density", "--encut", "400"],
        "is for Quantum ESPRESSO": [tmp_path / "CHGCAR", "--pseudo", tmp_path],
        "by one of: -m MODEL, --density FILE": [path],
        "does not exist: give an input of pw.x": [tmp_path / "no.in", "-m", "pair_density"],
    }
    for words, arguments in cases.items():
        assert restart(*arguments, "-o", tmp_path / "run") == 2
        assert words in capsys.readouterr().err


def run_pwx(folder: Path, text: str | None = None) -> str:
    """What pw.x prints for the pw.in in a folder, or for a text that is written there."""
    folder.mkdir(exist_ok=True)
    if text is not None:
        (folder / "pw.in").write_text(text)
    environment = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "ESPRESSO_PSEUDO": str(pseudo_folder())}
    done = subprocess.run([find_pwx(), "-i", "pw.in"], cwd=folder, capture_output=True, text=True, env=environment)
    assert "JOB DONE" in done.stdout, done.stdout[-2000:]
    return done.stdout


def find_energy(printed: str) -> float:
    return float(printed.split("!    total energy")[1].split()[1])


def real_input(*changes: tuple[str, str]) -> str:
    text = TEXT.replace("&electrons", "&electrons conv_thr = 1d-9")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


@real
@pytest.mark.parametrize("case", ["all waves", "gamma", "spin", "alat"])
def test_a_converged_density_converges_at_once(case, tmp_path):
    changes = {
        "all waves": [],
        "gamma": [("automatic\n2 2 2 0 0 0", "gamma")],
        "spin": [("ecutwfc = 30", SPIN)],
        "alat": [("PARAMETERS angstrom", "PARAMETERS alat"), ("2.04", "0.5"), ("ecutwfc", "A = 4.08, ecutwfc")],
    }
    text = real_input(*changes[case])
    first = run_pwx(tmp_path / "atoms", text)
    save = tmp_path / "atoms/lih.save"
    assert "The initial density is read from file" not in first
    command = [tmp_path / "atoms/pw.in", "--density", save / "charge-density.dat", "--pseudo", pseudo_folder()]
    assert restart(*command, "-o", tmp_path / "again") == 0
    again = run_pwx(tmp_path / "again")
    assert "The initial density is read from file" in again
    assert "Cannot read rho" not in again
    assert sum(count_loop_steps(again)) <= 2 < sum(count_loop_steps(first))
    assert find_energy(again) == pytest.approx(find_energy(first), abs=1e-6)
    assert read_xml(save / "data-file-schema.xml")[0].formula == LIH.formula


@real
def test_a_prediction_starts_below_superposed_atoms(tmp_path):
    text = real_input(("ecutwfc = 30", "ecutwfc = 40"))
    first = run_pwx(tmp_path / "atoms", text)
    command = [tmp_path / "atoms/pw.in", "-m", "pair_density", "--pseudo", pseudo_folder()]
    assert restart(*command, "-o", tmp_path / "predicted") == 0
    predicted = run_pwx(tmp_path / "predicted")
    assert read_errors(predicted)[0] < 0.1 * read_errors(first)[0]
    assert find_energy(predicted) == pytest.approx(find_energy(first), abs=1e-6)


@real
def test_a_run_without_steps_gives_magnetization_and_occupations_of_u(tmp_path):
    """electron_maxstep = 0 leaves superposed atoms, from which a density of a model takes what it lacks."""
    u = (SPIN, f"{SPIN}, lda_plus_u = .true., Hubbard_U(2) = 2.0")
    text = real_input(("ecutwfc = 30", SPIN), u)
    run_pwx(tmp_path / "zero", text.replace("1d-9", "1d-9, electron_maxstep = 0"))
    save = tmp_path / "zero/lih.save"
    (tmp_path / "my.in").write_text(text)
    command = [tmp_path / "my.in", "-m", "pair_density", "--pseudo", pseudo_folder()]
    assert restart(*command, "--reference", save / "charge-density.dat", "-o", tmp_path / "run") == 0
    assert record(tmp_path / "run")["channels"]["magnetization"] == "reference"
    printed = run_pwx(tmp_path / "run")
    assert "The initial density is read from file" in printed
    assert "convergence has been achieved" in printed
