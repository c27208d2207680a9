"""Properties of the model in Fourier space: symmetry, electrons, grids, extensivity, gradients, training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ecd_data import Crystal, Density, Store
from ecd_data.errors import UsageError
from ecd_data.release.own_splits import write_split
from ecd_data.store import StoreWriter
from ecd_models import evaluate, load_model, predict, train
from ecd_models.atoms.fitted import EXPONENTS, SuperposedAtoms
from ecd_models.batch import make_item
from ecd_models.checkpoint import save_checkpoint
from ecd_models.graph import Neighbors
from ecd_models.grid_batch import GridBatch, collate_grids
from ecd_models.metrics import eps_mae
from ecd_models.model import DensityModel
from ecd_models.networks.fourier_density import assembly, device_sums, reference, with_atoms
from ecd_models.networks.fourier_density.model import FourierDensity, FourierDensityConfig
from ecd_models.networks.fourier_density.plane_waves import sum_plane_waves
from ecd_models.networks.fourier_density.radial import RadialFunctions
from ecd_models.networks.pair_density.start import BondedAtoms
from ecd_models.report.failures import draw_worst, find_worst
from ecd_models.training.config import TrainConfig
from ecd_models.training.join_seeds import join_seeds

SHAPE = (32, 36, 30)
LATTICE = np.array([[3.1, 0.2, 0.0], [0.1, 3.4, 0.3], [0.0, -0.2, 2.9]])
FRACTIONS = np.array([[0.1, 0.2, 0.3], [0.55, 0.62, 0.71]])
SMALL = FourierDensityConfig(functions=4, widest=0.5, sharpest=5.0, channels=4, layers=2, neighbors=4.0)


def crystal(lattice=LATTICE, numbers=(12, 8), frac=FRACTIONS) -> Crystal:
    return Crystal(np.asarray(lattice), np.array(numbers), np.asarray(frac), (True, True, True))


def network(seed: int = 0, config: FourierDensityConfig = SMALL) -> FourierDensity:
    """A network whose last maps are not zero, as after a training."""
    torch.manual_seed(seed)
    net = FourierDensity(config)
    for weight in net.parameters():
        if not weight.abs().max():
            torch.nn.init.normal_(weight, std=1.0)
    return net.eval()


def atoms() -> SuperposedAtoms:
    coefficients = np.full((119, len(EXPONENTS)), np.nan)
    coefficients[[8, 12]] = 0
    coefficients[8, 3], coefficients[12, 2] = 6, 2
    return SuperposedAtoms(coefficients)


def close(found, expected, tolerance=1e-5):
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found, expected, atol=tolerance * scale)


def test_radial_functions_are_orthonormal_and_their_transform_is_theirs():
    radial = RadialFunctions(np.geomspace(0.4, 6, 5), 2)
    r, weights = np.polynomial.legendre.leggauss(400)
    r, weights = 6 * (r + 1), 6 * weights
    values = radial.values(torch.from_numpy(r)).numpy() * (r[:, None] ** np.arange(3))[:, :, None]
    for l in range(3):
        overlap = (values[:, l] * (weights * r**2)[:, None]).T @ values[:, l]
        np.testing.assert_allclose(overlap, np.eye(5), atol=1e-9)
    q = np.array([0.7, 2.0])
    spherical_bessel = np.stack([np.sinc(q * x / np.pi) for x in r])
    transform = 4 * np.pi * np.einsum("rn,rq,r->qn", values[:, 0], spherical_bessel, weights * r**2)
    np.testing.assert_allclose(radial.transform(torch.from_numpy(q)).numpy()[:, 0], transform, atol=1e-9)


def test_the_sums_in_both_spaces_are_one_density():
    net, cell = network(), crystal()
    coefficients = net.coefficients(cell)
    points = np.random.default_rng(0).random((4, 3))
    expected = reference.density_at(cell, coefficients.double().numpy(), net.radial, points)
    close(reference.density_by_waves(cell, coefficients.double().numpy(), net.radial, points), expected)
    item = make_item(Neighbors(cell, net.cutoff), cell.numbers, points)
    close(net(item).detach().numpy(), expected)


@pytest.mark.parametrize("shape", [SHAPE, (31, 33, 35), (48, 40, 50)])
def test_compiled_sums_and_plain_ones_agree(shape):
    pytest.importorskip("numba")
    net, cell = network(), crystal()
    coefficients = net.coefficients(cell)
    position, lattice = torch.from_numpy(cell.frac_coords.copy()), torch.from_numpy(cell.lattice.copy())
    plain = sum_plane_waves(coefficients.double(), net.radial, position, lattice, shape)
    close(assembly.density_on_grid(coefficients, net.radial, cell, shape).numpy(), plain.numpy(), 2e-4)


@pytest.mark.parametrize("shape", [SHAPE, (31, 33, 35)])
def test_sums_of_tables_in_torch_and_plain_ones_agree_with_their_gradients(shape, monkeypatch):
    monkeypatch.setattr(device_sums, "BLOCK", 1 << 16)  # several blocks
    net, cell = network(), crystal()
    target = torch.from_numpy(np.random.default_rng(1).normal(size=shape)).float()
    position, lattice = torch.from_numpy(cell.frac_coords.copy()), torch.from_numpy(cell.lattice.copy())
    one, other = (net.coefficients(cell).requires_grad_() for _ in range(2))
    table = assembly.tables(one, net.radial, net.radial.longest) / cell.volume
    half = device_sums.SumTables.apply(table, cell, shape, net.radial.longest)
    values = torch.fft.irfftn(half, s=shape, norm="forward")
    plain = sum_plane_waves(other, net.radial, position, lattice, shape)
    close(values.detach().numpy(), plain.detach().numpy(), 2e-4)
    (values * target).sum().backward()
    (plain * target).sum().backward()
    close(one.grad.numpy(), other.grad.numpy(), 1e-3)


def test_gradients_of_compiled_sums_are_those_of_plain_ones():
    pytest.importorskip("numba")
    net, cell = network(), crystal()
    position, lattice = torch.from_numpy(cell.frac_coords.copy()), torch.from_numpy(cell.lattice.copy())
    target = torch.from_numpy(np.random.default_rng(1).normal(size=SHAPE)).float()
    one, other = (net.coefficients(cell).requires_grad_() for _ in range(2))
    (assembly.density_on_grid(one, net.radial, cell, SHAPE) * target).sum().backward()
    (sum_plane_waves(other, net.radial, position, lattice, SHAPE) * target).sum().backward()
    close(one.grad.numpy(), other.grad.numpy(), 1e-3)


def test_derivatives_in_coefficients_positions_and_lattice():
    radial = RadialFunctions(np.array([0.5, 1.5]), 2)
    rng = np.random.default_rng(2)
    coefficients = torch.from_numpy(rng.normal(size=(2, 2, 9))).requires_grad_()
    position = torch.from_numpy(FRACTIONS.copy()).requires_grad_()
    lattice = torch.from_numpy(LATTICE.copy()).requires_grad_()

    def density(c, x, cell):
        return sum_plane_waves(c, radial, x, cell, (5, 6, 4))

    assert torch.autograd.gradcheck(density, (coefficients, position, lattice))


def test_turning_the_crystal_turns_the_density():
    net, turn = network(), Rotation.from_euler("xyz", [0.3, -0.8, 1.2]).as_matrix()
    close(net.on_grid(crystal(LATTICE @ turn.T), SHAPE), net.on_grid(crystal(), SHAPE), 1e-4)


def test_inversion_and_translation_move_the_density_with_the_atoms():
    net = network()
    values = net.on_grid(crystal(), SHAPE)
    back = np.roll(values[::-1, ::-1, ::-1], 1, axis=(0, 1, 2))
    close(net.on_grid(crystal(frac=-FRACTIONS), SHAPE), back, 1e-4)
    shifted = net.on_grid(crystal(frac=FRACTIONS + np.array([4 / 32, 9 / 36, 6 / 30])), SHAPE)
    close(shifted, np.roll(values, (4, 9, 6), axis=(0, 1, 2)), 1e-4)


def test_a_symmetric_crystal_has_a_symmetric_density():
    rocksalt = crystal(4.2 * (1 - np.eye(3)) / 2, (12, 8), [[0, 0, 0], [0.5, 0.5, 0.5]])
    values = network().on_grid(rocksalt, (24, 24, 24))
    close(values.transpose(1, 2, 0), values, 1e-4)
    close(np.roll(values[::-1, ::-1, ::-1], 1, axis=(0, 1, 2)), values, 1e-4)


def test_a_supercell_repeats_the_density():
    net = network()
    double = crystal(
        np.diag([2, 1, 1]) @ LATTICE,
        (12, 8, 12, 8),
        np.concatenate([FRACTIONS / [2, 1, 1], FRACTIONS / [2, 1, 1] + [0.5, 0, 0]]),
    )
    found = net.on_grid(double, (64, 36, 30))
    close(found, np.tile(net.on_grid(crystal(), SHAPE), (2, 1, 1)), 3e-4)


def test_densities_of_two_far_molecules_add():
    net, box = network(), 24 * np.eye(3)
    first, second = np.array([[0.2, 0.2, 0.2], [0.25, 0.2, 0.22]]), np.array([[0.7, 0.7, 0.7], [0.7, 0.76, 0.7]])
    shape = (72, 72, 72)
    both = net.on_grid(crystal(box, (12, 8, 8, 8), np.concatenate([first, second])), shape)
    alone = [net.on_grid(crystal(box, numbers, frac), shape) for numbers, frac in (((12, 8), first), ((8, 8), second))]
    close(both, sum(alone), 1e-4)


def test_an_atom_without_neighbours_has_a_density():
    lone = crystal(14 * np.eye(3), (8,), [[0.5, 0.5, 0.5]])
    model = DensityModel(network(), atoms(), "fourier_density")
    assert predict(model, lone, shape=(40, 40, 40)).nelect == pytest.approx(6, abs=1e-3)


def test_no_electrons_are_added_whatever_the_weights():
    for seed in range(3):
        values = network(seed).on_grid(crystal(), SHAPE)
        assert abs(values.mean()) < 1e-5 * np.abs(values).max()


def test_a_density_has_the_electrons_of_its_atoms_and_is_one_on_all_grids():
    model = DensityModel(network(), atoms(), "fourier_density")
    coarse = predict(model, crystal(), shape=(60, 64, 56))
    fine = predict(model, crystal(), shape=(80, 84, 90))
    assert coarse.nelect == pytest.approx(8, abs=1e-6)
    points = np.random.default_rng(3).random((20, 3))
    close(coarse.at(points), fine.at(points), 1e-5)
    close(predict(model, crystal(), points=points), fine.at(points), 1e-5)


@pytest.fixture(scope="module")
def bonded() -> BondedAtoms:
    model = load_model("pair_density")
    assert model.atoms is not None
    return BondedAtoms(model.atoms.coefficients, model.atoms.exponents, pairs=model.network)


@pytest.mark.parametrize("shape", [(30, 33, 28), (40, 42, 45)])
def test_compiled_sums_with_atoms_and_pairs_agree_with_plain_ones(bonded, shape, caplog):
    pytest.importorskip("numba")
    model = DensityModel(network(), bonded, "fourier_density")
    fast, plain = predict(model, crystal(), shape=shape), predict(model, crystal(), shape=shape, fast=False)
    assert "plain ones are used" not in caplog.text  # which agree with themselves
    close(fast.values, plain.values, 1e-5)
    assert fast.nelect == pytest.approx(16, abs=1e-4)


def test_sums_with_atoms_and_pairs_in_torch_agree_with_plain_ones(bonded):
    net, cell = network(), crystal()
    found = with_atoms.density_on_device(net.coefficients(cell), net.radial, bonded, cell, SHAPE)
    plain = predict(DensityModel(net, bonded, "fourier_density"), cell, shape=SHAPE, fast=False)
    close(found, plain.values, 1e-5)


def test_compiled_sums_that_are_wrong_are_not_used(bonded, monkeypatch, caplog):
    pytest.importorskip("numba")
    model = DensityModel(network(), bonded, "fourier_density")
    expected = predict(model, crystal(), shape=SHAPE, fast=False).values
    monkeypatch.setattr(with_atoms, "spherical_tables", lambda *_: (np.zeros((2, 100)), 10.0))
    found = predict(DensityModel(network(), bonded, "fourier_density"), crystal(), shape=SHAPE).values
    close(found, expected, 1e-6)
    assert "plain ones are used" in caplog.text


def test_a_new_network_adds_nothing():
    assert np.abs(FourierDensity(SMALL).on_grid(crystal(), SHAPE)).max() < 1e-9


def test_a_mean_of_seeds_has_the_mean_of_their_densities_and_is_read_again(bonded, tmp_path):
    paths = [tmp_path / f"{seed}.safetensors" for seed in range(3)]
    models = [DensityModel(network(seed), bonded, "fourier_density") for seed in range(3)]
    for path, model in zip(paths, models, strict=True):
        save_checkpoint(path, model, {"config": {"seed": path.stem}, "error_estimate": "of this network"})
    joined = join_seeds(paths, tmp_path / "joined.safetensors")
    values = [predict(model, crystal(), shape=SHAPE).values for model in models]
    close(predict(joined, crystal(), shape=SHAPE).values, np.mean(values, axis=0), 1e-5)
    read = load_model(tmp_path / "joined.safetensors")
    close(predict(read, crystal(), shape=SHAPE).values, np.mean(values, axis=0), 1e-5)
    assert read.metadata["seeds"] == ["0", "1", "2"]
    assert "error_estimate" not in read.metadata
    with pytest.raises(UsageError, match="two checkpoints"):
        join_seeds(paths[:1], tmp_path / "one.safetensors")
    with pytest.raises(UsageError, match="weights of another one"):
        join_seeds([*paths, paths[0]], tmp_path / "twice.safetensors")
    assert not (tmp_path / "twice.safetensors").exists()
    save_checkpoint(paths[0], DensityModel(network(0), atoms(), "fourier_density"))
    with pytest.raises(UsageError, match="superposed atoms"):
        join_seeds(paths, tmp_path / "other.safetensors")


def test_one_network_learns_the_densities_of_two_functionals(tmp_path):
    net, add, cell = network(5), atoms(), crystal()
    change = {"PBE": 0.0, "HSE06": 1.0}
    with StoreWriter(tmp_path / "both.ecd", pipeline="real") as writer:
        for name, factor in change.items():
            values = add(cell, SHAPE).values + factor * net.on_grid(cell, SHAPE)
            for id in (name, f"{name}-again"):
                writer.add(id, Density(cell, values, meta={"functional": name}))
    parts = {"train": list(change), "validation": [f"{name}-again" for name in change], "test": []}
    write_split(parts, tmp_path / "both.ecd" / "split.json")
    store = Store(tmp_path / "both.ecd")
    options = {"functionals": list(change)}
    run = settings(store, tmp_path / "run", steps=150, validate_every=150)
    model = train(replace(run, options=run.options | options)).model
    found = {name: predict(model, cell, shape=SHAPE, functional=name) for name in change}
    for name in change:
        other = next(n for n in change if n != name)
        assert eps_mae(found[name], store[name]) < 0.5 * eps_mae(found[other], store[name])
    np.testing.assert_array_equal(predict(model, cell, shape=SHAPE).values, found["PBE"].values)
    with pytest.raises(UsageError, match="not of SCAN"):
        predict(model, cell, shape=SHAPE, functional="SCAN")
    results = evaluate(model, store, ids=["HSE06"]).results
    assert len(draw_worst(model, find_worst([results]), {results.store_hash: store})) == 1  # that of its functional


def test_bad_sizes_are_refused():
    with pytest.raises(UsageError, match="lmax = 0 must be from 1"):
        FourierDensityConfig(lmax=0)
    with pytest.raises(UsageError, match="positive"):
        FourierDensityConfig(widest=3.0, sharpest=1.0)
    with pytest.raises(UsageError, match="no properties"):
        network().on_grid(crystal(numbers=(118, 8)), SHAPE)


def grid_item(values: np.ndarray, cell: Crystal) -> GridBatch:
    return GridBatch(
        atoms=make_item(Neighbors(cell, SMALL.neighbors), cell.numbers, np.zeros((0, 3))),
        crystals=(cell,),
        shapes=(values.shape,),
        target=torch.from_numpy(values.ravel()).float(),
        baseline=None,
        mean=torch.tensor([float(values.mean())]),
    )


def test_whole_grids_of_several_crystals_are_those_of_each():
    net, other = network(), crystal(1.1 * LATTICE, (8, 12))
    items = [grid_item(np.ones(SHAPE), crystal()), grid_item(np.ones((20, 24, 26)), other)]
    both = net(collate_grids(items)).detach().numpy()
    each = [net.on_grid(crystal(), SHAPE), net.on_grid(other, (20, 24, 26))]
    close(both, np.concatenate([values.ravel() for values in each]), 1e-5)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Superposed atoms and a density of a network to learn, in three cells."""
    path, net, add = tmp_path_factory.mktemp("fourier") / "small.ecd", network(5), atoms()
    with StoreWriter(path, pipeline="real") as writer:
        for k, factor in enumerate((1.0, 1.03, 0.97, 1.05)):
            cell = crystal(factor * LATTICE)
            writer.add(f"cell-{k}", Density(cell, add(cell, SHAPE).values + net.on_grid(cell, SHAPE)))
    write_split({"train": ["cell-0", "cell-1", "cell-3"], "validation": ["cell-2"], "test": []}, path / "split.json")
    return Store(path)


