"""Probes near nuclei: more of them, the same expectation of sums, the same points for the same seed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ecd_data import Crystal, Density, open_store
from ecd_data.errors import UsageError
from ecd_data.store.probes.draw import ProbeReader
from ecd_data.store.probes.extract import extract_probes
from ecd_data.work.recent_cache import RecentCache
from ecd_models import load_model, train
from ecd_models.graph import Neighbors
from ecd_models.training.config import TrainConfig
from ecd_models.training.near_nuclei import RADIUS
from ecd_models.training.probe_batches import ProbeDataset


def two_atoms(shape: tuple[int, int, int] = (24, 26, 28)) -> Density:
    """A density of random numbers, whose sums over other points would be other ones."""
    crystal = Crystal(np.diag([3.0, 3.2, 3.4]), np.array([8, 12]), np.array([[0.02, 0, 0], [0.5, 0.5, 0.5]]))
    return Density(crystal, np.random.default_rng(0).random(shape))


def dataset(near: float, rho: Density | None = None, probes: int = 60, cache: int = 1 << 24) -> ProbeDataset:
    rho = rho or two_atoms()
    reader = ProbeReader("nowhere", lambda id: rho, RecentCache(cache))
    return ProbeDataset(reader, cutoff=3.0, probes=probes, seed=1, near_nuclei=near, nelect=lambda id: 20.0)


def distances(item) -> np.ndarray:
    """The distance of each probe to the nearest nucleus [p]; all probes have one within the cutoff."""
    nearest = np.full(item.n_probes, np.inf)
    np.minimum.at(nearest, item.probe_dst.numpy(), item.probe_vec.norm(dim=1).numpy())
    return nearest


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_expectation_of_weighted_sums_is_that_of_uniform_probes(share):
    rho, data = two_atoms(), dataset(share)
    points = np.stack(np.unravel_index(np.arange(rho.values.size), rho.shape), axis=1) / rho.shape
    inside = Neighbors(rho.crystal, RADIUS).probes(points)
    near = np.zeros(rho.values.size, bool)
    near[inside.dst] = True
    pool = data.reader.pool("a", 60).index
    sums, counts = np.zeros((2, 2)), 0
    for epoch in range(400):
        item = data[epoch, "a"]
        close = distances(item) <= RADIUS
        for k, chosen in enumerate((close, ~close)):
            weight = item.weight.numpy()[chosen]
            sums[k] += weight.sum(), (weight * item.target.numpy()[chosen]).sum()
        counts += item.n_probes
    values = rho.values.ravel()[pool]
    for k, chosen in enumerate((near[pool], ~near[pool])):
        exact = chosen.mean(), (values * chosen).mean()
        np.testing.assert_allclose(sums[k] / counts, exact, rtol=0.05)


def test_the_share_lies_near_nuclei_and_values_are_those_of_the_density():
    rho, data = two_atoms(), dataset(0.25)
    item = data[3, "a"]
    assert (distances(item) <= RADIUS + 1e-6).sum() >= 15
    assert item.n_probes == 60
    drawn = data.reader.draw([(3, "a")], 60, 1)[0]
    np.testing.assert_array_equal(item.target[:45], drawn.values[:45])
    assert np.isin(item.target.numpy(), rho.values.astype(np.float32)).all()


def test_points_follow_from_seed_epoch_and_id_alone():
    data, forgetful = dataset(0.2), dataset(0.2, cache=0)
    forgetful[0, "b"]
    for draw in ((0, "a"), (1, "a"), (0, "b")):
        for name in ("target", "weight", "probe_vec"):
            assert torch.equal(getattr(data[draw], name), getattr(forgetful[draw], name))
    ends = [data[draw].target[48:] for draw in ((0, "a"), (1, "a"), (0, "b"))]
    assert len({tuple(end.tolist()) for end in ends}) == 3


def test_without_grid_points_near_nuclei_all_probes_are_uniform():
    crystal = Crystal(np.eye(3) * 4.0, np.array([8]), np.full((1, 3), 0.1))
    rho = Density(crystal, np.random.default_rng(0).random((5, 5, 5)))
    weighted, uniform = dataset(0.3, rho)[0, "a"], dataset(0.0, rho)[0, "a"]
    assert torch.equal(weighted.target, uniform.target)
    assert (weighted.weight == 1).all()
    assert uniform.weight is None


def test_a_store_with_its_extract_gives_the_same(small_root, tmp_path):
    store = open_store(small_root / "pbe.ecd")
    options = {"cutoff": 3.0, "probes": 50, "seed": 1, "near_nuclei": 0.2}
    decoded = ProbeDataset(store.probe_reader, **options)[2, store.ids[0]]
    with_extract = copy_with_extract(small_root / "pbe.ecd", tmp_path / "copy.ecd")
    reader = open_store(with_extract).probe_reader
    assert reader.index is not None
    read = ProbeDataset(reader, **options)[2, store.ids[0]]
    assert torch.equal(read.target, decoded.target)
    assert torch.equal(read.weight, decoded.weight)


def copy_with_extract(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    extract_probes(target)
    return target


def last(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_model(Path(config.out) / "last.safetensors").state_dict()


def test_a_run_resumes_exactly(config):
    brief = replace(config, near_nuclei=0.2, relative_loss=True, steps=6, validate_every=3)
    through = replace(brief, out=brief.out + "-through")
    train(through)
    train(replace(brief, steps=3))
    train(brief)
    for key, value in last(through).items():
        torch.testing.assert_close(last(brief)[key], value, rtol=0, atol=0)


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="near_nuclei must lie between 0 and 1"):
        TrainConfig(out="x", near_nuclei=1.0)
    with pytest.raises(UsageError, match="leave near_nuclei out"):
        TrainConfig(out="x", model="fourier_density", whole_grids=True, near_nuclei=0.1)
