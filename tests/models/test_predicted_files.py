"""From structure files to density files: grids, names, resumption, augmentation, words for what cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from ecd_data import Crystal, Density, open_store, read, write
from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.formats.structure import closest_pair, read_structure
from ecd_data.formats.structure_names import structure_id
from ecd_data.vasp_grid import vasp_fine_grid
from ecd_models import cli
from ecd_models.atoms.fitted import EXPONENTS, MAX_ELEMENT, SuperposedAtoms
from ecd_models.atoms.valences import TrainingValences
from ecd_models.checkpoint import DEFAULT
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from ecd_models.prediction.density_files import GridRule, predict_files
from ecd_models.prediction.functionals import name_model
from ecd_models.prediction.kept_files import find_difference
from tests.models.conftest import SMALL
from tests.models.test_fourier_density import SMALL as SMALL_FOURIER
from tests.models.test_fourier_density import network

GRID = GridRule(shape=(6, 6, 6))
SILICON = Structure(Lattice.from_parameters(3.84, 3.84, 3.84, 60, 60, 60), ["Si", "Si"], [[0, 0, 0], [0.25] * 3])


@pytest.fixture(scope="module")
def model() -> DensityModel:
    """An untrained network beside Gaussian atoms that have all their electrons."""
    torch.manual_seed(0)
    coefficients = np.zeros((MAX_ELEMENT + 1, len(EXPONENTS)))
    coefficients[:, 6] = np.arange(MAX_ELEMENT + 1)
    return DensityModel(build_model("charge3net", **SMALL), SuperposedAtoms(coefficients), "small")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Structures of many makers, one that overlaps, one that is none."""
    where = tmp_path / "in"
    (where / "bare").mkdir(parents=True)
    SILICON.to(str(where / "Si.cif"))
    SILICON.to(str(where / "bare" / "POSCAR"), fmt="poscar")
    SILICON.to_ase_atoms().write(where / "moved.extxyz")
    (where / "junk.cif").write_text("data_nothing\n")
    Structure(SILICON.lattice, ["Si", "Si"], [[0, 0, 0], [0, 0, 1]]).to(str(where / "twins.vasp"), fmt="poscar")
    return where


def test_every_structure_becomes_a_file_and_the_bad_ones_are_named(model, folder, tmp_path):
    report = predict_files(model, [folder], tmp_path / "out", GRID)
    names = {path.name for path in report.written}
    assert names == {"Si_CHGCAR", "bare_CHGCAR", "moved_CHGCAR"}
    assert set(report.bare) == set(report.written)
    assert {Path(name).name for name in report.failed} == {"junk.cif", "twins.vasp"}
    assert "on top of each other" in report.failed[str(folder / "twins.vasp")]
    densities = [read(path) for path in report.written]
    for rho in densities:
        np.testing.assert_allclose(np.sort(rho.values.ravel()), np.sort(densities[0].values.ravel()), atol=1e-5)
    again = predict_files(model, [folder], tmp_path / "out", GRID)
    assert not again.written
    assert {path.name for path in again.present} == names


def test_files_of_another_model_or_grid_are_not_taken_for_this_one(model, folder, tmp_path):
    structures = [folder / "Si.cif", folder / "moved.extxyz"]
    for format in ("chgcar", "cube"):
        predict_files(model, structures, tmp_path / "out", GRID, format=format)
        finer = predict_files(model, structures, tmp_path / "out", GridRule(shape=(8, 6, 6)), format=format)
        other = predict_files(
            DensityModel(model.network, model.atoms, "other"), structures, tmp_path / "out", GRID, format=format
        )
        for report, why in ((finer, "on a grid of 6x6x6 and not 8x6x6 points"), (other, "not predicted by other")):
            assert not report.written
            assert not report.present
            assert all(why in reason for reason in report.failed.values()), report.failed
            assert len(report.failed) == 2
    (tmp_path / "out" / "Si_CHGCAR").write_text(f"predicted by {name_model(model)}\n1.0\n")
    report = predict_files(model, structures, tmp_path / "out", GRID)
    assert "on a grid of no and not 6x6x6 points" in report.failed[str(structures[0])]
    assert len(report.present) == 1


