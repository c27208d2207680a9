"""Stores in use: readers, loaders and streams go on while another process adds, merges and encodes again."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Store, open_store
from ecd_data.errors import StoreError, UnknownIdError
from ecd_data.store import StoreWriter, merge, reencode, verify
from ecd_data.store import index as index_module
from ecd_data.store.probes.extract import extract_probes
from tests.conftest import smooth_density
from tests.servers import FolderServer

SHAPE = (4, 5, 6)
IDS = [f"x{number}" for number in range(12)]
LOOSE = 2e-4  # eps_mae of what is encoded again, with room


def made(path: Path, ids: list[str] = IDS) -> Path:
    """A store in parts of two crystals, which the next writer merges."""
    for start in range(0, len(ids), 2):
        with StoreWriter(path, part_size=2) as writer:
            for id in ids[start : start + 2]:
                writer.add(id, density(id))
    return path


def density(id: str):
    return smooth_density(SHAPE, seed=int(id[1:]))


def right(id: str, values: np.ndarray, at=slice(None)) -> bool:
    true = density(id).values.ravel()[at].ravel()
    return bool(np.abs(values.ravel() - true).mean() <= LOOSE * np.abs(density(id).values).mean() * 5)


def add(path: Path, first: int, count: int, part_size: int = 1000) -> None:
    with StoreWriter(path, part_size=part_size) as writer:
        for number in range(first, first + count):
            writer.add(f"x{number}", density(f"x{number}"))


def replace_by(path: Path, other: Path) -> None:
    """What `mv` of a newly encoded store over an old one does: another folder at once, with parts of the same names."""
    path.rename(path.with_suffix(".old"))
    other.rename(path)
    shutil.rmtree(path.with_suffix(".old"))


def write_on(path: str, done) -> None:
    """Add crystals to a store one by one, each time merging its small parts, until `done`."""
    number = 100
    while not done.is_set():
        add(Path(path), number, 1)
        number += 1


def read_on(root: str, reads: int, seed: int) -> int:
    """How many of `reads` densities came out right from one Store that was opened at the beginning."""
    store, rng = open_store(root), np.random.default_rng(seed)
    ids = list(store.ids)
    return sum(right(id, store[id].values) for id in rng.choice(ids, reads))


@pytest.mark.slow
def test_a_thousand_reads_of_four_processes_while_another_writes(tmp_path):
    path, context = made(tmp_path / "s.ecd"), multiprocessing.get_context("spawn")
    done = context.Event()
    writer = context.Process(target=write_on, args=(str(path), done))
    with context.Pool(4) as readers:
        readers.map(abs, range(8))  # they are awake
        writer.start()
        time.sleep(0.5)
        try:
            jobs = [(str(path), 125, seed) for seed in range(8)]
            assert sum(readers.starmap(read_on, jobs, chunksize=1)) == 1000
        finally:
            done.set()
            writer.join()
    assert writer.exitcode == 0
    assert verify(path).ok


def test_a_thousand_reads_over_http_while_another_writes(tmp_path):
    path, server = made(tmp_path / "s.ecd"), FolderServer(tmp_path)
    done = threading.Event()
    try:
        with ThreadPoolExecutor(5) as threads:
            writing = threads.submit(write_on, str(path), done)
            reading = [threads.submit(read_on, f"{server.url}/s.ecd", 250, seed) for seed in range(4)]
            try:
                assert sum(each.result() for each in reading) == 1000
            finally:
                done.set()
            writing.result()
    finally:
        server.stop()


CHANGES = {
    "merged": lambda path, aside: add(path, 50, 1),
    "merged twice": lambda path, aside: (add(path, 50, 1), add(path, 51, 1)),
    "encoded again": lambda path, aside: (reencode(path, aside, 1e-4), replace_by(path, aside)),
    "in another order": lambda path, aside: (made(aside, IDS[::-1]), replace_by(path, aside)),
}


@pytest.fixture(params=["disk", "http"])
def place(request, tmp_path):
    """Gives a store's path the name that it is opened by."""
    if request.param == "disk":
        yield str
        return
    server = FolderServer(tmp_path)
    yield lambda path: f"{server.url}/{path.name}"
    server.stop()


@pytest.mark.parametrize("change", CHANGES)
def test_an_open_store_goes_on(tmp_path, place, change):
    path = made(tmp_path / "s.ecd")
    store = open_store(place(path))
    before = store.index
    CHANGES[change](path, tmp_path / "aside.ecd")
    for id in IDS:
        assert right(id, store[id].values)
        assert store.payload(id).shape == SHAPE
    assert store.ids == IDS == list(store.index["id"])  # what was read once stays of one piece
    assert store.index is before
    assert right("x3", pickle.loads(pickle.dumps(store))["x3"].values)


