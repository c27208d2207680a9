"""Streamed batches: divided exactly, the same from any number of workers, resumed exactly, from any place."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ecd_data.errors import UnknownIdError, UsageError
from ecd_data.store import Store, StoreWriter
from ecd_data.store.probes.extract import extract_probes
from ecd_models.atoms.fitted import fit_superposed_atoms
from ecd_models.batch import make_item
from ecd_models.graph import Neighbors
from ecd_models.training.probe_batches import EpochBatches
from ecd_models.training.probe_stream import ProbeStream
from tests.conftest import smooth_density

ROOT = Path(__file__).resolve().parents[2]
CRYSTALS = 11
OPTIONS = {"cutoff": 2.5, "probes": 20, "batch_size": 2, "seed": 4}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "some.ecd"
    with StoreWriter(path, pipeline="real") as writer:
        for seed in range(CRYSTALS):
            writer.add(f"c{seed}", smooth_density((6, 7, 8 + seed), seed, spin=seed % 2 == 0))
    extract_probes(path)
    return Store(path)


def same(one, other):
    fields = ("numbers", "atom_vec", "probe_vec", "probe_src", "probe_crystal", "target")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in fields)


def targets(batches):
    """The targets of every crystal in the batches, as something that can be counted."""
    return [tuple(b.target[b.probe_crystal == k].tolist()) for b in batches for k in range(b.n_crystals)]


def test_a_batch_is_what_training_uses(store):
    batch = next(iter(ProbeStream(store, **OPTIONS)))
    assert (batch.n_crystals, batch.n_probes) == (2, 40)
    order = next(iter(EpochBatches(store.ids, 2, 4, 0, 1)))
    for k, (epoch, id) in enumerate(order):
        probes = store.probes(id, 20, seed=4, epoch=epoch)
        item = make_item(Neighbors(probes.crystal, 2.5), probes.crystal.numbers, probes.frac_coords, probes.values)
        chosen = batch.probe_crystal == k
        assert torch.equal(batch.target[chosen], item.target)
        assert torch.equal(batch.probe_vec[chosen[batch.probe_dst]], item.probe_vec)


def test_the_order_is_that_of_training(store):
    stream = ProbeStream(store, **OPTIONS)
    draws = list(islice(stream._draws(0, 1), 40))
    assert draws == [draw for batch in EpochBatches(store.ids, 2, 4, 0, 20) for draw in batch]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_every_crystal_comes_once_an_epoch(store, world_size, workers, batch_size):
    draws = []
    for rank in range(world_size):
        options = OPTIONS | {"batch_size": batch_size, "epochs": 3}
        stream = ProbeStream(store, rank=rank, world_size=world_size, **options)
        shares = [list(stream._draws(worker, workers)) for worker in range(workers)]
        draws += [draw for share in shares for draw in share]
        assert len(stream) == sum(-(-len(share) // batch_size) for share in shares)
    assert Counter(draws) == Counter((epoch, id) for epoch in range(3) for id in store.ids)


def test_any_number_of_workers_gives_the_same_batches(store):
    one, two = (list(ProbeStream(store, epochs=2, **OPTIONS).batches(workers)) for workers in (0, 2))
    assert len(one) == len(two) == CRYSTALS
    assert all(map(same, one, two))


def test_ranks_together_see_what_one_sees(store):
    alone = list(ProbeStream(store, epochs=2, **OPTIONS))
    ranks = [list(ProbeStream(store, epochs=2, rank=rank, world_size=3, **OPTIONS)) for rank in range(3)]
    assert Counter(targets(alone)) == Counter(targets([batch for rank in ranks for batch in rank]))


@pytest.mark.parametrize(("workers", "again"), [(0, 0), (2, 0), (0, 2)])
def test_a_stream_resumes_in_the_middle_of_an_epoch(store, workers, again):
    stream = ProbeStream(store, **OPTIONS)
    batches = stream.batches(workers)
    wanted = list(islice(batches, 7))
    state = None
    stream = ProbeStream(store, **OPTIONS)
    for number, batch in enumerate(stream.batches(workers)):
        assert same(batch, wanted[number])
        if number == 2:
            state = stream.state_dict()
            break
    assert state == {"seed": 4, "crystals": 6}
    resumed = ProbeStream(store, **OPTIONS)
    resumed.load_state_dict(state)
    assert all(map(same, wanted[3:], islice(resumed.batches(again), 4)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pass_after_the_last_epoch_is_refused(store, workers):
    stream = ProbeStream(store, epochs=1, **OPTIONS)
    first = list(stream.batches(workers))
    with pytest.raises(UsageError, match=r"all epochs of the stream \(1\) are drawn: give it more epochs"):
        next(stream.batches(workers))
    with pytest.raises(UsageError, match="are drawn"):
        next(iter(stream))
    stream.load_state_dict({"seed": 4, "crystals": 0})
    assert all(map(same, first, stream))


def test_a_stream_that_was_saved_at_its_end_has_no_batch_left(store):
    stream = ProbeStream(store, epochs=1, **OPTIONS)
    list(stream)
    resumed = ProbeStream(store, epochs=1, **OPTIONS)
    resumed.load_state_dict(stream.state_dict())
    assert (list(resumed), len(resumed)) == ([], 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_worker_is_one_sentence(store, tmp_path, workers):
    path = shutil.copytree(store.root, tmp_path / "some.ecd", ignore=shutil.ignore_patterns("probes"))
    extract_probes(path, per_crystal=8)
    stream = ProbeStream(str(path), **OPTIONS)
    with pytest.raises(UsageError, match=r"\Ac\d+: the extract has 8 probes of it, fewer than 20") as told:
        next(stream.batches(workers))
    assert "\n" not in str(told.value)


def test_a_run_of_two_ranks_goes_on_with_three(store):
    seen = []
    for rank in range(2):
        stream = ProbeStream(store, rank=rank, world_size=2, epochs=2, **OPTIONS)
        seen += list(islice(stream, 2))
        state = stream.state_dict()
    for rank in range(3):
        stream = ProbeStream(store, rank=rank, world_size=3, epochs=2, **OPTIONS)
        stream.load_state_dict(state)
        seen += list(stream)
    assert Counter(targets(seen)) == Counter(targets(ProbeStream(store, epochs=2, **OPTIONS)))


def test_a_finite_stream_counts_to_its_end(store):
    stream = ProbeStream(store, epochs=1, **OPTIONS)
    assert len(stream) == 6
    assert [batch.n_crystals for batch in stream] == [2, 2, 2, 2, 2, 1]
    assert stream.state_dict()["crystals"] == CRYSTALS
    assert len(stream) == 0


def test_torch_s_own_loader_takes_it(store):
    loader = DataLoader(ProbeStream(store, epochs=1, **OPTIONS), batch_size=None, num_workers=0)
    assert len(list(loader)) == 6


def test_a_stream_travels_to_workers_that_are_spawned(store):
    stream = ProbeStream(store, epochs=1, **OPTIONS)
    again = pickle.loads(pickle.dumps(stream))
    assert all(map(same, stream, again))


def test_the_seed_decides(store):
    other = next(iter(ProbeStream(store, **OPTIONS | {"seed": 5})))
    assert not same(next(iter(ProbeStream(store, **OPTIONS))), other)


def test_spin_and_superposed_atoms(store):
    atoms = fit_superposed_atoms(store[id] for id in store.ids[:3])
    batch = next(iter(ProbeStream(store, ["c1", "c2"], cutoff=2.5, probes=9, batch_size=2, atoms=atoms, spin=True)))
    assert batch.target.shape == (18, 2)
    for k, (epoch, id) in enumerate(next(iter(EpochBatches(["c1", "c2"], 2, 0, 0, 1)))):
        probes = store.probes(id, 9, epoch=epoch, magnetization=True)
        chosen = batch.probe_crystal == k
        spin = np.zeros(9) if probes.magnetization is None else probes.magnetization
        assert np.array_equal(batch.target[chosen].numpy(), np.stack([probes.values, spin], 1).astype("f4"))
        baseline = atoms(probes.crystal, probes.shape).values.ravel()[probes.index]
        assert np.allclose(batch.baseline[chosen], baseline, rtol=1e-6)


def test_wrong_use_is_told(store):
    with pytest.raises(UnknownIdError, match="c99 is not in"):
        ProbeStream(store, ["c1", "c99"], cutoff=2.5)
    with pytest.raises(UsageError, match="each once"):
        ProbeStream(store, ["c1", "c1"], cutoff=2.5)
    with pytest.raises(UsageError, match="rank 2 of 2"):
        ProbeStream(store, cutoff=2.5, rank=2, world_size=2)
    with pytest.raises(UsageError, match="seed 3"):
        ProbeStream(store, **OPTIONS).load_state_dict({"seed": 3, "crystals": 0})
    with pytest.raises(UsageError, match="at least 1"):
        ProbeStream(store, cutoff=2.5, probes=0)
    with pytest.raises(TypeError, match="endless"):
        len(ProbeStream(store, cutoff=2.5))


def test_ranks_of_torchrun_are_found(store, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    stream = ProbeStream(store, **OPTIONS)
    assert same(next(iter(stream)), list(islice(ProbeStream(store, rank=0, world_size=1, **OPTIONS), 2))[1])


def test_workers_read_from_a_url(store, served):
    url = served(Path(store.root).parent) + "/some.ecd"
    remote = list(ProbeStream(url, epochs=1, **OPTIONS).batches(2))
    assert all(map(same, remote, ProbeStream(store, epochs=1, **OPTIONS)))


def test_s3_streams_into_a_batch(store, s3):
    s3.put(store.root, "bucket/some.ecd", recursive=True)
    remote = ProbeStream("s3://bucket/some.ecd", epochs=1, **OPTIONS)
    assert all(map(same, remote.batches(1), ProbeStream(store, epochs=1, **OPTIONS)))


def test_a_store_without_an_extract_streams_the_same(store, tmp_path):
    plain = shutil.copytree(store.root, tmp_path / "plain.ecd", ignore=shutil.ignore_patterns("probes"))
    assert all(map(same, ProbeStream(str(plain), epochs=2, **OPTIONS), ProbeStream(store, epochs=2, **OPTIONS)))


@pytest.mark.slow
def test_the_example_streams_from_a_url(tmp_path):
    command = [
        sys.executable,
        ROOT / "examples/stream_from_url.py",
        "--steps",
        "3",
        "--crystals",
        "4",
        "--workers",
        "1",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1" in done.stdout
    assert "step 3" in done.stdout