@pytest.mark.parametrize("format", ["chgcar", "cube"])
def test_files_of_other_weights_are_not_taken_for_this_checkpoint(model, folder, tmp_path, format):
    structures, output = [folder / "Si.cif", folder / "moved.extxyz"], tmp_path / "out"
    predict_files(model, structures, output, GRID, format=format)
    same = DensityModel(model.network, replace(model.atoms), model.name)
    assert len(predict_files(same, structures, output, GRID, format=format).present) == 2
    torch.manual_seed(1)
    others = [DensityModel(build_model("charge3net", **SMALL), model.atoms, model.name)]  # the next seed
    others += [DensityModel(model.network, SuperposedAtoms(1.01 * model.atoms.coefficients), model.name)]
    for other in others:
        report = predict_files(other, structures, output, GRID, format=format)
        assert not report.written
        assert not report.present
        assert all("and not predicted by small " in reason for reason in report.failed.values()), report.failed
    for file in output.iterdir():
        comment, _, rest = file.read_text().partition("\n")
        assert comment.split()[:3] == ["predicted", "by", "small"]
        assert comment.split()[3] == model.weights_sha256[:8]
        file.write_text(f"predicted by small\n{rest}")
    report = predict_files(model, structures, output, GRID, format=format)
    assert not report.present
    assert all("'predicted by small' and not predicted by small " in why for why in report.failed.values())


def test_the_hash_of_a_model_follows_its_weights(model):
    own = DensityModel(build_model("charge3net", **SMALL))
    before = own.weights_sha256
    assert own.weights_sha256 == before
    with torch.no_grad():
        next(own.parameters()).mul_(2)
    changed = own.weights_sha256
    assert changed != before
    assert own.bfloat16().weights_sha256 not in (before, changed)
    with torch.inference_mode():
        assert len(DensityModel(build_model("charge3net", **SMALL)).weights_sha256) == 64


@pytest.mark.parametrize("ending", ["CHGCAR", "cube"])
def test_kept_files_are_of_exactly_the_model_asked_for(tmp_path, ending):
    file, shape, crystal = tmp_path / f"Si.{ending}", (4, 4, 4), Crystal.from_pymatgen(SILICON)
    names = ["a", "ab", "a b", "a 2", "b", "the mean of 2 models: a", "a for HSE06", "ä", "predicted by a"]
    for name in names:
        write(file, Density(crystal, np.ones(shape), meta={"comment": f"predicted by {name}"}))
        assert [other for other in names if find_difference(file, other, crystal, shape) is None] == [name]


@pytest.mark.parametrize("format", ["chgcar", "cube"])
def test_a_structure_that_was_changed_is_not_taken_for_the_one_of_the_kept_file(model, folder, tmp_path, format):
    structures = [folder / "Si.cif", folder / "moved.extxyz"]
    predict_files(model, structures, tmp_path / "out", GRID, format=format)
    SILICON.copy().apply_strain(0.01).to(filename=str(structures[0]), fmt="cif")
    report = predict_files(model, structures, tmp_path / "out", GRID, format=format)
    assert len(report.present) == 1
    assert "is there already, of another cell or of other positions" in report.failed[str(structures[0])]


def test_kept_files_of_another_functional_are_not_taken(model, folder, tmp_path):
    config = replace(SMALL_FOURIER, functionals=("PBE", "HSE06"))
    both = DensityModel(network(config=config), model.atoms, "both")
    structures = [folder / "Si.cif", folder / "moved.extxyz"]
    for functional, kept in (("HSE06", False), ("HSE06", True), (None, False), ("PBE", False)):
        report = predict_files(both, structures, tmp_path / "out", GRID, functional=functional)
        assert len(report.present) == 2 * kept
    assert f"predicted by {name_model(both)}".replace("PBE", "HSE06") in report.failed[str(structures[0])]