@pytest.mark.parametrize("change", CHANGES)
def test_samples_and_streams_go_on(tmp_path, place, change):
    pytest.importorskip("torch")
    from ecd_data.store.probes.draw import ProbeReader
    from ecd_models.training.probe_batches import ProbeDataset
    from ecd_models.training.probe_stream import ProbeStream

    path = made(tmp_path / "s.ecd")
    store = open_store(place(path))
    samples = ProbeDataset(ProbeReader(store.root, store.__getitem__), cutoff=3.0, probes=20, seed=0)
    stream = iter(ProbeStream(store, IDS, cutoff=3.0, probes=20, batch_size=2, epochs=1))
    first = [samples[0, IDS[0]], next(stream)]
    CHANGES[change](path, tmp_path / "aside.ecd")
    assert [samples[0, id].target.shape for id in IDS]
    assert len([*first, *stream]) == 1 + len(IDS) // 2


@pytest.mark.parametrize("change", CHANGES)
def test_rows_of_a_dataset_go_on(tmp_path, change):
    import datasets  # noqa: F401 - the package's hook waits for it

    from ecd_data.hf.density_feature import DensityFeature, Reference

    path = made(tmp_path / "s.ecd")
    store = open_store(path)
    rows = [
        Reference(str(path), *(store.row(id)[n] for n in ("part", "id", "offset", "length", "sha256"))) for id in IDS
    ]
    CHANGES[change](path, tmp_path / "aside.ecd")
    for row in rows:
        rho = row.read()
        assert right(row.id, rho.values)
        again = DensityFeature().encode_example(rho)  # refers to where it lies now
        assert right(row.id, Store(path)[again["id"]].values)
        assert (path / "parts" / again["part"]).exists()


def test_crystals_that_were_added_are_found_by_their_ids(tmp_path, place):
    path = made(tmp_path / "s.ecd")
    store = open_store(place(path))
    assert store.ids == IDS
    add(path, 70, 2)
    assert right("x70", store["x70"].values)
    assert "x70" in store
    assert store.row("x71")["id"] == "x71"
    with pytest.raises(UnknownIdError, match="x72 is not in"):
        store["x72"]


def test_what_is_really_lost_is_said_as_before(tmp_path, place):
    path = made(tmp_path / "s.ecd")
    store = open_store(place(path))
    url, extent = store.place("x0")
    part, at = path / "parts" / Path(url).name, extent.offset + 50
    whole = part.read_bytes()
    part.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(StoreError, match=r"x0: the part .* is cut or altered"):
        store["x0"]
    part.unlink()
    with pytest.raises(StoreError, match=r"x0: the part .* is missing; restore it"):
        store["x0"]
    assert right("x5", store["x5"].values)
    part.write_bytes(whole)  # restored
    assert right("x0", store["x0"].values)


def test_a_crystal_that_left_the_store_is_named(tmp_path):
    path, store = made(tmp_path / "s.ecd"), open_store(tmp_path / "s.ecd")
    assert store.ids == IDS
    made(tmp_path / "aside.ecd", IDS[:4])
    replace_by(path, tmp_path / "aside.ecd")
    with pytest.raises(UnknownIdError, match="x7 is no longer in"):
        store["x7"]


def test_copies_take_what_was_merged_and_refuse_what_was_replaced(tmp_path):
    """A copied row says what the copied bytes are: other bytes under it would be a silent lie."""
    path = made(tmp_path / "s.ecd")
    store = open_store(path)
    assert len(store.index) == len(IDS)
    add(path, 50, 1)
    assert merge([store], tmp_path / "copy.ecd").added == IDS
    assert verify(tmp_path / "copy.ecd").ok
    store = open_store(path)
    assert len(store.index) == len(IDS) + 1
    reencode(path, tmp_path / "aside.ecd", 1e-4)
    replace_by(path, tmp_path / "aside.ecd")
    with pytest.raises(StoreError, match="run the same command again"):
        merge([store], tmp_path / "other.ecd")


