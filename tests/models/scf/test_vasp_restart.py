"""A folder for VASP: its files agree, each part says where it comes from, what does not fit is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Crystal, Density, read, write
from ecd_data.errors import FormatError, UsageError
from ecd_data.formats import read_run
from ecd_data.formats.structure import read_structure
from ecd_data.vasp_grid import vasp_fine_grid
from ecd_models.cli import _run
from ecd_models.scf.incar import find_conflicts, read_incar, read_magmom
from ecd_models.scf.vasp_restart import Potentials, write_restart
from ecd_models.scf.vasp_start import RunFiles, VaspGrid, find_start_density
from tests.models.scf.test_outcars import outcar

MGO = Crystal((1 - np.eye(3)) * 2.1, np.array([12, 8]), np.array([[0.0] * 3, [0.5] * 3]))
FEO = Crystal(np.eye(3) * 3.0, np.array([26, 26, 8, 8]), np.random.default_rng(1).random((4, 3)))
POTCAR = """  PAW_PBE {label} 01Jan2000
   TITEL  = PAW_PBE {label} 01Jan2000
   POMASS =   10.000; ZVAL   =   {zval:.3f}    mass and valenz
End of Dataset
"""
OCCUPANCIES = "augmentation occupancies {:3d}   3\n  0.1000000E+00  0.2000000E+00 -0.3000000E+00\n"


def density(crystal: Crystal = MGO, electrons: float = 8.0, shape=(12, 12, 12), spin: bool = False) -> Density:
    rng = np.random.default_rng(0)
    values = 1 + 0.1 * rng.random(shape)
    values *= electrons / (values.mean() * crystal.volume)
    return Density(crystal, values, 0.1 * rng.random(shape) if spin else None)


def potcar(path: Path, *species: tuple[str, float]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(POTCAR.format(label=label, zval=zval) for label, zval in species))
    return path


def occupied(rho: Density) -> Density:
    """A density with PAW occupancies for each of its grids."""
    block = "".join(OCCUPANCIES.format(n + 1) for n in range(len(rho.crystal)))
    return replace(rho, augmentation=(block,) * (1 if rho.magnetization is None else 2))


@pytest.fixture
def potentials(tmp_path: Path) -> Potentials:
    return Potentials.read(potcar(tmp_path / "POTCAR", ("Mg", 2.0), ("O", 6.0)))


@pytest.fixture
def reference(tmp_path: Path) -> Density:
    """The converged CHGCAR of a run, with its POTCAR beside it."""
    folder = tmp_path / "converged"
    potcar(folder / "POTCAR", ("Mg", 2.0), ("O", 6.0))
    write(folder / "CHGCAR", occupied(density(shape=(16, 16, 16))))
    rho = read_run(folder / "CHGCAR")
    return replace(rho, meta={**rho.meta, "source": str(folder / "CHGCAR")})


def record(folder: Path) -> dict:
    return json.loads((folder / "restart.json").read_text())


def test_the_files_agree_with_each_other(tmp_path, potentials, reference):
    guess = replace(density(electrons=7.9), meta={"comment": "predicted by a model"})
    done = write_restart(guess, tmp_path / "run", potentials=potentials, reference=reference, incar={"ENCUT": 400.0})
    written = read(tmp_path / "run/CHGCAR")
    assert written.nelect == pytest.approx(8.0, abs=1e-8)
    assert np.allclose(written.values / guess.values, 8.0 / guess.nelect, rtol=1e-9)
    assert written.augmentation == reference.augmentation
    structure = read_structure(tmp_path / "run/POSCAR")
    assert structure.symbols == MGO.symbols
    assert np.allclose(structure.lattice, MGO.lattice)
    assert np.allclose(structure.frac_coords, MGO.frac_coords)
    tags = read_incar(tmp_path / "run/INCAR")
    assert [tags[f"NG{x}F"] for x in "XYZ"] == [12, 12, 12]
    assert (tags["ICHARG"], tags["ENCUT"]) == (1, 400)
    assert "start the self-consistency from it" in done.effect
    assert done.warnings == ()


def test_the_record_says_where_each_part_comes_from(tmp_path, potentials, reference):
    guess = replace(density(electrons=7.9), meta={"comment": "predicted by a model"})
    write_restart(guess, tmp_path / "run", potentials=potentials, reference=reference, source={"model": "m"})
    said = record(tmp_path / "run")
    assert said["channels"] == {"density": "predicted", "magnetization": None, "augmentation": "not known"}
    assert said["density"] == {"model": "m"}
    assert said["reference_has_the_same_potcar"] is True
    assert said["electrons"]["factor"] == pytest.approx(8 / 7.9)
    for name, digest in said["sha256"].items():
        assert hashlib.sha256((tmp_path / "run" / name).read_bytes()).hexdigest() == digest


def test_a_reference_of_another_potcar_is_refused(tmp_path, reference):
    other = Potentials.read(potcar(tmp_path / "other/POTCAR", ("Mg_pv", 8.0), ("O", 6.0)))
    with pytest.raises(UsageError, match="Mg_pv") as error:
        write_restart(density(electrons=14.0), tmp_path / "run", potentials=other, reference=reference)
    assert "PAW_PBE Mg 01Jan2000" in str(error.value)
    assert not (tmp_path / "run").exists()
    newer = replace(other, titles=("PAW_PBE Mg 02Feb2002", "PAW_PBE O 01Jan2000"), zval=(2.0, 6.0))
    with pytest.raises(UsageError, match="02Feb2002"):
        write_restart(density(), tmp_path / "run", potentials=newer, reference=reference)
    with pytest.raises(UsageError, match="the density was made with"):
        write_restart(replace(reference, augmentation=None), tmp_path / "run", potentials=newer)


def test_what_cannot_be_compared_is_told(tmp_path, potentials, reference):
    bare = replace(reference, meta={"source": "elsewhere/CHGCAR"})
    done = write_restart(density(), tmp_path / "a", potentials=potentials, reference=bare)
    assert "next to elsewhere/CHGCAR" in done.warnings[0]
    done = write_restart(density(), tmp_path / "b", reference=reference)
    assert "--potcar" in done.warnings[0]
    assert record(tmp_path / "b")["reference_has_the_same_potcar"] is None
    assert record(tmp_path / "b")["electrons"]["from"] == "the reference"


def test_without_occupancies_it_is_said_that_vasp_does_not_start_from_it(tmp_path, potentials):
    done = write_restart(density(), tmp_path / "run", potentials=potentials)
    assert "will not start from this density" in done.effect
    assert record(tmp_path / "run")["channels"]["augmentation"] is None
    assert read(tmp_path / "run/CHGCAR").augmentation is None


def test_other_atoms_orders_and_geometries_of_the_reference(tmp_path, potentials, reference):
    swapped = replace(MGO, numbers=MGO.numbers[::-1], frac_coords=MGO.frac_coords[::-1])
    with pytest.raises(UsageError, match="into the same order"):
        write_restart(density(swapped), tmp_path / "run", potentials=potentials)
    with pytest.raises(UsageError, match="same order"):
        write_restart(density(swapped), tmp_path / "run", reference=reference)
    moved = replace(MGO, frac_coords=MGO.frac_coords + [[0.0] * 3, [0.05] * 3])
    done = write_restart(density(moved), tmp_path / "run", potentials=potentials, reference=reference)
    assert "another geometry" in done.warnings[0]
    around = replace(MGO, frac_coords=MGO.frac_coords + [[1.0, 0, -1], [0.0] * 3])
    done = write_restart(density(around), tmp_path / "around", potentials=potentials, reference=reference)
    assert done.warnings == ()


@pytest.mark.parametrize("electrons", [0.0, 5.0, 10.0, 800.0, -8.0, np.nan])
def test_a_density_of_other_electrons_is_refused(electrons, tmp_path, potentials):
    rho = replace(density(), values=density().values * electrons / 8)
    with pytest.raises(UsageError, match="where 8 are due"):
        write_restart(rho, tmp_path / "run", potentials=potentials)
    assert not (tmp_path / "run").exists()


def test_where_the_electrons_come_from(tmp_path, potentials):
    with pytest.raises(UsageError, match="--nelect"):
        write_restart(density(), tmp_path / "run")
    for number, (options, due, of) in enumerate(
        [
            ({"nelect": 8.5, "incar": {"NELECT": 7.5}}, 8.5, "given"),
            ({"incar": {"NELECT": 7.5}}, 7.5, "NELECT in INCAR"),
            ({}, 8.0, potentials.path),
        ]
    ):
        folder = tmp_path / str(number)
        write_restart(density(), folder, potentials=potentials, **options)
        assert read(folder / "CHGCAR").nelect == pytest.approx(due)
        assert record(folder)["electrons"]["from"] == of
    twice = Potentials.read(potcar(tmp_path / "P", ("Mg", 2.0), ("Mg_pv", 8.0), ("O", 6.0)))
    with pytest.raises(UsageError, match="two potentials of one element"):
        write_restart(density(), tmp_path / "run", potentials=twice)


@pytest.mark.parametrize(
    ("tags", "numbers"),
    [
        ("MAGMOM = 2*5.0 2*-5.0", [5, 5, -5, -5]),
        ("MAGMOM = 4 -4 0 0", [4, -4, 0, 0]),
        ("MAGMOM = 4*1.0", [1, 1, 1, 1]),
        ("LNONCOLLINEAR = .TRUE.\nMAGMOM = 0 0 3 0 0 -3 6*0", [0, 0, 3, 0, 0, -3, 0, 0, 0, 0, 0, 0]),
        ("ISPIN = 2", []),
    ],
)
def test_magmom_as_people_write_it(tags, numbers, tmp_path):
    (tmp_path / "INCAR").write_text(f"ENCUT = 520\nISPIN = 2\n{tags}\n")
    found = read_incar(tmp_path / "INCAR")
    assert read_magmom(found) == numbers
    mixed = min(numbers, default=0) < 0 < max(numbers, default=0)
    told = find_conflicts(found, density(FEO))
    assert any("both signs" in sentence for sentence in told) == mixed
    assert any("starts from MAGMOM" in sentence for sentence in told) != mixed
    if "NONCOLLINEAR" not in tags:
        assert not find_conflicts(found, density(FEO, spin=True))


def test_a_magnetization_goes_with_a_run_that_has_one(tmp_path):
    rho, due = density(FEO, 28.0, spin=True), 28.0
    write_restart(rho, tmp_path / "own", nelect=due)
    assert read_incar(tmp_path / "own/INCAR")["ISPIN"] == 2
    write_restart(rho, tmp_path / "spin", nelect=due, incar={"ISPIN": 2})
    written = read(tmp_path / "spin/CHGCAR")
    assert written.magnetization is not None
    assert np.allclose(written.magnetization, rho.magnetization, atol=1e-9)
    done = write_restart(rho, tmp_path / "none", nelect=due, incar={"ENCUT": 400})
    assert "left out" in done.warnings[0]
    assert read(tmp_path / "none/CHGCAR").magnetization is None
    vector = replace(rho, magnetization=np.stack([rho.magnetization] * 3))
    with pytest.raises(UsageError, match="non-collinear"):
        write_restart(vector, tmp_path / "vector", nelect=due, incar={"ISPIN": 2})
    write_restart(vector, tmp_path / "vector", nelect=due, incar={"LSORBIT": True})
    assert read(tmp_path / "vector/CHGCAR").magnetization.shape[0] == 3


def test_what_in_an_incar_does_not_go_with_a_restart(tmp_path):
    assert "LMAXMIX" in find_conflicts({"LDAU": True}, density())[0]
    assert find_conflicts({"LDAU": True, "LMAXMIX": 4}, density()) == []
    done = write_restart(density(), tmp_path / "run", nelect=8, incar={"ICHARG": 11})
    assert "was replaced by 1" in done.warnings[0]
    assert read_incar(tmp_path / "run/INCAR")["ICHARG"] == 1
    odd = write_restart(density(shape=(13, 12, 12)), tmp_path / "odd", nelect=8)
    assert "takes no grid of 13x12x12" in odd.warnings[0]
    with pytest.raises(FormatError, match="INCAR"):
        read_incar(tmp_path / "nowhere")


def test_nothing_is_written_over(tmp_path):
    write_restart(density(), tmp_path / "run", nelect=8)
    with pytest.raises(UsageError, match="already"):
        write_restart(density(), tmp_path / "run", nelect=8)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        write_restart(density(), tmp_path / "file", nelect=8)


def test_the_grid_is_the_one_that_the_run_takes(reference):
    own = vasp_fine_grid(MGO.lattice, 400, "accurate")
    assert VaspGrid(encut=400, prec="accurate")(MGO, RunFiles()) == own
    assert VaspGrid()(MGO, RunFiles(incar={"ENCUT": 400, "PREC": "Accurate"})) == own
    assert VaspGrid()(MGO, RunFiles(incar={"ENCUT": 400})) == vasp_fine_grid(MGO.lattice, 400, "normal")
    assert VaspGrid()(MGO, RunFiles(incar={"NGXF": 20, "NGYF": 20, "NGZF": 24, "ENCUT": 400})) == (20, 20, 24)
    assert VaspGrid(shape=(10, 10, 10))(MGO, RunFiles(incar={"ENCUT": 400})) == (10, 10, 10)
    assert VaspGrid()(MGO, RunFiles(reference=reference)) == (16, 16, 16)
    assert VaspGrid()(MGO, RunFiles()) is None


def test_a_converged_chgcar_on_another_grid_keeps_its_occupancies(tmp_path, capsys):
    potcar(tmp_path / "run/POTCAR", ("Mg", 2.0), ("O", 6.0))
    write(tmp_path / "run/CHGCAR", occupied(density(shape=(16, 16, 16))))
    titles = "PAW_PBE Mg 01Jan2000\n   TITEL  = PAW_PBE O 01Jan2000"
    (tmp_path / "run/OUTCAR").write_text(outcar([9]).replace("PAW_PBE O 08Apr2002", titles))
    command = ["scf", "restart", str(tmp_path / "run/CHGCAR"), "--potcar", str(tmp_path / "run/POTCAR")]
    assert _run([*command, "--grid", "20", "20", "20", "-o", str(tmp_path / "new")]) == 0
    written, said = read(tmp_path / "new/CHGCAR"), record(tmp_path / "new")
    assert written.shape == (20, 20, 20)
    assert written.augmentation == read(tmp_path / "run/CHGCAR").augmentation
    assert said["reference_has_the_same_potcar"] is True
    assert said["channels"]["density"] == said["channels"]["augmentation"] == "converged"
    assert "will read CHGCAR" in capsys.readouterr().out


def test_from_a_bare_structure_and_a_model(tmp_path, capsys):
    write(tmp_path / "CHGCAR", density())
    command = ["scf", "restart", str(tmp_path / "CHGCAR"), "-m", "charge3net-sample", "-o", str(tmp_path / "run")]
    assert _run([*command, "--nelect", "16"]) == 2
    assert "learned densities of Quantum ESPRESSO" in capsys.readouterr().err
    command += ["--allow-valence-mismatch"]
    assert _run([*command, "--nelect", "16"]) == 2
    assert "the grid of the run is not known" in capsys.readouterr().err
    assert _run([*command, "--nelect", "16", "--grid", "12", "12", "12"]) == 0
    captured = capsys.readouterr()
    assert "will not start from this density" in captured.out
    assert record(tmp_path / "run")["density"]["model"] == "charge3net-sample"
    assert record(tmp_path / "run")["channels"]["density"] == "predicted"
    assert "of no use to VASP, except as a rehearsal" in " ".join(record(tmp_path / "run")["warnings"])
    potcar(tmp_path / "POTCAR", ("Mg", 2.0), ("O", 6.0))
    strict = [*command[:-3], "-o", str(tmp_path / "strict"), "--potcar", str(tmp_path / "POTCAR")]
    assert _run([*strict, "--grid", "12", "12", "12"]) == 2


@pytest.mark.parametrize("flags", [True, False])
def test_flags_of_selective_dynamics_are_missed_in_print_and_in_the_record(flags: bool, tmp_path, capsys):
    write(tmp_path / "CHGCAR", density())
    lines = (tmp_path / "CHGCAR").read_text().splitlines()[: 8 + len(density().crystal)]
    if flags:
        lines = [*lines[:7], "Selective dynamics", lines[7], *(f"{line} T T F" for line in lines[8:])]
    (tmp_path / "POSCAR").write_text("\n".join(lines) + "\n")
    command = ["scf", "restart", str(tmp_path / "POSCAR"), "-o", str(tmp_path / "run")]
    assert _run(command) == 2
    assert "POSCAR is a structure: name a model that predicts its density (-m)" in capsys.readouterr().err
    command += ["-m", "pair_density"]
    assert _run([*command, "--allow-valence-mismatch", "--nelect", "16", "--grid", "12", "12", "12"]) == 0
    captured = capsys.readouterr()
    for told in (captured.out + captured.err, " ".join(record(tmp_path / "run")["warnings"])):
        assert ("POSCAR here has no T and F: copy them, or all atoms move" in told) == flags


def test_a_model_that_learned_vasps_densities_is_compared_with_the_potcar(tmp_path, potentials):
    from ecd_models import load_model
    from ecd_models.atoms.valences import TrainingValences

    model = load_model()
    model.training_valences = TrainingValences({"Mg": 8.0, "O": 6.0}, (), "VASP", "PAW", "PBE")
    write(tmp_path / "CHGCAR", density())
    with pytest.raises(UsageError, match="Mg 2 instead of 8"):
        find_start_density(tmp_path / "CHGCAR", RunFiles(potentials), VaspGrid(shape=(8, 8, 8)), model)


@pytest.mark.parametrize("name", ["pmg_nospin", "pyiron_spin", "aiida_converge"])
def test_real_chgcars_restart_as_they_are(name, shared, tmp_path):
    """Files of VASP: grid, magnetization and occupancies come out as they went in."""
    file = shared / f"real/{name}.CHGCAR.gz"
    rho, source = find_start_density(file, RunFiles(), VaspGrid())
    done = RunFiles().write(rho, tmp_path / "run", nelect=rho.nelect, source=source)
    written = read(tmp_path / "run/CHGCAR")
    assert np.allclose(written.values, rho.values, rtol=1e-9)
    assert written.augmentation == rho.augmentation
    assert (written.magnetization is None) == (rho.magnetization is None)
    assert written.magnetization is None or np.allclose(written.magnetization, rho.magnetization, atol=1e-9)
    assert "will read CHGCAR" in done.effect