def test_one_structure_becomes_the_named_file(model, folder, tmp_path):
    report = predict_files(model, [folder / "Si.cif"], tmp_path / "rho.cube", GRID)
    assert list(report.written) == [tmp_path / "rho.cube"]
    assert not report.bare
    with pytest.raises(FormatError, match="junk"):
        predict_files(model, [folder / "junk.cif"], tmp_path / "rho.cube", GRID)


def test_several_as_cubes(model, folder, tmp_path):
    report = predict_files(model, [folder / "Si.cif", folder / "moved.extxyz"], tmp_path / "out", GRID, format="cube")
    assert {path.name for path in report.written} == {"Si.cube", "moved.cube"}


def test_grids_by_rule(folder):
    crystal = read_structure(folder / "Si.cif")
    assert GridRule(encut=520, prec="accurate")(crystal) == vasp_fine_grid(crystal.lattice, 520, "accurate")
    like = Density(crystal, np.ones((3, 4, 5)))
    assert GridRule(like=like)(crystal) == (3, 4, 5)
    for wrong in ({}, {"shape": (3, 3, 3), "encut": 520.0}):
        with pytest.raises(UsageError, match="one of"):
            GridRule(**wrong)


def test_augmentation_of_a_reference_is_written_behind(model, shared, tmp_path):
    for name, grids in (("pmg_nospin", 1), ("pmg_spin", 2)):
        file = shared / f"real/{name}.CHGCAR.gz"
        reference = read(file)
        assert len(reference.augmentation) == grids
        report = predict_files(model, [file], tmp_path / f"{name}_CHGCAR", GRID, augmentation=reference)
        assert not report.bare
        (tail,) = read(tmp_path / f"{name}_CHGCAR").augmentation
        assert tail.count("augmentation occupancies") == len(reference.crystal)
        assert reference.augmentation[0].startswith(tail.rstrip("\n"))


@pytest.mark.parametrize("spin", [False, True])
def test_kept_files_without_the_augmentation_that_is_asked_for_are_named(model, folder, tmp_path, spin):
    chosen = DensityModel(build_model("charge3net", **SMALL, outputs=2)) if spin else model
    structures, out = [folder / "Si.cif", folder / "moved.extxyz"], tmp_path / "out"
    reference = with_occupancies(read_structure(structures[0]), 1.0, spin)
    assert len(predict_files(chosen, structures, out, GRID).written) == 2
    report = predict_files(chosen, structures, out, GRID, augmentation=reference)
    assert not report.present
    assert all("without the augmentation occupancies" in reason for reason in report.failed.values())
    with_them = tmp_path / "with"
    predict_files(chosen, structures, with_them, GRID, augmentation=reference)
    other = with_occupancies(reference.crystal, 2.0, spin)
    for asked, kept in ((reference, 2), (None, 2), (other, 0)):
        assert len(predict_files(chosen, structures, with_them, GRID, augmentation=asked).present) == kept


def with_occupancies(crystal: Crystal, value: float, spin: bool) -> Density:
    """A density with occupancies of each atom."""
    blocks = "".join(f"augmentation occupancies {k + 1:3} {1:3}\n {value:.7E}\n" for k in range(len(crystal)))
    ones = np.ones((2, 2, 2))
    return Density(crystal, ones, ones if spin else None, augmentation=(blocks,) * (1 + spin))


def test_kept_files_of_other_valences_than_those_asked_for_are_named(model, folder, tmp_path):
    learned = DensityModel(model.network, model.atoms, "small", training_valences=TrainingValences({"Si": 4.0}))
    structures, out, other = [folder / "Si.cif", folder / "moved.extxyz"], tmp_path / "out", {"Si": frozenset({12.0})}
    predict_files(learned, structures, out, GRID)
    report = predict_files(learned, structures, out, GRID, valences=other)
    assert not report.present
    assert all("Si 12 instead of 4" in reason for reason in report.failed.values())
    kept = predict_files(learned, structures, out, GRID, valences=other, allow_valence_mismatch=True)
    assert len(kept.present) == 2


