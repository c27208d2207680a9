"""The magnetization of fourier_density: what initial moments choose, symmetries, training, files, old checkpoints."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from pymatgen.core import Lattice, Structure
from pymatgen.electronic_structure.core import Magmom
from scipy.spatial.transform import Rotation

from ecd_data import Crystal, Density, Store, read, write
from ecd_data.density import INITIAL_MOMENTS
from ecd_data.errors import UsageError
from ecd_data.release.own_splits import write_split
from ecd_data.store import StoreWriter
from ecd_models import cli, load_model, predict, train
from ecd_models.atoms.fitted import EXPONENTS, SuperposedAtoms
from ecd_models.batch import collate, make_item
from ecd_models.checkpoint import save_checkpoint
from ecd_models.graph import Neighbors
from ecd_models.model import DensityModel
from ecd_models.networks.fourier_density import reference
from ecd_models.networks.fourier_density.model import FourierDensity, FourierDensityConfig
from ecd_models.prediction.density_files import GridRule, predict_files
from ecd_models.training.config import TrainConfig
from ecd_models.training.join_seeds import join_seeds
from ecd_models.training.magnetic_states import choose_state

SHAPE = (16, 18, 15)
LATTICE = np.array([[3.1, 0.2, 0.0], [0.1, 3.4, 0.3], [0.0, -0.2, 2.9]])
FRACTIONS = np.array([[0.1, 0.2, 0.3], [0.55, 0.62, 0.71]])
SIZES = {"functions": 4, "widest": 0.5, "sharpest": 5.0, "channels": 4, "neighbors": 4.0}
SMALL = FourierDensityConfig(**SIZES, outputs=2)  # type: ignore[arg-type]


def crystal(numbers=(26, 27), lattice=LATTICE, frac=FRACTIONS) -> Crystal:
    return Crystal(np.asarray(lattice), np.array(numbers), np.asarray(frac))


def network(seed: int = 0, config: FourierDensityConfig = SMALL) -> FourierDensity:
    """A network whose last maps are not zero, as after a training."""
    torch.manual_seed(seed)
    net = FourierDensity(config)
    for weight in net.parameters():
        if not weight.abs().max():
            torch.nn.init.normal_(weight, std=0.1)
    return net.eval().requires_grad_(False)


def atoms() -> SuperposedAtoms:
    coefficients = np.full((119, len(EXPONENTS)), np.nan)
    coefficients[[8, 26, 27]] = 0
    coefficients[8, 3], coefficients[26, 3], coefficients[27, 3] = 6, 16, 17
    return SuperposedAtoms(coefficients)


def model(seed: int = 0) -> DensityModel:
    return DensityModel(network(seed), atoms())


def close(found, expected, tolerance=1e-5):
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


def test_other_signs_of_all_moments_turn_the_magnetization_and_leave_the_density():
    for moments in ([2.0, 1.5], [2.0, -1.5]):
        one = predict(model(), crystal(), shape=SHAPE, moments=moments)
        other = predict(model(), crystal(), shape=SHAPE, moments=np.negative(moments))
        close(-other.magnetization, one.magnetization)
        close(other.values, one.values)
    assert np.abs(one.magnetization).max() > 1e-3


def test_atoms_without_moments_have_no_magnetization():
    for cell, moments in ((crystal(), 0), (crystal(), [0.05, -0.05]), (crystal((8, 8)), None), (crystal((8, 8)), 2)):
        found = predict(DensityModel(network()), cell, shape=SHAPE, moments=moments, refuse=False)
        assert not found.magnetization.any()
        assert found.moment == 0


def test_without_moments_the_state_is_ferromagnetic_and_only_signs_of_open_shells_count():
    default = predict(model(), crystal((26, 8)), shape=SHAPE)
    for moments in (1.0, [5.0, 0.6], [0.3, -2.0]):
        found = predict(model(), crystal((26, 8)), shape=SHAPE, moments=moments)
        close(found.magnetization, default.magnetization)
    mixed = predict(model(), crystal(), shape=SHAPE, moments=[1, -1])
    assert not np.allclose(mixed.magnetization, predict(model(), crystal(), shape=SHAPE).magnetization)


def test_moments_of_both_signs_are_warned_of(caplog):
    predict(model(), crystal(), shape=SHAPE, moments=[1, 1])
    assert "both signs" not in caplog.text
    predict(model(), crystal(), shape=SHAPE, moments=[1, -1])
    assert "both signs" in caplog.text


def test_moments_of_structures_are_taken():
    cell = crystal()
    expected = predict(model(), cell, shape=SHAPE, moments=[2, -2]).magnetization
    ase = Atoms(numbers=cell.numbers, cell=cell.lattice, scaled_positions=cell.frac_coords, pbc=True)
    plain = predict(model(), ase, shape=SHAPE).magnetization
    ase.set_initial_magnetic_moments([3, -1])
    close(predict(model(), ase, shape=SHAPE).magnetization, expected)
    pmg = Structure(Lattice(cell.lattice), cell.symbols, cell.frac_coords)
    close(predict(model(), pmg, shape=SHAPE).magnetization, plain)
    for magmoms in ([5, -5], [Magmom(5), Magmom([0, 0, -5])]):
        pmg.add_site_property("magmom", magmoms)
        close(predict(model(), pmg, shape=SHAPE).magnetization, expected)
    overruled = predict(model(), pmg, shape=SHAPE, moments=0)
    assert not overruled.magnetization.any()
    for magmoms, reason in (([5, None], "1 of 2 sites"), ([Magmom([1, 0, 5]), Magmom(5)], "non-collinear")):
        pmg.add_site_property("magmom", magmoms)
        with pytest.raises(UsageError, match=reason):
            predict(model(), pmg, shape=SHAPE)


@pytest.mark.parametrize("moments", [[1.0], [1.0, 2.0, 3.0], [np.nan, 1], "up", [[0, 0, 1], [0, 0, 1]], [[1], [1, 2]]])
def test_wrong_moments_are_refused(moments):
    with pytest.raises(UsageError, match="one"):
        predict(model(), crystal(), shape=SHAPE, moments=moments)


def test_files_of_other_initial_moments_are_not_taken_for_these(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("one", "two"):
        write(folder / f"{name}_CHGCAR", Density(crystal(), np.ones((4, 4, 4))))

    def ask(moments):
        return predict_files(model(), [folder], tmp_path / "out", GridRule(shape=SHAPE), moments=moments)

    assert len(ask(2.0).written) == 2
    assert len(ask(2.0).present) == 2
    for moments in (0.0, None):
        report = ask(moments)
        assert not report.written
        assert not report.present
        assert all("from moment 2" in reason for reason in report.failed.values())


def test_models_without_moments_refuse_them():
    one = DensityModel(network(config=replace(SMALL, outputs=1)))
    with pytest.raises(UsageError, match="takes no moments"):
        predict(one, crystal(), shape=SHAPE, moments=1)


def test_rotation_inversion_translation_and_supercell():
    cell, moments, net = crystal(), np.array([2.0, -1.0]), network()

    def spin(crystal, shape=SHAPE, moments=moments):
        net.moments = moments
        return net.on_grid(crystal, shape)[1]

    values = spin(cell)
    turn = Rotation.from_euler("xyz", [0.4, 1.1, -0.7]).as_matrix()
    close(spin(crystal(lattice=LATTICE @ turn.T)), values, 1e-4)
    close(spin(crystal(lattice=-LATTICE)), values, 1e-4)
    close(spin(crystal(frac=FRACTIONS + [4 / 16, 6 / 18, 5 / 15])), np.roll(values, (4, 6, 5), (0, 1, 2)), 1e-4)
    double = Crystal(
        LATTICE * [[2], [1], [1]],
        np.tile(cell.numbers, 2),
        np.concatenate([FRACTIONS * [0.5, 1, 1], FRACTIONS * [0.5, 1, 1] + [0.5, 0, 0]]),
    )
    close(spin(double, (32, 18, 15), np.tile(moments, 2)), np.tile(values, (2, 1, 1)), 3e-4)


def test_points_grids_and_the_sum_as_its_equation_reads_agree():
    net, cell, points = network(), crystal(), np.random.default_rng(0).random((4, 3))
    coefficients = net._both_coefficients(cell)[1].double().numpy()
    expected = reference.density_at(cell, coefficients, net.radial, points)
    item = make_item(Neighbors(cell, net.cutoff), cell.numbers, points)
    close(net(item).numpy()[:, 1], expected)
    at_points = predict(DensityModel(net), cell, points=points)
    assert at_points.shape == (4, 2)
    close(at_points[:, 1], expected, 1e-4)
    fine = predict(DensityModel(net), cell, shape=(48, 54, 45), refuse=False)
    close(replace(fine, values=fine.magnetization, magnetization=None).at(points), expected, 1e-3)
    functions = net.radial.monopoles @ coefficients[:, :, 0].T
    assert fine.moment == pytest.approx(functions.sum(), rel=1e-3)


def test_moments_of_several_crystals_stay_with_their_atoms():
    net, other = network(), crystal((27, 26), 1.1 * LATTICE)
    points = np.random.default_rng(1).random((5, 3))

    def item(cell, moments):
        return make_item(Neighbors(cell, net.cutoff), cell.numbers, points, moments=moments)

    parts = [item(crystal(), [1.0, -1.0]), item(other, None), item(other, [0.0, 0.0])]
    each = torch.cat([net(part) for part in parts])
    close(net(collate(parts)).numpy(), each.numpy())
    assert not each[10:, 1].any()


def test_a_magnetization_beyond_the_density_is_warned_of(caplog):
    found = model()
    with caplog.at_level(logging.WARNING):
        predict(found, crystal(), shape=SHAPE)
    assert "exceeds its density" not in caplog.text
    found.network.magnetization.scalar[-1].bias += 30.0
    with caplog.at_level(logging.WARNING):
        predict(found, crystal(), shape=SHAPE)
    assert "exceeds its density" in caplog.text


def test_states_of_reference_densities(caplog):
    up, cell = np.ones(SHAPE), crystal()
    both = np.where(np.arange(SHAPE[0])[:, None, None] < 7, 1.0, -1.0) * up
    for magnetization, moments, expected in (
        (None, [1, 1], 0 * up),
        (up, [1, 1], up),
        (-up, [1, 1], up),
        (1e-4 * both, [1, 1], None),
    ):
        found, values = choose_state("x", Density(cell, up, magnetization))
        np.testing.assert_array_equal(found, moments)
        if expected is not None:
            np.testing.assert_array_equal(values, expected)
    assert not caplog.text
    found, values = choose_state("x", Density(cell, up, both))
    assert not found.any()
    assert "both signs" in caplog.text
    recorded = Density(cell, up, both, meta={INITIAL_MOMENTS: [2, -2]})
    found, values = choose_state("x", recorded)
    np.testing.assert_array_equal(found, [2, -2])
    np.testing.assert_array_equal(values, both)
    with pytest.raises(UsageError, match="one number for each"):
        choose_state("x", replace(recorded, meta={INITIAL_MOMENTS: [2]}))
    with pytest.raises(UsageError, match="non-collinear"):
        choose_state("x", Density(cell, up, np.stack([up] * 3)))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Ferromagnetic, antiferromagnetic and non-magnetic states of a network to learn."""
    path, teacher = tmp_path_factory.mktemp("spin") / "small.ecd", model(5)
    with StoreWriter(path, pipeline="real") as writer:
        for id, moments in (("up", None), ("mixed", [1.0, -1.0]), ("none", 0), ("mixed-2", [1.0, -1.0])):
            rho = predict(teacher, crystal(), shape=SHAPE, moments=moments)
            meta = {INITIAL_MOMENTS: moments} if id.startswith("mixed") else {}
            spin = rho.magnetization if moments != 0 else None
            if id == "up":
                spin = np.sign(rho.moment) * spin
            writer.add(id, Density(crystal(numbers=(26, 27) if moments != 0 else (8, 8)), rho.values, spin, meta=meta))
    write_split({"train": ["up", "mixed", "none"], "validation": ["mixed-2"], "test": []}, path / "split.json")
    return Store(path)


