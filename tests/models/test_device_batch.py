"""Batches arranged for a device: filled up and computed all at once they give what the plain batch gives."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ecd_data.crystal import Crystal
from ecd_models.batch import ProbeBatch, collate, make_item
from ecd_models.batch import split_into_passes as cut
from ecd_models.device_batch import common_sizes, next_size, pack, pack_passes
from ecd_models.graph import Neighbors
from ecd_models.kernels.groups import Groups
from ecd_models.model import DensityModel
from ecd_models.networks import build_model, softplus
from ecd_models.training.config import TrainConfig
from ecd_models.training.cuda_graphs import CudaGraphs, Recording
from ecd_models.training.distributed import Processes
from ecd_models.training.train_step import Trainer

NETWORKS = {
    "charge3net": {"mul": 24, "lmax": 2, "num_interactions": 3, "num_basis": 12},
    "invcharge3net": {"mul": 12, "num_interactions": 2},
    "deepdft": {"num_interactions": 2, "hidden_state_size": 8},
    "invdeepdft": {"num_interactions": 3, "hidden_state_size": 8},
}


def crystal(atoms: int, edge: float, seed: int) -> Crystal:
    random = np.random.default_rng(seed)
    lattice = edge * np.eye(3) + random.normal(0, 0.1, (3, 3))
    return Crystal(lattice, random.integers(1, 90, atoms), random.random((atoms, 3)))


def item(atoms: int, edge: float, seed: int, probes: int = 17) -> ProbeBatch:
    made, random = crystal(atoms, edge, seed), np.random.default_rng(seed + 100)
    points, target = random.random((probes, 3)), random.random(probes)
    points[0] = made.frac_coords[0]  # on a nucleus
    return make_item(Neighbors(made, 4.0), made.numbers, points, target, dtype=torch.float64, mean=0.1 + target.mean())


def batches() -> dict[str, ProbeBatch]:
    return {
        "several crystals": collate([item(3, 5.0, 0), item(1, 3.0, 1), item(6, 7.0, 2, probes=40)]),
        "one atom": item(1, 3.1, 3, probes=1),
        "thin cell": item(2, 2.1, 4),
        "no neighbour": item(1, 30.0, 5),
    }


def assert_near(one: torch.Tensor, other: torch.Tensor) -> None:
    assert (one - other).abs().max() <= 1e-11 * max(1.0, float(other.detach().abs().max()))


@pytest.mark.parametrize("case", list(batches()))
@pytest.mark.parametrize("name", list(NETWORKS))
def test_an_arranged_batch_gives_the_outputs_and_gradients_of_the_plain_one(name: str, case: str) -> None:
    torch.manual_seed(0)
    network, batch = build_model(name, **NETWORKS[name]).double(), batches()[case]
    parameters = list(network.parameters())
    plain = network(batch)
    expected = torch.autograd.grad(plain.pow(2).sum(), parameters)
    packed = pack(batch, network.arrangement)
    assert all(size <= common_sizes(packed)[name] for name, size in packed.sizes.items())
    for arranged in (packed.unpack(), packed.pad(common_sizes(packed)).unpack()):
        output = network(arranged)
        gradients = torch.autograd.grad((output.pow(2) * arranged.weight).sum(), parameters)
        assert arranged.weight.sum() == batch.n_probes
        assert_near(output[1 : batch.n_probes + 1], plain)
        for one, other in zip(gradients, expected, strict=True):
            assert_near(one, other)


@pytest.mark.parametrize("arranged", [False, True])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_short_products_give_nearly_the_same(name: str, arranged: bool) -> None:
    torch.manual_seed(0)
    network, plain = build_model(name, **NETWORKS[name]), batches()["several crystals"].to(dtype=torch.float32)
    batch = pack(plain, network.arrangement).unpack() if arranged else plain
    with torch.autocast("cpu", torch.bfloat16):
        output = network(batch)[int(arranged) :]
    output.float().sum().backward()
    exact = network(plain)
    assert (output - exact).abs().max() <= 0.05 * exact.abs().max()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("parts", [2, 4, 32])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 100, 91_800])
def test_sizes_recur(count: int, parts: int) -> None:
    assert count < next_size(count, parts) <= max(count + 1, count * (1 + 1 / parts) + 1)
    assert len({next_size(k, parts) for k in range(count, 2 * count)}) <= 2 * parts + 2


def test_groups_sum_and_spread_are_adjoint() -> None:
    index = torch.tensor([2, 0, 2, 4, 0])
    groups, rows = Groups.of(index, 5), torch.randn(5, 2, 3, dtype=torch.float64)
    sums = groups.sum(rows)
    assert torch.equal(sums[2], rows[0] + rows[2])
    assert not sums[1].any()
    assert torch.equal(groups.spread(sums), sums[index])
    assert torch.autograd.gradcheck(lambda x: groups.sum(x), rows.requires_grad_())
    assert torch.autograd.gradcheck(lambda x: groups.spread(x), rows)


@pytest.mark.parametrize(("spin", "across_elements"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_step_of_arranged_passes_is_that_of_the_plain_ones(name: str, spin: bool, across_elements: bool) -> None:
    plain = [item(3, 5.0, 0), item(6, 7.0, 2)]
    if spin:
        plain = [replace(one, target=torch.stack([one.target, -one.target], dim=1)) for one in plain]
    if across_elements:
        plain = [replace(one, weight=0.5 + torch.rand(one.n_probes, dtype=torch.float64)) for one in plain]
    results = []
    for arranged in (False, True):
        torch.manual_seed(0)
        species = "descriptors" if across_elements else "one-hot"
        network = build_model(name, **NETWORKS[name], outputs=1 + spin, species=species).double()
        config = TrainConfig(out="x", batch_size=1, accumulate=2, clip_norm=1.0, relative_loss=across_elements)
        trainer = Trainer(DensityModel(network), config, Processes())
        passes = pack_passes(partial(cut, crystals=1), network.arrangement if arranged else None, plain)
        sums = trainer.step(passes, 1e-3).read()
        results.append((sums, [p.grad for p in network.parameters()]))
    assert results[0][0] == pytest.approx(results[1][0])
    for one, other in zip(results[1][1], results[0][1], strict=True):
        assert_near(one, other)


def test_a_loss_that_is_not_finite_changes_no_weight() -> None:
    batch = item(3, 5.0, 0)
    network = build_model("deepdft", **NETWORKS["deepdft"]).double()
    trainer = Trainer(DensityModel(network), TrainConfig(out="x"), Processes())
    before = [p.clone() for p in network.parameters()]
    sums = trainer.step([replace(batch, target=batch.target * float("nan"))], 1e-3).read()
    assert sums.loss != sums.loss
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))


class Operations(TorchDispatchMode):
    """Keeps the names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.add(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", list(NETWORKS))
def test_no_operation_of_a_pass_waits_for_values_or_brings_constants(name: str, monkeypatch) -> None:
    """So that on a GPU the processor runs ahead, and the pass can be recorded."""
    monkeypatch.setattr(softplus, "_with_branch", softplus._without_branch)
    network, batch = build_model(name, **NETWORKS[name]).double(), item(3, 5.0, 0)
    trainer = Trainer(DensityModel(network), TrainConfig(out="x"), Processes())
    arranged = pack(batch, network.arrangement).unpack()
    trainer.compute_gradients(arranged)  # makes what later passes find
    with Operations() as seen:
        trainer.compute_gradients(arranged)
    waiting = {"_local_scalar_dense", "nonzero", "masked_select", "repeat_interleave", "unique_consecutive", "index"}
    assert not seen.names & (waiting | {"lift_fresh", "_unique2", "is_nonzero", "index_put_", "_index_put_impl_"})


def test_the_softplus_without_a_branch_is_the_same() -> None:
    x = torch.tensor([-200.0, -20, -1e-4, 0, 1e-9, 1e-4, 3, 79, 81, 100, 1e4], dtype=torch.float64)
    assert torch.allclose(softplus._without_branch(x), softplus._with_branch(x), rtol=1e-15, atol=0)


class Replays:
    """What a recorded graph does, on a processor."""

    def __init__(self, work, parameters, recording) -> None:
        self.work, self.parameters, self.recording = work, parameters, recording

    def replay(self) -> None:
        before = [p.grad for p in self.parameters]
        for p in self.parameters:
            p.grad = None
        self.recording.sums.copy_(self.work(self.recording.batch.unpack()))
        for p, old, own in zip(self.parameters, before, self.recording.gradients, strict=True):
            own.copy_(p.grad)
            p.grad = old


def replayed_passes(network, monkeypatch) -> CudaGraphs:
    """Passes whose graphs a processor replays."""
    work = Trainer(DensityModel(network), TrainConfig(out="x"), Processes()).compute_gradients
    graphs = CudaGraphs(work, network.parameters())

    def record(batch):
        made = Recording(
            None, batch, torch.zeros(3, dtype=torch.float64), list(map(torch.zeros_like, network.parameters()))
        )
        return made._replace(graph=Replays(work, graphs.parameters, made))

    monkeypatch.setattr(graphs, "_record", record)
    return graphs


def test_passes_from_graphs_add_up_gradients_and_share_graphs(monkeypatch) -> None:
    network = build_model("deepdft", **NETWORKS["deepdft"]).double()
    graphs = replayed_passes(network, monkeypatch)
    similar = [pack(item(3, 5.0, seed), network.arrangement) for seed in (0, 7, 8, 9)]
    other = pack(item(6, 7.0, 2, probes=80), network.arrangement)
    for group in ([similar[0]], similar, [*similar, other, similar[0]]):
        network.zero_grad()
        sums = sum(graphs(batch, "cpu", len(group) == 1) for batch in group)
        found = [p.grad.clone() for p in network.parameters()]
        network.zero_grad()
        expected = sum(graphs.work(batch.unpack()) for batch in group)
        assert_near(sums, expected)
        for one, p in zip(found, network.parameters(), strict=True):
            assert_near(one, p.grad)
    assert 1 < len(graphs.recordings) < 5


@pytest.mark.parametrize("name", list(NETWORKS))
def test_what_a_batch_gives_depends_on_no_batch_before_it(name: str, monkeypatch) -> None:
    """So that a run that goes on is the run that was not interrupted, to the last bit."""
    network = build_model(name, **NETWORKS[name])
    items = [item(6, 5.0, seed=k, probes=40 + 8 * k).to(dtype=torch.float32) for k in range(8)]
    batches = [pack(one, network.arrangement) for one in items]
    found = []
    for history in ([], batches[::-1]):
        graphs = replayed_passes(network, monkeypatch)
        for batch in [*history, batches[3]]:
            network.zero_grad()
            sums = graphs(batch, "cpu", alone=True)
        found.append([sums, *(p.grad.clone() for p in network.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_where_no_graph_can_be_recorded_one_line_says_so(monkeypatch, caplog) -> None:
    network = build_model("deepdft", **NETWORKS["deepdft"]).double()
    trainer = Trainer(DensityModel(network), TrainConfig(out="x"), Processes())
    recorded, batch = (
        CudaGraphs(trainer.compute_gradients, network.parameters()),
        pack(item(3, 5.0, 0), network.arrangement),
    )
    monkeypatch.setattr(recorded, "_record", lambda batch: torch.zeros(2) + torch.zeros(3))
    sums = [recorded(batch, "cpu", alone=True) for _ in range(2)]
    assert_near(sums[0], sums[1])
    assert len([line for line in caplog.messages if "CUDA graphs cannot be used" in line]) == 1
