"""Probes of stored densities: statistics of the permutation, the extract, its resumption, and reading from anywhere."""

from __future__ import annotations

import pickle
import shutil
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from ecd_data.errors import StoreError, UnknownIdError, UsageError
from ecd_data.store import Store, StoreWriter
from ecd_data.store.probes import extract as probes_extract
from ecd_data.store.probes.extract import extract_probes
from ecd_data.store.probes.permutation import permute, round_keys, start_position
from tests.conftest import smooth_density

SHAPES = [(12, 10, 15), (9, 10, 11), (16, 16, 16), (8, 9, 7), (10, 10, 10), (3, 4, 5)]
SIGNIFICANCE = 1e-4  # every seed is fixed: a test of chance either always passes or never


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "some.ecd"
    with StoreWriter(path, bound=1e-4) as writer:
        for seed, shape in enumerate(SHAPES):
            writer.add(f"c{seed}", smooth_density(shape, seed, spin=seed % 2 == 1))
    return path


@pytest.fixture
def path(written, tmp_path):
    return shutil.copytree(written, tmp_path / "some.ecd")


def order(size, seed=0, id="crystal"):
    return permute(np.arange(size)[None], [size], round_keys(seed, id))[0]


@pytest.mark.parametrize("size", [*range(1, 40), 97, 1000, 4096, 12345])
def test_every_grid_point_has_one_position(size):
    assert np.array_equal(np.sort(order(size)), np.arange(size))


def test_crystals_are_permuted_together_as_alone():
    sizes, ids = [60, 4096, 12345], ["a", "b", "c"]
    positions = np.arange(150).reshape(3, 50)
    together = permute(positions, sizes, [round_keys(1, id) for id in ids])
    for row, (size, id) in enumerate(zip(sizes, ids, strict=True)):
        assert np.array_equal(together[row], order(size, 1, id)[positions[row] % size][:50])


def test_the_permutation_is_the_documented_one():
    assert order(1000, 7, "MgO")[:8].tolist() == [711, 179, 339, 242, 824, 168, 913, 812]