def settings(store: Store, out, **changes) -> TrainConfig:
    fixed = {"difference": True, "whole_grids": True, "batch_size": 3, "validate_every": 40, "spin": True}
    fixed |= {"schedule": "constant", "lr": 0.02, "threads": 1, "atoms": str(store.root), "spin_weight": 3.0}
    return TrainConfig(
        out=str(out),
        store=str(store.root),
        split=f"{store.root}/split.json",
        model="fourier_density",
        options=SIZES,
        **fixed | changes,
    )


def test_training_learns_states_and_files_hold_them(store, tmp_path):
    run = train(settings(store, tmp_path / "run", steps=80))
    trained = load_model(run.best)
    for id, moments in (("up", None), ("mixed", [2, -2])):
        found = predict(trained, store[id].crystal, shape=SHAPE, moments=moments)
        error = np.abs(found.magnetization - store[id].magnetization).sum() / np.abs(store[id].magnetization).sum()
        assert error < 0.7, (id, error)
    write(tmp_path / "CHGCAR_mixed", store["mixed"])
    predict_files(trained, [tmp_path / "CHGCAR_mixed"], tmp_path / "CHGCAR", GridRule(shape=SHAPE), moments=[2, -2])
    close(read(tmp_path / "CHGCAR").magnetization, found.magnetization, 1e-4)