def test_a_reference_of_other_atoms_is_refused_or_left(model, folder, shared, tmp_path):
    reference = read(shared / "real/pmg_nospin.CHGCAR.gz")
    target = tmp_path / "CHGCAR"
    with pytest.raises(UsageError, match="same atoms"):
        predict_files(model, [folder / "Si.cif"], target, GRID, augmentation=reference)
    assert not target.exists()
    report = predict_files(model, [folder / "Si.cif"], target, GRID, augmentation=reference, strict=False)
    assert report.bare == [target]
    write(tmp_path / "bare_CHGCAR", read(target))
    with pytest.raises(UsageError, match="no augmentation"):
        predict_files(model, [folder / "Si.cif"], target, GRID, augmentation=read(tmp_path / "bare_CHGCAR"))


def test_a_cube_is_not_asked_for_occupancies(model, folder, shared, tmp_path):
    reference, silicon = read(shared / "real/pmg_nospin.CHGCAR.gz"), folder / "Si.cif"
    with pytest.raises(UsageError, match="a cube has no room for augmentation occupancies: write a CHGCAR"):
        predict_files(model, [silicon], tmp_path / "Si.cube.gz", GRID, augmentation=reference)
    report = predict_files(model, [silicon], tmp_path / "Si.cube.gz", GRID, augmentation=reference, strict=False)
    assert (report.bare, list(report.written)) == ([], [tmp_path / "Si.cube.gz"])


def test_names_that_meet_and_folders_without_structures_are_refused(model, folder, tmp_path):
    (folder / "Si.vasp").write_text((folder / "bare/POSCAR").read_text())
    with pytest.raises(UsageError, match="would both have the id"):
        predict_files(model, [folder], tmp_path / "out", GRID)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no structure file"):
        predict_files(model, [tmp_path / "empty"], tmp_path / "out", GRID)
    with pytest.raises(UsageError, match="is a file"):
        predict_files(model, [folder], folder / "Si.cif", GRID)


def test_names_of_structures():
    names = {"a/POSCAR": "a", "Si.cif": "Si", "CHGCAR_MgO.gz": "MgO", "x/MgO.vasp.gz": "MgO", "POSCAR-3": "3"}
    assert {file: structure_id(Path(file)) for file in names} == names


def test_the_closest_pair_sees_images():
    near = Structure(Lattice.cubic(5), ["H", "Li", "B"], [[0, 0, 0.01], [0.5, 0.5, 0.5], [0, 0, 0.97]])
    i, j, distance = closest_pair(Crystal.from_pymatgen(near))
    assert {i, j} == {0, 2}
    assert distance == pytest.approx(0.2)
    assert closest_pair(Crystal.from_pymatgen(SILICON)) is None


def test_partial_occupancies_are_refused(tmp_path):
    Structure(Lattice.cubic(4), [{"Si": 0.5, "Ge": 0.5}], [[0, 0, 0]]).to(str(tmp_path / "alloy.cif"))
    with pytest.raises(EcdError, match="partial occupancies"):
        read_structure(tmp_path / "alloy.cif")


def test_a_model_of_another_code_says_that_vasp_cannot_start_from_it(tmp_path, capsys):
    SILICON.to(str(tmp_path / "POSCAR"), fmt="poscar")
    command = ["predict", str(tmp_path / "POSCAR"), "--grid", "8", "8", "8", "-m", "pair_density", "-q"]
    assert cli._run([*command, "-o", str(tmp_path / "CHGCAR")]) == 0
    printed = capsys.readouterr().out
    assert "pair_density learned densities of Quantum ESPRESSO" in printed
    assert "from which VASP cannot start" in printed


def test_the_command_without_a_model_takes_the_default_one(tmp_path):
    write(tmp_path / "CHGCAR", open_store("pbe")["MgO_rs"].resample((12, 12, 12)))
    target = tmp_path / "CHGCAR_predicted"
    assert cli._run(["predict", str(tmp_path / "CHGCAR"), "--grid", "12", "12", "12", "-o", str(target), "-q"]) == 0
    assert DEFAULT in target.read_text().splitlines()[0]