def test_samples_fill_space_evenly():
    """chi2 over 27 boxes of the samples of 200 from one crystal has the mean and spread of independent points."""
    n = 96
    flat = order(n**3, 5)[:400000].reshape(-1, 200)
    box = [axis * 3 // n for axis in np.unravel_index(flat, (n, n, n))]
    counts = np.stack([np.bincount(row, minlength=27) for row in box[0] * 9 + box[1] * 3 + box[2]])
    chi2 = ((counts - 200 / 27) ** 2 / (200 / 27)).sum(axis=1)
    assert stats.kstest(chi2, stats.chi2(26).cdf).pvalue > 1e-3  # discrete, hence only nearly chi2
    assert chi2.mean() / 26 == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("size", [4096, 12345, 884736])
def test_positions_and_points_are_uncorrelated(size):
    """Serial correlation at several lags, and the joint histogram of a point and its successor."""
    flat = order(size, 2)[: min(size, 200000)] / size
    for lag in (1, 2, 3, 5, 16, 200):
        correlation = np.corrcoef(flat[:-lag], flat[lag:])[0, 1]
        assert abs(correlation) * np.sqrt(len(flat)) < 4
    pairs = np.histogram2d(flat[:-1:2], flat[1::2], bins=16, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(pairs.ravel()).pvalue > SIGNIFICANCE


def test_the_spectrum_of_the_order_is_flat():
    """No period: the power of the standardised order is exponentially distributed over the frequencies."""
    flat = order(65536, 9).astype(float)
    power = np.abs(np.fft.rfft((flat - flat.mean()) / flat.std()))[1:-1] ** 2 / len(flat)
    assert stats.kstest(power, "expon").pvalue > SIGNIFICANCE
    assert power.max() < 2.5 * np.log(len(power))


def test_probes_have_no_preferred_distances():
    """Pair differences of probes within a sample are uniform on the torus, as of independent points."""
    n = 24
    flat = order(n**3, 4)[:13800].reshape(-1, 200)
    points = np.stack(np.unravel_index(flat, (n, n, n)), axis=-1)
    differences = ((points[:, ::2] - points[:, 1::2]) % n).reshape(-1, 3)
    for axis in range(3):
        assert stats.chisquare(np.bincount(differences[:, axis], minlength=n)).pvalue > SIGNIFICANCE
    near = (np.minimum(differences, n - differences).max(axis=1) <= 2).mean()
    assert near == pytest.approx((5 / n) ** 3, abs=4 * np.sqrt((5 / n) ** 3 / len(differences)))


def test_crystals_and_seeds_have_orders_of_their_own():
    orders = [order(4096, seed, id) for seed in (0, 1) for id in ("a", "b", "a ")]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert (one == other).sum() < 10
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.08


def test_no_probe_comes_twice_until_they_are_used_up(path):
    store = Store(path)
    size = 16**3
    samples = [store.probes("c2", 200, seed=3, epoch=epoch).index for epoch in range(size // 200)]
    assert len(np.unique(np.concatenate(samples))) == size // 200 * 200
    again = store.probes("c2", 200, seed=3, epoch=size // 200).index
    assert all(len(np.intersect1d(again, sample)) < 200 for sample in samples)


def test_samples_of_an_epoch_start_anywhere():
    starts = [start_position(0, 0, f"c{k}", 200, 16384) for k in range(4000)]
    assert stats.kstest(np.array(starts) / 16384, "uniform").pvalue > SIGNIFICANCE


def test_a_grid_smaller_than_the_sample_comes_evenly(path):
    probes = Store(path).probes("c5", 200)
    counts = np.bincount(probes.index, minlength=60)
    assert set(counts) == {3, 4}


def check(store, probes, n):
    rho = store[probes.id]
    assert len(probes) == n
    assert probes.values.dtype == np.float32
    assert np.array_equal(probes.values, rho.values.ravel()[probes.index].astype(np.float32))
    assert np.array_equal(
        np.rint(probes.frac_coords * rho.shape), np.array(np.unravel_index(probes.index, rho.shape)).T
    )
    assert probes.shape == rho.shape
    assert np.array_equal(probes.crystal.frac_coords, rho.frac_coords)
    assert np.array_equal(probes.crystal.lattice, rho.lattice)
    assert np.array_equal(probes.crystal.numbers, rho.numbers)


def test_probes_are_values_of_the_density_with_and_without_an_extract(path, written):
    extract_probes(path)
    store, plain = Store(path), Store(written)
    for epoch in (0, 1, 7, 1000):
        extracted, decoded = (s.probes(plain.ids, 50, epoch=epoch) for s in (store, plain))
        for one, other in zip(extracted, decoded, strict=True):
            check(plain, one, 50)
            assert np.array_equal(one.index, other.index)
            assert np.array_equal(one.values, other.values)


def test_magnetization_comes_where_it_is_asked_for(path):
    extract_probes(path)
    store = Store(path)
    with_spin, without = store.probes(["c1", "c0"], 50, magnetization=True)
    assert np.array_equal(with_spin.magnetization, store["c1"].magnetization.ravel()[with_spin.index].astype("f4"))
    assert without.magnetization is None
    assert store.probes("c1", 50).magnetization is None


def test_a_vector_magnetization_comes_as_vectors(tmp_path):
    rho = smooth_density((4, 5, 6))
    spin = np.random.default_rng(0).normal(size=(3, 4, 5, 6))
    with StoreWriter(tmp_path / "soc.ecd", pipeline="real") as writer:
        writer.add("soc", type(rho)(rho.crystal, rho.values, spin))
    extract_probes(tmp_path / "soc.ecd")
    store = Store(tmp_path / "soc.ecd")
    probes = store.probes("soc", 30, magnetization=True)
    assert np.array_equal(probes.magnetization, store["soc"].magnetization.reshape(3, -1).T[probes.index].astype("f4"))


def test_two_hundred_probes_are_one_read_of_800_bytes(path):
    extract_probes(path)
    reader = Store(path).probe_reader
    asked = []
    read = reader._ranges.read
    reader._ranges.read = lambda wanted: asked.append(wanted) or read(wanted)
    reader.draw([(0, "c0"), (0, "c2")], 200, 1)
    assert len(asked) == 1
    assert [stop - start for _, start, stop in asked[0]] == [800, 800]


def test_fewer_probes_than_asked_for_are_refused(path):
    extract_probes(path, per_crystal=100)
    store = Store(path)
    assert len(store.probes("c0", 100)) == 100
    assert len(store.probes("c5", 200)) == 200  # the whole grid of 60 is there
    with pytest.raises(UsageError, match="c0: the extract has 100 probes of it, fewer than 101"):
        store.probes("c0", 101)
    with pytest.raises(UnknownIdError, match="c9 is not in"):
        store.probes("c9")


@pytest.mark.parametrize(("n", "seed", "epoch"), [(0, 0, 0), (5, -1, 0), (5, 0, -1)])
def test_impossible_numbers_are_refused(path, n, seed, epoch):
    with pytest.raises(UsageError, match=r"n is a positive|(seed|epoch) is a whole number"):
        Store(path).probes("c0", n, seed=seed, epoch=epoch)


def contents(path):
    return {file.name: file.read_bytes() for file in (path / "probes").glob("part-*")}


def test_a_second_call_continues_and_renews_what_changed(path):
    first = extract_probes(path, per_crystal=64)
    assert (first.added, first.skipped) == (6, 0)
    before = contents(path)
    again = extract_probes(path)
    assert (again.added, again.skipped, again.settings.per_crystal) == (0, 6, 64)
    assert contents(path) == before
    with StoreWriter(path) as writer:
        writer.add("new", smooth_density((6, 7, 8), 9))
    assert extract_probes(path).added == 1
    check(Store(path), Store(path).probes("new", 20), 20)
    next((path / "probes").glob("part-00000-*.f32")).unlink()
    third = extract_probes(path)
    assert (third.added, third.skipped) == (6, 1)
    check(Store(path), Store(path).probes("c0", 20), 20)


@pytest.mark.parametrize("replaced", [[1], range(len(SHAPES))])
def test_probes_are_of_the_densities_that_the_store_has_now(path, tmp_path, replaced):
    """Other densities of the same ids, copied over those from which the extract was made, are decoded."""
    extract_probes(path)
    with StoreWriter(tmp_path / "other.ecd", bound=1e-4) as writer:
        for seed, shape in enumerate(SHAPES):
            writer.add(f"c{seed}", smooth_density(shape, seed + 50 * (seed in replaced), spin=seed % 2 == 1))
    shutil.copytree(tmp_path / "other.ecd", path, dirs_exist_ok=True)
    store = Store(path)
    for probes in store.probes(store.ids, 60, seed=1):
        check(store, probes, 60)
    assert extract_probes(path).added == len(replaced)
    check(store, Store(path).probes("c1", 60), 60)


def test_other_settings_are_refused(path):
    extract_probes(path, per_crystal=64)
    with pytest.raises(UsageError, match="has 64 probes of each crystal with seed 0"):
        extract_probes(path, per_crystal=32)
    with pytest.raises(UsageError, match="written to a local store"):
        extract_probes("https://example.org/some.ecd")
    for impossible in ({"per_crystal": 0}, {"per_crystal": 10.5}, {"seed": -1}):
        with pytest.raises(UsageError, match=r"(number of probes|seed) is a (positive )?whole number"):
            extract_probes(path, **impossible)


def test_the_number_of_processes_changes_nothing(path, written, tmp_path, monkeypatch):
    monkeypatch.setattr(probes_extract, "FILE_CRYSTALS", 4)
    extract_probes(path)
    other = shutil.copytree(written, tmp_path / "other.ecd")
    extract_probes(other, workers=2)
    assert contents(path) == contents(other)
    assert len(contents(path)) == 2


def test_a_damaged_crystal_is_left_out_and_named(path):
    row = Store(path).row("c3")
    part = path / "parts" / row["part"]
    data = bytearray(part.read_bytes())
    data[row["offset"] + row["length"] // 2] ^= 1
    part.write_bytes(data)
    report = extract_probes(path)
    assert report.added == 5
    assert list(report.failed) == ["c3"]
    assert "cut or altered" in report.failed["c3"]


KILLED = """
import itertools, sys, time
from ecd_data.store.probes import extract as probes_extract
probes_extract.FILE_CRYSTALS = 2
draw, numbers = probes_extract.make_pool, itertools.count(1)
def stop_at_the_fourth(*arguments):
    print("drawn", flush=True)
    if next(numbers) == 4:
        time.sleep(100)  # until the signal comes
    return draw(*arguments)
probes_extract.make_pool = stop_at_the_fourth
probes_extract.extract_probes(sys.argv[1])
"""


@pytest.mark.parametrize("signal_sent", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_what_was_complete_survives_a_kill(path, written, tmp_path, signal_sent):
    running = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for _ in range(4):
        assert running.stdout.readline()
    running.send_signal(signal_sent)
    assert running.wait() != 0
    running.stdout.close()
    store = Store(path)
    for id in store:
        check(Store(written), store.probes(id, 30), 30)
    report = extract_probes(path)
    assert report.skipped >= 2
    assert report.added + report.skipped == 6
    assert not list((path / "probes").glob(".*"))


def test_two_writers_are_kept_apart(path):
    from ecd_data.io.lock import lock_folder

    (path / "probes").mkdir()
    release = lock_folder(path / "probes", test_two_writers_are_kept_apart)
    try:
        with pytest.raises(StoreError, match="another process"):
            extract_probes(path)
    finally:
        release()


def test_damage_is_told(path):
    extract_probes(path)
    file = next((path / "probes").glob("part-00000-*.f32"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(StoreError, match=r"part-00000-\w+\.f32 is cut"):
        Store(path).probes("c5", 200)
    file.unlink()
    with pytest.raises(StoreError, match=r"part-00000-\w+\.f32 is missing"):
        Store(path).probes("c0")
    index = path / "probes/index.parquet"
    index.write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"index\.parquet is damaged"):
        Store(path).probes("c0")
    pq.write_table(pq.read_table(path / "index.parquet"), index)
    with pytest.raises(StoreError, match="not an index of probes"):
        Store(path).probes("c0")


def test_readers_travel_to_other_processes(path):
    extract_probes(path)
    reader = Store(path).probe_reader
    first = reader.draw([(0, "c0")], 20, 1)[0]
    again = pickle.loads(pickle.dumps(reader)).draw([(0, "c0")], 20, 1)[0]
    assert np.array_equal(first.values, again.values)


def test_a_url_gives_the_same_probes(path, served):
    extract_probes(path)
    local, remote = Store(path), Store(served(path.parent) + "/some.ecd")
    draws = [(epoch, id) for epoch in range(5) for id in local.ids]
    streamed = list(remote.probe_reader.stream(draws, 60, 1, group=4, ahead=3))
    assert [probes.id for probes in streamed] == [id for _, id in draws]
    for one, other in zip(streamed, local.probe_reader.stream(draws, 60, 1), strict=True):
        assert np.array_equal(one.values, other.values)
        assert np.array_equal(one.frac_coords, other.frac_coords)


def test_a_server_that_never_answers_is_given_up(path, served, monkeypatch):
    monkeypatch.setattr("ecd_data.io.byte_ranges.PAUSE", 0.01)
    monkeypatch.setattr("ecd_data.io.web_files.READ_SECONDS", 0.2)
    extract_probes(path)
    store = Store(served(path.parent, silent="/probes/part-") + "/some.ecd")
    with pytest.raises(StoreError, match=r"probes/part-.* cannot be read \(.*[Tt]imeout.*\): check the URL"):
        store.probes("c0", 8, seed=3)


def test_failures_of_a_server_are_met_again(path, served, monkeypatch):
    monkeypatch.setattr("ecd_data.io.byte_ranges.PAUSE", 0.01)
    extract_probes(path)
    url = served(path.parent, failing=3)
    store = Store(url + "/some.ecd")
    check(Store(path), store.probes("c0", 20), 20)
    next((path / "probes").glob("part-00000-*.f32")).unlink()
    with pytest.raises(StoreError, match=r"part-00000-\w+\.f32 is missing"):
        store.probes("c0", 20)


def test_s3_gives_the_same_probes(path, s3):
    extract_probes(path)
    s3.put(str(path), "bucket/some.ecd", recursive=True)
    local, remote = Store(path), Store("s3://bucket/some.ecd")
    for one, other in zip(remote.probes(local.ids, 60), local.probes(local.ids, 60), strict=True):
        assert np.array_equal(one.values, other.values)


def test_the_verb_says_what_it_did(path, capsys):
    from ecd_models.cli import _run

    assert _run(["probes", str(path), "--per-crystal", "128", "--quiet"]) == 0
    assert "6 added" in capsys.readouterr().out
    assert _run(["probes", str(path), "--per-crystal", "64"]) == 2
    assert "has 128 probes of each crystal" in capsys.readouterr().err
    assert _run(["probes", str(path / "nothing")]) == 1