def test_settings_that_do_not_belong_together_are_refused(store, tmp_path):
    with pytest.raises(UsageError, match="whole_grids = true"):
        train(settings(store, tmp_path / "probes", steps=1, whole_grids=False))
    with pytest.raises(UsageError, match="spin = true"):
        settings(store, tmp_path / "weight", steps=1, spin=False)


def test_networks_without_magnetization_keep_their_weights_and_results(tmp_path):
    one, both = network(config=replace(SMALL, outputs=1)), network()
    assert not any(name.startswith("magnetization") for name in one.state_dict())
    both.load_state_dict({**both.state_dict(), **one.state_dict()})
    close(both.on_grid(crystal(), SHAPE)[0], one.on_grid(crystal(), SHAPE))
    shipped = load_model("fourier_density")
    assert shipped.network.config.outputs == 1
    assert not shipped.spin
    save_checkpoint(tmp_path / "both.safetensors", DensityModel(both))
    again = load_model(tmp_path / "both.safetensors")
    assert again.spin
    close(again.network.on_grid(crystal(), SHAPE), both.on_grid(crystal(), SHAPE))


def test_the_command_line_takes_moments_as_magmom(tmp_path, capsys):
    save_checkpoint(tmp_path / "both.safetensors", model())
    write(tmp_path / "CHGCAR_in", Density(crystal(), np.ones(SHAPE)))

    def run(text: str, name: str) -> int:
        grid = ["--grid", *map(str, SHAPE)]
        files = [str(tmp_path / "CHGCAR_in"), "-m", str(tmp_path / "both.safetensors"), "-o", str(tmp_path / name)]
        return cli._run(["predict", "-q", *files, *grid, f"--magmom={text}"])

    magnetization = {}
    for text, name in (("1*2 1*-2", "CHGCAR_a"), ("-2 2", "CHGCAR_b"), ("0", "CHGCAR_c")):
        assert run(text, name) == 0
        magnetization[name] = read(tmp_path / name).magnetization
    close(magnetization["CHGCAR_a"], -magnetization["CHGCAR_b"], 1e-4)
    assert not magnetization["CHGCAR_c"].any()
    for text, reason in (("up down", "no numbers"), ("1*2", "has 2 atoms")):
        assert run(text, "CHGCAR_d") == 2
        assert reason in capsys.readouterr().err


def test_the_mean_of_seeds_has_the_mean_magnetization(tmp_path):
    for seed in (1, 2):
        save_checkpoint(tmp_path / f"{seed}.safetensors", model(seed), {"config": {"seed": seed}})
    joined = join_seeds([tmp_path / "1.safetensors", tmp_path / "2.safetensors"], tmp_path / "mean.safetensors")
    assert joined.spin
    each = [predict(model(seed), crystal(), shape=SHAPE, moments=[1, -1]).magnetization for seed in (1, 2)]
    close(predict(joined, crystal(), shape=SHAPE, moments=[1, -1]).magnetization, np.mean(each, axis=0), 1e-4)
