"""The linear pair model: what it promises for any weights, and what its fit finds."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ecd_data import Crystal, eps_mae, open_store
from ecd_data.errors import UsageError
from ecd_models import evaluate, load_model, predict, train
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.checkpoint import load_checkpoint, save_checkpoint
from ecd_models.model import DensityModel
from ecd_models.networks.elements import column
from ecd_models.networks.pair_density.descriptors import choose_anchors, describe_pairs, find_antisymmetric
from ecd_models.networks.pair_density.functions import PairDensityConfig
from ecd_models.networks.pair_density.model import PairDensity
from ecd_models.networks.pair_density.unknowns import Unknowns
from ecd_models.training.config import TrainConfig, load_config
from ecd_models.training.fit_pair_density import PairFit, assign_folds, draw_points
from tests.models.test_atoms import cell, true_atoms

SIZES = PairDensityConfig(gaussians=3, sharpest=2.0, widest=0.5, spherical=3, windows=2, anchors=("Li-F", "F-F"))
SHAPE = (24, 26, 22)
TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])  # a rotation


def network(seed: int = 0, config: PairDensityConfig = SIZES) -> PairDensity:
    """A model of random weights, as a fit makes them."""
    rng, unknowns, model = np.random.default_rng(seed), Unknowns(config), PairDensity(config)
    with torch.no_grad():
        model.pair.copy_(torch.from_numpy(unknowns.pair_weights(0.1 * rng.normal(size=unknowns.shared))))
        own = unknowns.own_coefficients(0.1 * rng.normal(size=(119, unknowns.own)))
        model.spherical.copy_(torch.from_numpy(own))
        model.seen[3, 9] = model.seen[9, 3] = model.seen[9, 9] = model.seen[3, 3] = True
    return model.eval()


@pytest.fixture(scope="module")
def model() -> DensityModel:
    return DensityModel(network(), true_atoms(), "pair_density")


def turned(crystal: Crystal) -> Crystal:
    return Crystal(crystal.lattice @ TURN.T, crystal.numbers, crystal.frac_coords)


def test_electrons_are_those_of_the_atoms_on_any_grid(model):
    for seed, numbers in enumerate([(3, 9, 9), (3, 3, 9), (9,), (3, 9)]):
        crystal = cell(seed, numbers)
        due = sum({3: 1.0, 9: 7.0}[z] for z in numbers)
        for shape in (SHAPE, (7, 8, 9)):
            assert predict(model, crystal, shape=shape).nelect == pytest.approx(due, rel=1e-9)


def test_a_lone_atom_moves_no_charge_and_has_no_neighbours():
    crystal = Crystal(30 * np.eye(3), np.array([9]), np.zeros((1, 3)))
    assert not network().coefficients(crystal).any()


def test_rotation_translation_and_order_of_atoms(model):
    crystal = cell(2)
    rho = predict(model, crystal, shape=SHAPE).values
    np.testing.assert_allclose(predict(model, turned(crystal), shape=SHAPE).values, rho, atol=1e-9)
    moved = Crystal(crystal.lattice, crystal.numbers, crystal.frac_coords + np.array([3, -5, 7]) / SHAPE)
    expected = np.roll(rho, (3, -5, 7), (0, 1, 2))
    np.testing.assert_allclose(predict(model, moved, shape=SHAPE).values, expected, atol=1e-6)
    order = [2, 0, 1]
    permuted = Crystal(crystal.lattice, crystal.numbers[order], crystal.frac_coords[order])
    np.testing.assert_allclose(predict(model, permuted, shape=SHAPE).values, rho, atol=1e-9)


def test_inversion_and_mirrors_of_the_crystal_are_those_of_the_density():
    crystal = cell(4)
    inverted = Crystal(crystal.lattice, crystal.numbers, -crystal.frac_coords)
    values = network().on_grid(crystal, SHAPE)
    back = np.roll(values[::-1, ::-1, ::-1], 1, (0, 1, 2))
    np.testing.assert_allclose(network().on_grid(inverted, SHAPE), back, atol=1e-9)


def test_the_density_of_a_symmetric_crystal_has_its_symmetry():
    rocksalt = Crystal(
        4.03 * np.eye(3),
        np.array([3] * 4 + [9] * 4),
        np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]] * 2) + 0.5 * (np.arange(8) >= 4)[:, None],
    )
    values = network().on_grid(rocksalt, (20, 20, 20))
    for axes in ((1, 0, 2), (2, 1, 0), (1, 2, 0)):
        np.testing.assert_allclose(values.transpose(axes), values, atol=1e-10)
    np.testing.assert_allclose(np.roll(values[::-1], 1, 0), values, atol=1e-10)
    np.testing.assert_allclose(np.roll(values, (10, 10), (0, 1)), values, atol=1e-10)


def test_a_supercell_is_the_cell_repeated_and_a_sum_of_far_parts_is_their_sum():
    crystal, net = cell(3), network()
    double = Crystal(
        crystal.lattice * [[2], [1], [1]],
        np.tile(crystal.numbers, 2),
        np.concatenate([crystal.frac_coords, crystal.frac_coords + [1, 0, 0]]) / [2, 1, 1],
    )
    values = net.on_grid(crystal, (32, 32, 32))
    np.testing.assert_allclose(net.on_grid(double, (64, 32, 32)), np.tile(values, (2, 1, 1)), atol=1e-6)
    box, pair = np.diag([40.0, 9.0, 9.0]), np.array([[0.1, 0.5, 0.5], [0.145, 0.5, 0.5]])
    parts = [Crystal(box, np.array([3, 9]), pair), Crystal(box, np.array([9, 9]), pair + [0.5, 0, 0])]
    both = Crystal(box, np.array([3, 9, 9, 9]), np.concatenate([pair, pair + [0.5, 0, 0]]))
    shape = (80, 20, 20)
    total = sum(net.on_grid(part, shape) for part in parts)
    np.testing.assert_allclose(net.on_grid(both, shape), total, atol=1e-9)


def test_grids_and_points_are_one_function(model):
    crystal = cell(5)
    fine, coarse = (predict(model, crystal, shape=shape).values for shape in ((64, 64, 64), (32, 32, 32)))
    np.testing.assert_allclose(fine[::2, ::2, ::2], coarse, atol=2e-3)  # of up to 7 e/Å^3; frequencies that are cut
    points = np.stack(np.unravel_index(np.arange(0, 64**3, 9001), (64, 64, 64)), axis=1) / 64
    at = predict(model, crystal, points=points)
    np.testing.assert_allclose(at, fine.ravel()[::9001], atol=1e-5)


def test_the_closed_form_is_the_sum_over_images_in_real_space():
    crystal, unknowns, rng = cell(6), Unknowns(SIZES), np.random.default_rng(0)
    solution, own = 0.1 * rng.normal(size=unknowns.shared), 0.1 * rng.normal(size=(119, unknowns.own))
    net = PairDensity(SIZES)
    with torch.no_grad():
        net.pair.copy_(torch.from_numpy(unknowns.pair_weights(solution)))
        net.spherical.copy_(torch.from_numpy(unknowns.own_coefficients(own)))
    points = rng.integers(64, size=(20, 3)) / 64
    expected = unknowns.shared_at(crystal, points) @ solution
    expected += sum(columns @ own[z] for z, columns in unknowns.own_at(crystal, points).items())
    found = net.on_grid(crystal, (64, 64, 64))[tuple(np.rint(64 * points).astype(int).T)]
    np.testing.assert_allclose(found, expected, atol=1e-3 * abs(expected).max())


@pytest.mark.parametrize("anchors", [(), ("Na-Cl", "O-O", "Si-C")])
def test_antisymmetric_descriptors_change_sign_with_the_pair(anchors):
    one, other = np.array([11, 26, 8]), np.array([17, 8, 8])
    moved = find_antisymmetric(anchors)
    there, back = describe_pairs(one, other, anchors) @ moved, describe_pairs(other, one, anchors) @ moved
    assert there.shape[1] == 6 + sum(anchor != "O-O" for anchor in anchors)
    np.testing.assert_allclose(there, -back, atol=1e-12)
    assert abs(there[2]).max() < 1e-12


def test_similarities_are_the_covariance_that_they_stand_for():
    """With every pair an anchor, products of descriptions are the similarities: 1 of a pair with itself."""
    anchors = ("Na-Cl", "Mg-O", "Si-Si")
    first, second = np.array([11, 17, 12, 8, 14]), np.array([17, 11, 8, 12, 14])
    found = describe_pairs(first, second, anchors)[:, 12:]
    covariance = found @ found.T
    np.testing.assert_allclose(covariance.diagonal(), 1, atol=1e-6)
    alike = describe_pairs(np.array([19, 3]), np.array([35, 79]), anchors)[:, 12:] @ found.T
    assert alike[0].argmax() == 0  # KBr resembles NaCl most, Li and Au resemble nothing here
    assert alike[0, 0] > 0.5 > alike[1].max()


def test_anchors_stand_for_the_other_pairs():
    """Of alkali halides and metals the first anchors are one of each kind; more than there are cannot be chosen."""
    halides = [(a, b) for a in (11, 19, 37) for b in (17, 35, 53)]
    chosen = choose_anchors([*halides, (26, 26), (27, 27), (28, 28)], 2)
    assert {chosen[0].split("-")[0], chosen[1].split("-")[0]} & {"Na", "K", "Rb"}
    assert {chosen[0], chosen[1]} & {"Fe-Fe", "Co-Co", "Ni-Ni"}
    assert sorted(choose_anchors([(8, 12), (12, 8), (8, 8)], 5)) == ["O-Mg", "O-O"]
    assert choose_anchors(halides, 4) == choose_anchors(halides[::-1], 4)


@pytest.mark.parametrize(
    ("anchors", "wrong"),
    [(["Al"], "'Al'"), (["Al-Xx"], "'Al-Xx'"), (["Al-N", "N-Al"], "twice"), (["Al-N-O"], "'Al-N-O'")],
)
def test_wrong_anchors_are_refused(anchors, wrong):
    with pytest.raises(UsageError, match=wrong):
        PairDensityConfig(anchors=anchors)


def test_what_it_never_saw_is_said_and_flagged(model, caplog):
    caplog.set_level(logging.WARNING)
    assert "never_seen" not in predict(model, cell(0), shape=(8, 8, 8)).meta
    coefficients = np.full((119, 1), np.nan)
    coefficients[[3, 9, 11]] = [[1.0], [7.0], [1.0]]
    wider = DensityModel(network(), SuperposedAtoms(coefficients, np.array([1.0])), "pair_density")
    rho = predict(wider, cell(0, (11, 9)), shape=(12, 12, 12))
    assert rho.meta["never_seen"] == ["F-Na", "Na-Na"]
    assert "never saw F-Na" in caplog.text
    with pytest.raises(UsageError, match="Na"):
        predict(model, cell(0, (11, 9)), shape=(8, 8, 8))
    with pytest.raises(UsageError, match="Og"):
        network().on_grid(cell(0, (118, 9)), (8, 8, 8))


def test_negative_values_that_hold_electrons_are_told(model, caplog):
    caplog.set_level(logging.WARNING)
    wild = network()
    with torch.no_grad():
        wild.pair.mul_(100)
    predict(DensityModel(wild, true_atoms(), "wild"), cell(0), shape=SHAPE)
    assert "wild predicts negative values" in caplog.text
    caplog.clear()
    still = PairDensity(SIZES)
    predict(DensityModel(still, true_atoms(), "still"), cell(0), shape=SHAPE)
    assert "negative" not in caplog.text


def test_a_checkpoint_keeps_it(model, tmp_path):
    save_checkpoint(tmp_path / "m.safetensors", model)
    again = load_checkpoint(tmp_path / "m.safetensors").model
    crystal = cell(1)
    one, other = (predict(m, crystal, shape=(12, 12, 12)).values for m in (model, again))
    np.testing.assert_array_equal(one, other)
    assert again.network.unseen_pairs(crystal) == []


def test_the_table_of_elements_is_whole():
    for name in ("electronegativity", "covalent_radius", "ionization_energy", "electron_affinity", "group", "period"):
        assert np.isfinite(column(name)[1:97]).all()
    assert column("electronegativity")[9] == 3.98
    assert column("covalent_radius")[14] == 1.11
    outer = sum(column(l) for l in "spdf")
    np.testing.assert_array_equal(outer[[1, 6, 26, 30, 58]], [1, 4, 8, 12, 4])


def crystals(count: int) -> dict[str, Crystal]:
    contents = [(3, 9), (3, 3, 9), (3, 9, 9), (9, 3, 3, 9)]
    return {f"id{k}": cell(k, contents[k % 3]) for k in range(count)}


def test_the_fit_finds_densities_that_are_of_its_form(model):
    there = crystals(9)
    shown = {id: predict(model, crystal, shape=(20, 20, 20)) for id, crystal in there.items()}
    formulas = {id: crystal.reduced_formula for id, crystal in there.items()}
    fit = PairFit(shown.__getitem__, formulas, true_atoms(), SIZES, points=400)
    found = DensityModel(fit.next_solution(), true_atoms())
    unseen = predict(model, cell(20, (3, 9, 9)), shape=(20, 20, 20))
    bare = eps_mae(true_atoms()(unseen.crystal, unseen.shape), unseen)
    assert eps_mae(predict(found, unseen.crystal, shape=unseen.shape), unseen) < 0.3 * bare
    again = PairFit(shown.__getitem__, formulas, true_atoms(), SIZES, points=400).next_solution()
    torch.testing.assert_close(again.pair, found.network.pair, rtol=0, atol=0)


def test_points_are_drawn_near_nuclei_but_their_mean_is_the_grids(model):
    rho = predict(model, cell(1), shape=SHAPE)
    means = [
        w @ rho.values.ravel()[k] / len(k)
        for k, w in (draw_points(rho, 600, np.random.default_rng(s)) for s in range(20))
    ]
    assert np.mean(means) == pytest.approx(rho.values.mean(), rel=0.02)


def test_compositions_stay_together_in_folds():
    folds = assign_folds({f"A{k}B" for k in range(11)})
    assert sorted(set(folds.values())) == [0, 1, 2, 3, 4]
    assert max(list(folds.values()).count(k) for k in range(5)) == 3


def test_ecd_train_fits_it(config, small_root, tmp_path):
    sizes = {"gaussians": 3, "windows": 2, "spherical": 3}
    run = replace(config, model="pair_density", options=sizes, anchors=2, steps=2, probes=100, validation_crystals=2)
    told: list[int] = []
    result = train(run, lambda progress: told.append(progress.step))
    assert told == [1, 2]
    assert result.best_error == pytest.approx(evaluated(result.best, small_root), rel=1e-12)
    again = load_model(result.best)
    assert again.training_valences is not None
    assert len(again.network.config.anchors) == 2
    assert train(run).best_error == result.best_error  # nothing is left to do
    rho = open_store(small_root / "pbe.ecd")[open_store(small_root / "pbe.ecd").ids[0]]
    atoms = result.model.atoms(rho.crystal, rho.shape)
    assert eps_mae(predict(result.model, rho.crystal, shape=rho.shape), rho) < eps_mae(atoms, rho)
    mistakes = [
        ({"model": "deepdft", "options": {}}, "anchors are those of pair_density"),
        ({"steps": 500}, "few passes"),
        ({"spin": True}, "no spin"),
        ({"start": "x"}, "start"),
        ({"exact_nelect": True}, "has no exact_nelect: leave it out"),
        ({"whole_grids": True}, "has no whole_grids: leave it out"),
        ({"near_nuclei": 0.1}, "has no near_nuclei: leave it out"),
    ]
    mistakes.append(({"difference": True, "atoms": "pair_density"}, "which it is itself"))
    for wrong, said in mistakes:
        with pytest.raises(UsageError, match=said):
            train(replace(run, out=str(tmp_path / "other"), **wrong))


def test_a_network_learns_the_difference_to_it_and_resumes_exactly(config, model, tmp_path):
    sizes = {"hidden_state_size": 8, "num_interactions": 1}
    atoms = SuperposedAtoms(np.tile([[2.0, 1.0]], (119, 1)), np.array([0.8, 2.0]))
    save_checkpoint(tmp_path / "pairs.safetensors", DensityModel(network(), atoms, "pair_density"))
    run = replace(config, model="deepdft", options=sizes, difference=True, atoms=str(tmp_path / "pairs.safetensors"))
    through = replace(run, out=run.out + "-through", steps=4)
    train(through)
    train(replace(run, steps=2, validate_every=2))
    train(replace(run, steps=4, validate_every=2))
    one, other = (load_checkpoint(Path(each.out) / "last.safetensors").model for each in (run, through))
    for key, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[key], rtol=0, atol=0)
    crystal = cell(0)
    start = predict(DensityModel(network(), atoms), crystal, shape=SHAPE).values
    np.testing.assert_allclose(one.atoms(crystal, SHAPE).values, start, atol=1e-9)
    with pytest.raises(UsageError, match="give a fitted"):
        train(replace(run, out=str(tmp_path / "x"), atoms=str(Path(run.out) / "last.safetensors")))


def test_the_example_is_the_recipe_of_the_shipped_model():
    example = load_config(Path(__file__).parents[2] / "examples/pair_density_sample.toml")
    recorded = load_model("pair_density").metadata["config"]
    assert {**example.to_dict(), "out": ""} == {**TrainConfig.from_dict(recorded).to_dict(), "out": ""}


def evaluated(path: Path, root: Path) -> float:
    found = evaluate(load_model(path), "pbe", part="validation", data_dir=str(root), limit=2)
    return float(np.mean(list(found.errors.values())))
