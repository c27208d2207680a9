"""The estimate of an error from the atoms alone: what it depends on, its record, its fit, what it makes of a start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ecd_data import Crystal, Density
from ecd_data.errors import FormatError, UsageError
from ecd_models import estimate_error, load_model
from ecd_models.model import DensityModel
from ecd_models.prediction.density_files import GridRule, predict_files
from ecd_models.prediction.error_estimate import KEY, Calibration, ErrorEstimate, fit_calibration, list_pairs
from ecd_models.prediction.functionals import choose_functional
from ecd_models.scf.doubts import list_doubts
from tests.models.test_fourier_density import SMALL, atoms, crystal, network


@pytest.fixture
def model() -> DensityModel:
    """A network with weights, whose estimate is that of a fit to invented errors."""
    found = DensityModel(network(), atoms(), "fourier_density")
    cells = [stretched(factor) for factor in (1.0, 1.05, 1.15, 1.3, 1.45)]
    calibration = fit_calibration(found, [cells[0]], cells, np.array([0.001, 0.004, 0.01, 0.03, 0.05]))
    found.metadata = {KEY: calibration.to_text()}
    return found


def stretched(factor: float) -> Crystal:
    cell = crystal()
    return crystal(factor * np.array(cell.lattice))


def supercell() -> Crystal:
    cell = crystal()
    frac = np.array(cell.frac_coords) / [2, 1, 1]
    lattice = np.diag([2, 1, 1]) @ np.array(cell.lattice)
    return crystal(lattice, (12, 8, 12, 8), np.concatenate([frac, frac + [0.5, 0, 0]]))


def test_a_crystal_of_the_training_is_not_new_and_stretching_it_is(model):
    calibration = Calibration.from_text(model.metadata[KEY])
    assert calibration.novelty(crystal()) < 0.02
    assert calibration.novelty(stretched(1.1)) > calibration.novelty(stretched(1.02)) > calibration.novelty(crystal())
    assert estimate_error(model, stretched(1.3)).eps_mae > 3 * estimate_error(model, crystal()).eps_mae


def test_the_estimate_of_a_supercell_is_that_of_its_cell(model):
    assert estimate_error(model, supercell()).eps_mae == pytest.approx(
        estimate_error(model, crystal()).eps_mae, rel=1e-3
    )


def test_structures_of_ase_are_taken_too(model):
    found = estimate_error(model, crystal().to_ase())
    assert found.eps_mae == pytest.approx(estimate_error(model, crystal()).eps_mae)


def test_the_estimate_is_that_of_the_functional_that_is_predicted(model, tmp_path):
    both = DensityModel(network(config=replace(SMALL, functionals=("PBE", "HSE06"))), atoms(), "both")
    with torch.no_grad():  # little beside the atoms, so that no value is negative
        for weight in both.network.parameters():
            weight.mul_(0.3)
    cells = [stretched(factor) for factor in (1.0, 1.05, 1.15, 1.3, 1.45)]
    calibration = fit_calibration(both, [cells[0]], cells, np.array([0.001, 0.004, 0.01, 0.03, 0.05]))
    both.metadata = {KEY: calibration.to_text()}
    first, second = (estimate_error(both, crystal(), functional) for functional in ("PBE", "HSE06"))
    assert estimate_error(both, crystal()) == first
    assert second != first
    crystal().to_pymatgen().to(filename=str(tmp_path / "MgO.cif"))
    grid = GridRule(shape=(32, 32, 32))
    report = predict_files(both, [tmp_path / "MgO.cif"], tmp_path / "CHGCAR", grid, functional="HSE06")
    assert str(second) in next(iter(report.written.values()))
    with pytest.raises(UsageError, match="cannot choose"):
        estimate_error(model, crystal(), "HSE06")


def test_bounds_lie_around_the_estimate(model):
    estimate = estimate_error(model, crystal())
    assert estimate.lowest < estimate.eps_mae < estimate.highest
    assert estimate.eps_mae**2 == pytest.approx(estimate.lowest * estimate.highest)
    assert "half of such errors lie between" in str(estimate)


def test_atoms_without_neighbours_have_no_estimate(model):
    lone = crystal(20 * np.eye(3), (8,), [[0, 0, 0]])
    assert len(list_pairs(lone)) == 0
    assert np.isnan(estimate_error(model, lone).eps_mae)
    sparse = crystal(2.6 * np.eye(3), (8,), [[0, 0, 0]])
    assert len(list_pairs(sparse)) == 0
    assert "too far from each other" in str(estimate_error(model, sparse))
    assert "no free atom of He" in str(estimate_error(model, crystal(numbers=(12, 2))))


def test_cells_with_vacuum_have_no_estimate_unless_some_trained_the_model(model):
    cell = crystal()
    slab = crystal(np.diag([1, 1, 6]) @ cell.lattice, cell.numbers, cell.frac_coords / [1, 1, 6])
    estimate = estimate_error(model, slab)
    assert np.isnan([estimate.eps_mae, estimate.lowest, estimate.highest]).all()
    assert str(estimate).startswith("expected eps_mae not known: the cell has vacuum (a slab, wire, molecule")
    cells = [stretched(factor) for factor in (1.0, 1.05, 1.15, 1.3, 1.45)]
    found = fit_calibration(model, [cells[0], slab], cells, np.array([0.001, 0.004, 0.01, 0.03, 0.05]))
    model.metadata = {KEY: found.to_text()}
    assert np.isfinite(estimate_error(model, slab).eps_mae)
    assert Calibration.from_text(found.to_text()).to_text() == found.to_text()


def test_a_predicted_file_of_a_molecule_in_a_box_says_that_its_error_is_not_known(tmp_path):
    box = Crystal(10 * np.eye(3), [8, 1, 1], np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]) / 10)
    box.to_pymatgen().to(str(tmp_path / "H2O.vasp"), fmt="poscar")
    report = predict_files(load_model(), [tmp_path / "H2O.vasp"], tmp_path / "CHGCAR", GridRule(shape=(12, 12, 12)))
    assert "the cell has vacuum (a slab, wire, molecule or cluster)" in report.written[tmp_path / "CHGCAR"]


def test_the_record_is_read_as_it_was_written_and_a_damaged_one_is_refused(model):
    text = model.metadata[KEY]
    assert Calibration.from_text(text).to_text() == text
    for damaged in (text[:40], text.replace('"format":2', '"format":0')):
        with pytest.raises(FormatError, match="calibrate it again"):
            Calibration.from_text(damaged)


def test_models_without_a_record_or_of_another_kind_are_refused():
    with pytest.raises(UsageError, match="no record of its errors"):
        estimate_error(load_model("pair_density"), crystal())
    with pytest.raises(UsageError, match="cannot be estimated"):
        fit_calibration(load_model("pair_density"), [crystal()], [crystal()], np.ones(1))


def test_a_large_expected_error_is_a_doubt_and_a_small_one_is_none():
    cell = supercell()
    rho = Density(cell, np.ones((4, 4, 4)))
    small, large = ErrorEstimate(0.015, 0.01, 0.02), ErrorEstimate(0.03, 0.02, 0.045)
    assert list_doubts(rho, seen="unseen", estimate=small) == []
    assert "expected eps_mae 3 %" in list_doubts(rho, estimate=large)[0]
    assert "one composition with Te" in list_doubts(rho, estimate=small, rare=["Te"])[0]
    nan = float("nan")
    assert list_doubts(rho, estimate=ErrorEstimate(nan, nan, nan, "the cell has vacuum")) == ["the cell has vacuum"]


def test_a_model_of_one_functional_cannot_choose(model):
    with choose_functional(model, None), torch.no_grad():
        pass
    with pytest.raises(UsageError, match="cannot choose HSE06"), choose_functional(model, "HSE06"):
        pass