def test_an_extract_may_be_renewed_while_it_is_read(tmp_path, place):
    path = made(tmp_path / "s.ecd")
    extract_probes(path)
    store = open_store(place(path))
    grids = {id: store[id].values.astype(np.float32).ravel() for id in IDS}
    store.probes("x0", 20)
    reencode(path, tmp_path / "aside.ecd", 1e-4)
    shutil.copytree(path / "probes", tmp_path / "aside.ecd" / "probes")
    replace_by(path, tmp_path / "aside.ecd")
    extract_probes(path)  # every crystal is another: new files, and the old ones are gone
    for epoch in range(3):
        for probes in store.probes(IDS, 20, epoch=epoch):
            assert np.abs(probes.values - grids[probes.id][probes.index]).max() < 1e-3
    shutil.rmtree(path / "probes")
    fresh = open_store(place(path)).probes(IDS, 20, epoch=7)
    for one, other in zip(store.probes(IDS, 20, epoch=7), fresh, strict=True):
        np.testing.assert_array_equal(one.index, other.index)


@pytest.mark.parametrize("change", ["order", "values", "nothing", "seed"])
def test_an_extract_that_is_removed_and_made_again_is_never_read_by_an_old_index(tmp_path, place, change):
    """The numbers of its files, their sizes and the ids come again, with other values at the same places."""
    path = made(tmp_path / "s.ecd")
    extract_probes(path, per_crystal=60)
    store = open_store(place(path))
    grids = {id: store[id].values.astype(np.float32).ravel() for id in IDS}
    store.probes(IDS[:2], 20)  # now it has the index, and the file open where it lies on a disk
    old = {file.name: file.read_bytes() for file in (path / "probes").glob("*.f32")}
    if change == "order":
        made(tmp_path / "aside.ecd", IDS[::-1])
        replace_by(path, tmp_path / "aside.ecd")
    elif change == "values":
        reencode(path, tmp_path / "aside.ecd", 1e-4)
        replace_by(path, tmp_path / "aside.ecd")
    shutil.rmtree(path / "probes", ignore_errors=True)
    extract_probes(path, per_crystal=60, seed=1 if change == "seed" else 0)
    new = {file.name: file.read_bytes() for file in (path / "probes").glob("*.f32")}
    assert all(old[name] == new[name] for name in old.keys() & new.keys())
    if change == "seed" and "://" in str(place(path)):  # on a disk, the file that is open stays the old one
        with pytest.raises(StoreError, match="other settings: open the store again"):
            store.probes(IDS, 20)
        return
    for probes in store.probes(IDS, 20):
        assert np.abs(probes.values - grids[probes.id][probes.index]).max() < 1e-3


def test_files_of_an_extract_that_was_made_anew_are_not_taken_for_the_old_ones(tmp_path):
    """The names come again, at other places in the files: the values would be wrong and look right."""
    path = made(tmp_path / "s.ecd")
    extract_probes(path, per_crystal=50)
    store = open_store(path)
    assert store.probe_reader.index is not None
    shutil.rmtree(path / "probes")
    extract_probes(path, per_crystal=60)
    with pytest.raises(StoreError, match="other settings: open the store again"):
        store.probes("x3", 20)


def test_an_index_that_is_replaced_while_its_columns_are_read_keeps_its_crystals(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "SMALL_INDEX", 0)  # read by ranges, as one of megabytes is
    path, server = made(tmp_path / "s.ecd"), FolderServer(tmp_path)
    try:
        store = open_store(f"{server.url}/s.ecd")
        assert store.ids == IDS
        made(tmp_path / "aside.ecd", [*IDS[::-1], "x20", "x21"])
        replace_by(path, tmp_path / "aside.ecd")
        assert store.columns("nelect")["nelect"].to_pylist() == pytest.approx([density(id).nelect for id in IDS])
        assert list(store.index["id"]) == IDS
        assert len(store) == len(IDS)
    finally:
        server.stop()


def end_at_once(_: object) -> None:
    """What the system does to a process for which there is no memory."""
    os._exit(9)


@pytest.mark.parametrize("verb", ["probes", pytest.param("hub", marks=pytest.mark.slow)])
def test_a_worker_that_the_system_ends_is_an_error_and_no_wait(tmp_path, monkeypatch, verb):
    from ecd_data.hub import export as hub_export
    from ecd_data.store.probes import extract as probes_extract

    path = made(tmp_path / "s.ecd", IDS[:2])
    if verb == "probes":
        monkeypatch.setattr(probes_extract, "_load_pool", end_at_once)
        report = extract_probes(path, workers=2)
        assert set(report.failed) == set(IDS[:2])
        assert all("the system ended the process" in reason for reason in report.failed.values())
    else:
        monkeypatch.setattr(hub_export, "_write_one", end_at_once)
        monkeypatch.setattr(hub_export, "MB", 1000)  # many small files
        with pytest.raises(StoreError, match="the system ended the process"):
            hub_export.export_hub(tmp_path / "hub", store=path, shard_mb=1, workers=2)
