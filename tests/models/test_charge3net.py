"""ChargE3Net against outputs of the published code, and the symmetries that the network must have."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from e3nn import o3
from torch import Tensor

from ecd_data.crystal import Crystal
from ecd_data.errors import UsageError
from ecd_models.batch import ProbeBatch, collate, make_item
from ecd_models.checkpoint import load_published
from ecd_models.graph import Neighbors
from ecd_models.networks import MODELS, build_model
from ecd_models.networks.charge3net.layers import RadialBasis
from ecd_models.networks.charge3net.model import ChargE3Net, ChargE3NetConfig, list_live_irreps
from ecd_models.networks.charge3net.published import published_shapes
from ecd_models.networks.charge3net.reference import compute_density

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="outputs of the published code are not here")
CASES = [
    *[(model, crystal) for model in ("c3n_small", "c3n_inv_small") for crystal in ("mgo", "mgo_prim", "ternary")],
    *[("c3n_small_hot", crystal) for crystal in ("mgo_prim", "ternary")],
]
SMALL = ChargE3NetConfig(num_interactions=3, mul=60, lmax=3, num_basis=8)


def published_batch(arrays: dict[str, np.ndarray], dtype: torch.dtype) -> ProbeBatch:
    """The flat batch of a padded published one, with its own edges."""
    padded = {name[3:]: torch.from_numpy(values) for name, values in arrays.items() if name.startswith("in_")}

    def vectors(t: dict[str, Tensor], kind: str, count: int) -> tuple[Tensor, Tensor, Tensor]:
        src, dst = t[f"{kind}_edges"][:count].T
        images = t["atom_xyz"][src].to(dtype) + t[f"{kind}_edges_displacement"][:count].to(dtype) @ t["cell"].to(dtype)
        return src, dst, t[f"{kind}_xyz"][dst].to(dtype) - images

    def one(k: int) -> ProbeBatch:
        t = {name: values[k] for name, values in padded.items()}
        n, p = int(t["num_nodes"]), int(t["num_probes"])
        atoms = vectors(t, "atom", int(t["num_atom_edges"]))
        probes = vectors(t, "probe", int(t["num_probe_edges"]))
        crystals = torch.zeros(n, dtype=torch.long), torch.zeros(p, dtype=torch.long)
        target = t["probe_target"][:p].to(dtype)
        return ProbeBatch(t["nodes"][:n], *atoms, *probes, *crystals, target=target)

    return collate([one(k) for k in range(len(padded["num_nodes"]))])


def crystal_at_random(seed: int = 0, atoms: int = 3) -> Crystal:
    rng = np.random.default_rng(seed)
    lattice = np.diag(rng.uniform(3.5, 5, 3)) + rng.uniform(-0.5, 0.5, (3, 3))
    return Crystal(lattice, rng.integers(1, 60, atoms), rng.random((atoms, 3)))


def item(crystal: Crystal, points: np.ndarray) -> ProbeBatch:
    return make_item(Neighbors(crystal, 4.0), crystal.numbers, points, dtype=torch.float64)


@pytest.fixture(scope="module")
def model() -> ChargE3Net:
    """A small network in double precision whose weights are large enough that every part matters."""
    torch.manual_seed(0)
    network = ChargE3Net(SMALL).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 1.5
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return np.random.default_rng(5).random((12, 3))


def assert_equal(one: Tensor, other: Tensor, tolerance: float = 1e-9) -> None:
    assert other.abs().max() > 1e-3
    assert (one - other).abs().max() <= tolerance * other.abs().max()


@needs_reference
@pytest.mark.parametrize(("name", "crystal"), CASES)
def test_agrees_with_the_published_code(name: str, crystal: str) -> None:
    arrays = dict(np.load(REFERENCE / f"{name}_{crystal}.npz"))
    network = load_published(REFERENCE / f"{name}.pt").requires_grad_(False)
    exact = arrays["output_f64"][0]
    scale = np.abs(exact).max()
    single = network(published_batch(arrays, torch.float32)).numpy()
    double = network.double()(published_batch(arrays, torch.float64)).numpy()
    assert np.abs(double - exact).max() < 1e-6 * scale
    assert np.abs(single - arrays["output_f32"][0]).max() < (1e-4 if "hot" in name else 1e-5) * scale


@needs_reference
@pytest.mark.parametrize("name", ["c3n_small", "c3n_inv_small"])
def test_trains_like_the_published_code(name: str) -> None:
    arrays = dict(np.load(REFERENCE / f"{name}_batch2.npz"))
    losses = json.loads((REFERENCE / f"{name}_batch2.json").read_text())["losses"]
    network = load_published(REFERENCE / f"{name}.pt").train()
    optimizer = torch.optim.Adam(network.parameters(), lr=float(arrays["lr"]))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.96 ** (step / 3000))
    batch = published_batch(arrays, torch.float32)
    for expected in losses:
        optimizer.zero_grad()
        loss = torch.nn.functional.l1_loss(network(batch), batch.target)
        loss.backward()
        optimizer.step()
        schedule.step()
        assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("depth", "lmax"), [(3, 2), (5, 1)])
def test_deep_networks_equal_the_formula(depth: int, lmax: int, points: np.ndarray) -> None:
    """The files of the published code have two layers; here are parities that only deeper layers have."""
    config = ChargE3NetConfig(depth, 18 if lmax == 2 else 12, lmax, num_basis=6)
    generator = torch.Generator().manual_seed(depth)
    shapes = published_shapes(config)
    weights = {k: torch.randn(shape, generator=generator, dtype=torch.float64) for k, shape in shapes.items()}
    basis = RadialBasis(config.num_basis, config.cutoff).double()
    for name in shapes:
        if ".basis." in name:
            weights[name] = getattr(basis, name.rsplit(".", 1)[1])
    weights = {name: 3 * w if ".lin" in name else w for name, w in weights.items()}
    network = load_published(weights)
    assert network.config.channels == config.channels
    batch = item(crystal_at_random(4), points)
    assert_equal(network(batch).detach(), compute_density(weights, config, batch), 1e-6)


def test_every_weight_of_the_published_sizes_is_alive() -> None:
    torch.manual_seed(1)
    network = build_model("charge3net")
    crystal = crystal_at_random(1)
    batch = make_item(Neighbors(crystal, 4.0), crystal.numbers, np.random.default_rng(0).random((20, 3)))
    network(batch).square().sum().backward()
    species_only = {f"encoder.convolutions.0.{name}" for name in ("sc.0e", "lin1.0e")}
    for name, parameter in network.named_parameters():
        if name not in species_only:  # rows of elements that this crystal lacks
            assert (parameter.grad != 0).float().mean() > 0.99, name
    assert sum(p.numel() for p in network.parameters()) == 829_372


def test_the_deepest_layers_keep_what_reaches_the_probes() -> None:
    three, four = list_live_irreps(ChargE3NetConfig()), list_live_irreps(ChargE3NetConfig(num_interactions=4))
    assert str(three[-1]) == "100x0e+33x1o+20x2e+14x3o+11x4e"
    assert str(four[2]) == str(three[1])  # 0o would reach unnatural parities only, which the last layer drops
    five = list_live_irreps(ChargE3NetConfig(num_interactions=5))
    assert "100x0o" in str(five[2])


@pytest.mark.parametrize("lmax", [0, 1, 2])
@pytest.mark.parametrize("depth", [1, 2, 4, 5])
def test_other_sizes_work(depth: int, lmax: int, points: np.ndarray) -> None:
    network = ChargE3Net(ChargE3NetConfig(depth, 30, lmax, num_basis=5))
    batch = item(crystal_at_random(), points).to(dtype=torch.float32)
    assert network(batch).shape == (12,)


def test_rotation_leaves_the_density_alone(model: ChargE3Net, points: np.ndarray) -> None:
    crystal = crystal_at_random()
    rotation = o3.rand_matrix(dtype=torch.float64).numpy()
    for q in (rotation, -rotation):
        turned = Crystal(crystal.lattice @ q.T, crystal.numbers, crystal.frac_coords)
        assert_equal(model(item(turned, points)), model(item(crystal, points)))


def test_translation_leaves_the_density_alone(model: ChargE3Net, points: np.ndarray) -> None:
    crystal = crystal_at_random()
    shift = np.array([0.3, -1.7, 0.9])
    moved = Crystal(crystal.lattice, crystal.numbers, crystal.frac_coords + shift)
    assert_equal(model(item(moved, points + shift)), model(item(crystal, points)))


def test_order_of_atoms_and_probes_does_not_matter(model: ChargE3Net, points: np.ndarray) -> None:
    crystal = crystal_at_random()
    order = np.array([2, 0, 1])
    permuted = Crystal(crystal.lattice, crystal.numbers[order], crystal.frac_coords[order])
    assert_equal(model(item(permuted, points[::-1])).flip(0), model(item(crystal, points)))


def test_a_supercell_has_the_same_density(model: ChargE3Net, points: np.ndarray) -> None:
    crystal = crystal_at_random()
    frac = np.concatenate([(crystal.frac_coords + np.array([0, k, 0])) / [1, 2, 1] for k in (0, 1)])
    double = Crystal(crystal.lattice * np.array([[1], [2], [1]]), np.tile(crystal.numbers, 2), frac)
    assert_equal(model(item(double, points / [1, 2, 1])), model(item(crystal, points)))


def test_a_batch_is_its_crystals(model: ChargE3Net, points: np.ndarray) -> None:
    items = [item(crystal_at_random(seed, atoms), points[:atoms]) for seed, atoms in ((0, 3), (1, 1), (2, 5))]
    batch = collate([collate(items[:2]), items[2]])
    assert batch.n_crystals == 3
    assert batch.probe_crystal.tolist() == [0] * 3 + [1] + [2] * 5
    assert_equal(model(batch), torch.cat([model(one) for one in items]))


def test_chunks_of_probes_give_the_whole(model: ChargE3Net, points: np.ndarray) -> None:
    crystal = crystal_at_random()
    fields = model.encode(item(crystal, points[:0]))
    chunks = [model.decode(fields, item(crystal, part)) for part in (points[:1], points[1:7], points[7:])]
    assert_equal(torch.cat(chunks), model(item(crystal, points)))


def test_a_probe_far_from_all_atoms_has_density_zero(model: ChargE3Net) -> None:
    lonely = Crystal(np.eye(3) * 20.0, np.array([8]), np.zeros((1, 3)))
    values = model(item(lonely, np.array([[0.5, 0.5, 0.5], [0, 0, 0], [0.1, 0, 0]])))
    assert values[0] == 0
    assert values.isfinite().all()
    assert model(item(lonely, np.array([[0.5, 0.5, 0.5]]))).tolist() == [0.0]
    assert model(item(lonely, np.zeros((0, 3)))).shape == (0,)


def test_float32_and_float64_agree(model: ChargE3Net, points: np.ndarray) -> None:
    batch = item(crystal_at_random(), points)
    exact = model(batch)
    single = ChargE3Net(SMALL)
    single.load_state_dict(model.state_dict())
    assert (single(batch.to(dtype=torch.float32)) - exact).abs().max() < 1e-4 * exact.abs().max()
    assert exact.dtype == torch.float64


def test_models_are_built_by_name() -> None:
    network = build_model("invcharge3net-4layer", mul=16)
    assert network.config == replace(ChargE3Net.configurations["invcharge3net-4layer"], mul=16)
    charge3net = {"charge3net", "charge3net-4layer", "invcharge3net", "invcharge3net-4layer"}
    assert set(MODELS) == charge3net | {"deepdft", "invdeepdft", "pair_density", "fourier_density"}
    with pytest.raises(UsageError, match="did you mean 'charge3net'"):
        build_model("chargenet")
    with pytest.raises(UsageError, match="no option 'l_max': it has num_interactions"):
        build_model("charge3net", l_max=2)
    with pytest.raises(UsageError, match="leaves no channel"):
        build_model("charge3net", mul=10)