def settings(store: Store, out, **changes) -> TrainConfig:
    options = {"functions": 4, "widest": 0.5, "sharpest": 5.0, "channels": 4, "neighbors": 4.0}
    fixed = {"difference": True, "whole_grids": True, "relative_loss": True, "batch_size": 2, "validate_every": 4}
    fixed |= {"clip_norm": 1.0, "ema": 0.9, "schedule": "constant", "lr": 0.01, "threads": 1}
    return TrainConfig(
        out=str(out),
        store=str(store.root),
        split=f"{store.root}/split.json",
        model="fourier_density",
        options=options,
        **fixed | changes,
    )


def test_training_on_whole_densities_learns_and_resumes_exactly(store, tmp_path):
    whole = train(settings(store, tmp_path / "whole", steps=12))
    train(settings(store, tmp_path / "cut", steps=4))
    cut = train(settings(store, tmp_path / "cut", steps=12))
    first, second = (run.model.network.state_dict() for run in (whole, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)
    errors = [float(line.split(",")[4]) for line in whole.log.read_text().splitlines()[1:]]
    assert errors[-1] < errors[0]
    cell = crystal()
    loaded = load_model(whole.best)
    close(predict(loaded, cell, shape=SHAPE).values, predict(whole.model, cell, shape=SHAPE).values, 1e-6)


@pytest.mark.parametrize("loss", ["mse", "rms"])
def test_other_losses_train_as_well(store, tmp_path, loss):
    assert np.isfinite(train(settings(store, tmp_path / loss, steps=2, loss=loss)).best_error)


def test_whole_grids_are_refused_where_they_cannot_be(store, tmp_path):
    with pytest.raises(UsageError, match="closed form"):
        train(TrainConfig(out=str(tmp_path / "net"), task="pbe", whole_grids=True))
    with pytest.raises(UsageError, match="rms"):
        settings(store, tmp_path / "rms", steps=1, loss="rms", whole_grids=False)


def test_the_loss_of_a_step_does_not_depend_on_how_its_crystals_are_passed(store, tmp_path):
    one = train(settings(store, tmp_path / "one", steps=2, batch_size=2, validate_every=2))
    other = train(settings(store, tmp_path / "other", steps=2, batch_size=1, accumulate=2, validate_every=2))
    lines = [run.log.read_text().splitlines()[-1].split(",") for run in (one, other)]
    assert float(lines[0][2]) == pytest.approx(float(lines[1][2]), rel=1e-4)
