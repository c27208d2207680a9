"""load_dataset("ecd", ...): every configuration, both roads to it, streaming or not, and the errors."""

import itertools
import json
import logging
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Crystal, Density, convert, load_dataset, load_split, open_store, write
from ecd_data.errors import StoreError, UsageError
from ecd_data.release import tasks
from ecd_data.release.configurations import configuration_names
from ecd_data.store import Store, StoreWriter, data_root
from ecd_data.store.probes.extract import extract_probes
from tests.conftest import smooth_density

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()

from ecd_data.hf.builder import set_epoch  # noqa: E402 - it needs datasets

ROOT = Path(__file__).parents[2]
SAMPLE_PARTS = {
    "train": ["MgO_rs", "NaCl_rs"],
    "validation": ["NaCl_rs-d1"],
    "test": ["KCl_rs", "MgO_rs-d1"],
    "test_geometries": ["MgO_rs-d1"],
    "test_compositions": ["KCl_rs"],
}


def write_store(path, ids):
    with StoreWriter(path, pipeline="real") as store:
        for seed, id in enumerate(ids):
            values = np.random.default_rng(seed).random((4 + seed % 3, 5, 6))
            crystal = Crystal(np.diag([4.0, 5.0, 6.0]), [12, 8], [[0, 0, 0], [0.5, 0.5, 0.25]])
            properties = {"energy_eV": -1.5 * seed} if seed % 2 else {"gap_eV": 1.0, "cpu_seconds": 2}
            store.add(id, Density(crystal, values, meta={"functional": "PBE", "properties": properties}))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with a few crystals of each set under their official ids."""
    root = tmp_path_factory.mktemp("release")
    for name in ("pbe", "hse", "mp"):
        parts = tasks.set_of(name)
        ids = parts["train"][:7] + parts["validation"][:2] + parts["test"][:3]
        write_store(root / f"{name}.ecd", [*ids, "not_in_any_list"])
    write_store(root / "ood.ecd", load_split("ood")["test"][:4])
    write_store(root / "exp.ecd", load_split("exp")["test"][:3])
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("ECD_ROOT", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """An embedded sample of five crystals in place of the real one."""
    for name in ("pbe", "hse"):
        write_store(tmp_path / f"{name}.ecd", ["MgO_rs", "NaCl_rs", "NaCl_rs-d1", "KCl_rs", "MgO_rs-d1"])
    (tmp_path / "splits.json").write_text(json.dumps({"pbe": SAMPLE_PARTS, "hse": SAMPLE_PARTS}))
    monkeypatch.setattr(tasks, "SAMPLE_SPLIT_FILE", tmp_path / "splits.json")
    monkeypatch.setattr(data_root, "sample_store", lambda name: str(tmp_path / f"{data_root.SAMPLE_STORES[name]}.ecd"))
    return tmp_path


def ids(dataset):
    return {split: list(rows["id"]) for split, rows in dataset.items()}


@pytest.mark.parametrize("name", ["pbe", "hse", "mp"])
def test_a_set_has_the_official_split(root, name):
    official = tasks.set_of(name)
    loaded = ids(load_dataset("ecd", name, data_dir=str(root)))
    assert loaded == {
        "train": official["train"][:7],
        "validation": official["validation"][:2],
        "test": official["test"][:3],
    }


def test_configurations_are_the_sets_the_probes_and_the_tasks():
    sets = ["pbe", "hse", "mp", "ood", "exp", "probes-pbe", "probes-hse"]
    assert set(configuration_names()) == {*sets, *tasks.task_names(strict=True)}


@pytest.mark.parametrize("name", [*tasks.task_names(), "ecd_hse_strict", "exp_strict", "ecd_pbe_hse_strict"])
def test_a_task_has_its_own_splits(root, name):
    loaded = load_dataset("ecd", name, data_dir=str(root))
    wanted = load_split(name)
    for split, rows in loaded.items():
        assert set(rows["id"]) <= set(wanted[split])
        assert set(rows["split"]) == {split}
    assert set(loaded) == {split for split, official in wanted.items() if official}


def test_a_row_is_the_store_s(root):
    row = load_dataset("ecd", "hse", data_dir=str(root), split="test")[1]
    stored = open_store(root / "hse.ecd")[row["id"]]
    density = row.pop("density")
    assert isinstance(density, Density)
    assert np.array_equal(density.values, stored.values)
    assert row["shape"] == list(stored.shape)
    assert np.array_equal(row["lattice"], stored.lattice)
    assert np.array_equal(row["numbers"], stored.numbers)
    assert np.array_equal(row["frac_coords"], stored.frac_coords)
    assert row["nelect"] == pytest.approx(stored.nelect)
    assert (row["formula"], row["natoms"], row["elements"]) == ("MgO", 2, ["Mg", "O"])
    assert (row["functional"], row["spin"], row["part"]) == ("PBE", False, None)
    properties = dict(stored.meta["properties"])
    assert {name: value for name, value in row["properties"].items() if value is not None} == properties


def test_arrow_holds_no_grid(root):
    table = load_dataset("ecd", "hse", data_dir=str(root), split="train").data.table
    assert table.schema.field("density").type.names == ["root", "part", "id", "offset", "length", "sha256"]
    assert table.nbytes < 1000 * len(table)


@pytest.mark.parametrize("name", ["hse", "ecd_pbe_hse", "exp"])
def test_streaming_gives_the_same_rows(root, name):
    loaded = load_dataset("ecd", name, data_dir=str(root))
    streamed = load_dataset("ecd", name, data_dir=str(root), streaming=True)
    assert set(loaded) == set(streamed)
    for split, rows in loaded.items():
        for row, other in zip(rows, streamed[split], strict=True):
            assert np.array_equal(row.pop("density").values, other.pop("density").values)
            assert row == other


def test_streaming_divides_among_nodes_and_workers(root):
    from datasets.distributed import split_dataset_by_node

    rows = load_dataset("ecd", "pbe", data_dir=str(root), split="train", streaming=True)
    assert rows.num_shards == 7
    nodes = [split_dataset_by_node(rows, rank, 3) for rank in range(3)]
    assert sorted(row["id"] for node in nodes for row in node) == [row["id"] for row in rows]


def test_a_density_survives_what_datasets_does_to_rows(root, tmp_path):
    rows = load_dataset("ecd", "hse", data_dir=str(root), split="train")
    assert [row["density"].shape[0] for row in rows.shuffle(seed=1).sort("id")] == [4, 5, 6, 4, 5, 6, 4]
    mapped = rows.map(lambda density: {"mean": density.values.mean()}, input_columns="density")
    assert mapped[0]["mean"] == mapped[0]["density"].values.mean()
    rows.save_to_disk(tmp_path / "saved")
    again = datasets.load_from_disk(tmp_path / "saved")
    assert np.array_equal(again[3]["density"].values, rows[3]["density"].values)
    plain = rows.cast_column("density", type(rows.features["density"])(decode=False))
    assert plain[0]["density"]["id"] == rows[0]["id"]


def test_several_processes_prepare_the_same_rows(root):
    one, two = (load_dataset("ecd", "pbe", data_dir=str(root), split="train", num_proc=n) for n in (None, 2))
    assert list(one["id"]) == list(two["id"])


def test_streamed_rows_reach_workers_that_are_spawned(root):
    rows = load_dataset("ecd", "pbe", data_dir=str(root), split="train", streaming=True)
    again = pickle.loads(pickle.dumps(rows))
    assert [row["id"] for row in again] == [row["id"] for row in rows]
    row = next(iter(rows))
    back = pickle.loads(pickle.dumps(row))
    assert np.array_equal(back["density"].values, row["density"].values)
    assert dict(back["density"].meta) == dict(row["density"].meta)


def test_streamed_densities_are_encoded_again(root):
    rows = load_dataset("ecd", "hse", data_dir=str(root), split="test", streaming=True)
    features = rows.features | {"mean": datasets.Value("float64")}
    mapped = rows.map(lambda row: {"mean": row["density"].values.mean()}, features=datasets.Features(features))
    for row in mapped:
        assert row["mean"] == row["density"].values.mean()


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["hse", "ecd_pbe_hse_tuning", "probes-pbe", "exp"])
def test_torch_format(root, name, streaming):
    torch = pytest.importorskip("torch")
    split = "test" if name == "exp" else "train"
    rows = load_dataset("ecd", name, data_dir=str(root), split=split, streaming=streaming)
    row, plain = next(iter(rows.with_format("torch"))), next(iter(rows))
    assert torch.equal(row["frac_coords"], torch.tensor(plain["frac_coords"], dtype=torch.float32))
    if "density" in row:
        assert torch.equal(row["density"], torch.tensor(plain["density"].values, dtype=torch.float32))
    else:
        assert row["probes"]["values"].shape == (1000,)
        assert row["probes"]["frac_coords"].shape == (1000, 3)


def test_batches_of_torch_workers(root):
    torch = pytest.importorskip("torch")
    rows = load_dataset("ecd", "probes-pbe", data_dir=str(root), split="train", streaming=True, n_probes=40)
    wanted = ["id", "probes"]
    loader = torch.utils.data.DataLoader(rows.select_columns(wanted).with_format("torch"), num_workers=2)
    batches = list(loader)
    assert sorted(batch["id"][0] for batch in batches) == [row["id"] for row in rows]
    assert batches[0]["probes"]["values"].shape == (1, 40)


@pytest.mark.parametrize("streaming", [False, True])
def test_each_epoch_has_probes_of_its_own(root, streaming):
    store = open_store(root / "pbe.ecd")
    options = {"data_dir": str(root), "split": "train", "n_probes": 9, "seed": 3, "streaming": streaming}
    rows = load_dataset("ecd", "probes-pbe", **options)
    values = []
    for epoch in (0, 1, 5):
        row = next(iter(set_epoch(rows, epoch)))
        values.append(row["probes"]["values"])
        assert np.array_equal(values[-1], store.probes(row["id"], 9, seed=3, epoch=epoch).values)
    assert not any(np.array_equal(one, other) for one, other in itertools.combinations(values, 2))
    again = next(iter(load_dataset("ecd", "probes-pbe", epoch=5, **options)))
    assert np.array_equal(again["probes"]["values"], values[2])
    assert np.array_equal(next(iter(rows))["probes"]["values"], values[0])


def test_an_epoch_of_all_parts_at_once_and_what_has_none(root):
    parts = load_dataset("ecd", "probes-hse", data_dir=str(root), n_probes=9)
    later = set_epoch(parts, 2)
    assert set(later) == set(parts)
    assert not np.array_equal(later["test"][0]["probes"]["values"], parts["test"][0]["probes"]["values"])
    with pytest.raises(UsageError, match="no probes to draw"):
        set_epoch(load_dataset("ecd", "hse", data_dir=str(root)), 1)
    for epoch in (-1, 1.5, True):
        with pytest.raises(UsageError, match="whole number"):
            set_epoch(parts, epoch)


def other_atoms(path):
    """A store of two crystals with one and two atoms, of which one has no energy."""
    with StoreWriter(path, pipeline="real") as store:
        for n, id in enumerate(load_split("ecd_hse")["test"][:2], 1):
            crystal = Crystal(np.diag([4.0, 5.0, 6.0]) + n, [12, 8][:n], [[0, 0, 0], [0.5, 0.5, 0.25]][:n])
            meta = {"properties": {"energy_eV": -2.0}} if n == 2 else {}
            store.add(id, Density(crystal, np.full((3 + n, 4, 4), 0.5), meta=meta))


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_default_collate_takes_rows_of_crystals_that_differ(tmp_path, streaming, workers):
    torch = pytest.importorskip("torch")
    other_atoms(tmp_path / "hse.ecd")
    rows = load_dataset("ecd", "hse", data_dir=str(tmp_path), split="test", streaming=streaming)
    sampled = list(rows)
    batch = next(iter(torch.utils.data.DataLoader(rows, batch_size=2, num_workers=workers * (not streaming))))
    assert set(batch) == set(sampled[0])
    assert batch["id"] == [row["id"] for row in sampled]
    assert [rho.shape for rho in batch["density"]] == [(4, 4, 4), (5, 4, 4)]
    assert np.array_equal(batch["density"][1].values, sampled[1]["density"].values)
    assert [each.tolist() for each in batch["numbers"]] == [[12], [12, 8]]
    assert [tuple(each.shape) for each in batch["frac_coords"]] == [(1, 3), (2, 3)]
    assert (batch["lattice"].shape, batch["lattice"].dtype) == ((2, 3, 3), torch.float64)
    assert batch["lattice"][1].tolist() == sampled[1]["lattice"]
    assert batch["shape"].tolist() == [[4, 4, 4], [5, 4, 4]]
    assert batch["natoms"].tolist() == [1, 2]
    assert batch["nelect"].tolist() == [row["nelect"] for row in sampled]
    assert np.array_equal(batch["properties"]["energy_eV"], [np.nan, -2.0], equal_nan=True)
    assert batch["spin"].tolist() == [False, False]


def test_columns_are_collated_alike_whether_or_not_the_crystals_differ(root):
    torch = pytest.importorskip("torch")
    rows = load_dataset("ecd", "pbe", data_dir=str(root), split="train")
    for chosen in (rows, rows.remove_columns("density"), rows.select_columns(["id", "density"])):
        for batch in torch.utils.data.DataLoader(chosen, batch_size=3):
            assert len(batch["id"]) in (1, 3)
            if "numbers" in batch:
                assert all(each.shape == (2,) for each in batch["numbers"])
    probes = load_dataset("ecd", "probes-pbe", data_dir=str(root), split="train", n_probes=7)
    batch = next(iter(torch.utils.data.DataLoader(probes, batch_size=2)))
    assert batch["probes"]["values"].shape == (2, 7)
    assert batch["probes"]["frac_coords"].shape == (2, 7, 3)


def test_torch_collates_other_dictionaries_as_before():
    torch = pytest.importorskip("torch")
    from torch.utils.data import default_collate

    batch = default_collate(
        [{"id": "a", "density": 0.5, "shape": [1, 2]}, {"id": "b", "density": 1.0, "shape": [3, 4]}]
    )
    assert batch["density"].tolist() == [0.5, 1.0]
    assert [each.tolist() for each in batch["shape"]] == [[1, 3], [2, 4]]
    assert default_collate([{"x": {"y": 1}}, {"x": {"y": 2}}])["x"]["y"].tolist() == [1, 2]
    ordered = default_collate([OrderedDict(a=torch.ones(2))] * 2)
    assert isinstance(ordered, OrderedDict)
    with pytest.raises(RuntimeError, match="equal size"):
        default_collate([{"numbers": [1]}, {"numbers": [1, 2]}])
    with pytest.raises(TypeError, match="NoneType"):
        default_collate([{"part": None}])


@pytest.mark.parametrize("name", ["hse", "probes-hse"])
def test_a_stream_goes_on_where_its_state_was_taken(root, name):
    def stream():
        return load_dataset("ecd", name, data_dir=str(root), split="train", streaming=True).shuffle(
            seed=3, buffer_size=1
        )

    wanted = [row["id"] for row in stream()]
    first = stream()
    for number, row in enumerate(first):
        assert row["id"] == wanted[number]
        if number == 3:
            break
    rest = stream()
    rest.load_state_dict(first.state_dict())
    assert [row["id"] for row in rest] == wanted[4:]


def test_nodes_share_rows_of_a_table(root):
    from datasets.distributed import split_dataset_by_node

    rows = load_dataset("ecd", "pbe", data_dir=str(root), split="train")
    nodes = [split_dataset_by_node(rows, rank, 3) for rank in range(3)]
    assert sorted(id for node in nodes for id in node["id"]) == list(rows["id"])


def mean(density):
    return {"mean": float(density.values.mean())}


def mean_probe(probes):
    return {"mean": float(probes["values"].mean())}


@pytest.mark.parametrize("name", ["hse", "probes-hse"])
def test_map_in_several_processes(root, name):
    column = "probes" if name.startswith("probes") else "density"
    rows = load_dataset("ecd", name, data_dir=str(root), split="train")
    function = mean_probe if column == "probes" else mean
    mapped = rows.map(function, input_columns=column, num_proc=2)
    assert mapped["mean"][:] == [function(row[column])["mean"] for row in rows]


def test_saved_probes_open_again(root, tmp_path):
    rows = load_dataset("ecd", "probes-hse", data_dir=str(root), split="train", n_probes=12, seed=2)
    rows.save_to_disk(tmp_path / "saved")
    again = datasets.load_from_disk(tmp_path / "saved")
    for one, other in zip(rows, again, strict=True):
        assert np.array_equal(one["probes"]["values"], other["probes"]["values"])


def test_the_cache_is_found_again(root, tmp_path):
    """Another process finds the prepared rows and what was mapped from them."""
    code = (
        "import ecd_data, datasets; rows = datasets.load_dataset('ecd', 'hse', split='train'); "
        "more = rows.map(lambda density: {'mean': density.values.mean()}, input_columns='density'); "
        "print(rows._fingerprint, more._fingerprint, *[f['filename'] for f in more.cache_files])"
    )
    first = run(code, tmp_path, root)
    assert first.count(".arrow") == 1
    before = sorted(tmp_path.rglob("*.arrow"))
    assert run(code, tmp_path, root) == first
    assert sorted(tmp_path.rglob("*.arrow")) == before


def test_torch_tensors_of_the_other_columns(root):
    torch = pytest.importorskip("torch")
    rows = load_dataset("ecd", "hse", data_dir=str(root), split="test")
    row = rows.with_format("torch", columns=["lattice", "numbers"], output_all_columns=True)[0]
    assert torch.is_tensor(row["lattice"])
    assert isinstance(row["density"], Density)


def test_a_density_from_nowhere_is_refused(root):
    feature = load_dataset("ecd", "hse", data_dir=str(root), split="test").features["density"]
    with pytest.raises(UsageError, match="convert it first"):
        feature.encode_example(Density(Crystal(np.eye(3), [1], [[0, 0, 0]]), np.ones((2, 2, 2))))


def test_an_altered_part_is_noticed(tmp_path):
    write_store(tmp_path / "hse.ecd", load_split("ecd_hse")["test"][:2])
    rows = load_dataset("ecd", "ecd_pbe_hse", data_dir=str(tmp_path), split="test")
    part = next((tmp_path / "hse.ecd" / "parts").iterdir())
    part.write_bytes(part.read_bytes().replace(b"MgO", b"MgX").replace(b"PBE", b"PBX"))
    with pytest.raises(StoreError, match="altered"):
        rows[0]


def test_another_index_is_another_cache(tmp_path):
    official = load_split("ecd_hse")["test"]
    write_store(tmp_path / "hse.ecd", official[:2])
    assert len(load_dataset("ecd", "ecd_pbe_hse", data_dir=str(tmp_path), split="test")) == 2
    write_store(tmp_path / "hse.ecd", official[2:5])
    assert len(load_dataset("ecd", "ecd_pbe_hse", data_dir=str(tmp_path), split="test")) == 5


@pytest.mark.parametrize("streaming", [False, True])
def test_probes_are_grid_points_of_the_density(root, streaming):
    options = {"data_dir": str(root), "split": "train", "streaming": streaming}
    rows = list(load_dataset("ecd", "probes-pbe", n_probes=50, seed=3, **options))
    store = open_store(root / "pbe.ecd")
    for row in rows:
        density, probes = store[row["id"]], row["probes"]
        assert probes["frac_coords"].shape == (50, 3)
        steps = probes["frac_coords"] * density.shape
        index = np.rint(steps).astype(int)
        assert np.allclose(steps, index)
        assert np.array_equal(probes["values"], density.values[tuple(index.T)].astype(np.float32))
    other = load_dataset("ecd", "probes-pbe", n_probes=50, seed=4, **options)
    assert not np.array_equal(next(iter(other))["probes"]["values"], rows[0]["probes"]["values"])


@pytest.mark.parametrize("extracted", [False, True])
def test_probes_are_the_store_s(tmp_path, extracted):
    write_store(tmp_path / "hse.ecd", tasks.set_of("hse")["test"][:3])
    if extracted:
        extract_probes(tmp_path / "hse.ecd")
        next((tmp_path / "hse.ecd/parts").iterdir()).unlink()  # the extract is enough
    store = Store(tmp_path / "hse.ecd")
    for row in load_dataset("ecd", "probes-hse", data_dir=str(tmp_path), split="test", n_probes=30, seed=5):
        probes = store.probes(row["id"], 30, seed=5)
        assert np.array_equal(row["probes"]["values"], probes.values)
        assert np.array_equal(row["probes"]["frac_coords"], probes.frac_coords)


def test_the_default_is_a_thousand_probes(root):
    row = load_dataset("ecd", "probes-hse", data_dir=str(root), split="test")[0]
    assert row["probes"]["values"].shape == (1000,)
    assert "density" not in row


def test_a_root_from_the_environment(root, monkeypatch):
    monkeypatch.setenv("ECD_ROOT", str(root))
    assert len(load_dataset("ecd", "ood", split="test")) == 4


def test_a_folder_that_is_a_store_serves_its_set(root, tmp_path, monkeypatch):
    (tmp_path / "mine").symlink_to(root / "hse.ecd")
    monkeypatch.setenv("ECD_ROOT", str(tmp_path / "mine"))
    assert len(load_dataset("ecd", "ecd_hse", split="train")) == 7
    assert len(load_dataset("ecd", "ecd_hse", data_dir=tmp_path / "mine", split="train")) == 7


def test_a_url_is_a_root(root):
    assert len(load_dataset("ecd", "hse", data_dir=f"file://{root}", split="train")) == 7


def test_what_is_absent_is_said(root, caplog):
    with caplog.at_level(logging.INFO, "ecd_data"):
        load_dataset("ecd", "ood", data_dir=str(root))
    assert "ood: 1992 of the list's 1996 crystals are not in" in caplog.text


@pytest.mark.parametrize("name", ["pbe", "hse", "ecd_pbe", "ecd_hse", "ecd_pbe_hse_tuning"])
def test_the_sample_serves_with_its_own_split(sample, name, caplog):
    data_root._warn_of_sample.cache_clear()
    with caplog.at_level(logging.INFO, "ecd_data"):
        loaded = load_dataset("ecd", name)
    assert {split: sorted(rows) for split, rows in ids(loaded).items()} == {
        split: SAMPLE_PARTS[split] for split in ("train", "validation", "test")
    }
    assert dict(zip(loaded["test"]["id"], loaded["test"]["part"], strict=True)) == {
        "KCl_rs": "compositions",
        "MgO_rs-d1": "geometries",
    }
    assert sum("embedded sample" in record.message for record in caplog.records) == 1


def test_the_sample_keeps_the_parts_of_a_task(sample):
    assert list(load_dataset("ecd", "ecd_pbe_hse")) == ["test"]


def test_the_sample_serves_exp_by_its_own_names(sample):
    rows = load_dataset("ecd", "exp", split="test")
    gaps = {row["id"]: row["properties"]["gap_exp_eV"] for row in rows.remove_columns("density")}
    assert gaps == {"MgO_rs": 7.83, "KCl_rs": 8.5}


@pytest.mark.skipif(not (ROOT / "ecd_data/sample/pbe.ecd").is_dir(), reason="the embedded sample is not built")
@pytest.mark.parametrize("name", ["pbe", "hse"])
def test_the_embedded_sample(name):
    loaded = load_dataset("ecd", name)
    split = load_split(f"sample_{name}")
    assert {part: sorted(rows["id"]) for part, rows in loaded.items()} == {
        part: split[part] for part in ("train", "validation", "test")
    }
    row = loaded["test"][0]
    assert np.array_equal(row["density"].values, open_store(name)[row["id"]].values)


@pytest.mark.parametrize("name", ["mp", "ecd_mp"])
def test_no_data_says_how_to_get_them(name):
    with pytest.raises(UsageError, match="ECD_ROOT"):
        load_dataset("ecd", name)


def test_a_root_without_the_set_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"hse\.ecd is not a store"):
        load_dataset("ecd", "hse", data_dir=str(tmp_path))


def test_a_store_of_other_crystals_is_refused(tmp_path):
    write_store(tmp_path / "mp.ecd", ["mine"])
    with pytest.raises(UsageError, match="none of the 1 crystals"):
        load_dataset("ecd", "mp", data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "near"), [("hsee", "hse"), ("probes-hs", "probes-hse"), (None, "name a configuration")]
)
def test_an_unknown_configuration_suggests_near_names(name, near):
    with pytest.raises(UsageError, match=near):
        load_dataset("ecd", name)


def test_the_paper_s_name_is_a_configuration(root):
    assert list(load_dataset("ecd", "ECD-PBE_HSE-id", data_dir=str(root))) == ["test"]


def test_other_datasets_are_untouched(tmp_path):
    (tmp_path / "rows.csv").write_text("a\n1\n")
    rows = datasets.load_dataset("csv", data_files=str(tmp_path / "rows.csv"), split="train")
    assert rows["a"][:] == [1]


def run(code, tmp_path, root):
    env = os.environ | {"PYTHONPATH": str(ROOT), "HF_DATASETS_CACHE": str(tmp_path / "hf"), "ECD_ROOT": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "imports",
    ["import ecd_data, datasets", "from datasets import load_dataset; import ecd_data"],
)
def test_whichever_is_imported_first(imports, tmp_path, root):
    code = f"{imports}; import datasets; print(len(datasets.load_dataset('ecd', 'hse', split='train')))"
    assert run(code, tmp_path, root) == "7"


def test_importing_is_cheap(tmp_path, root):
    code = "import sys, ecd_data; print([m for m in ('datasets', 'torch', 'pymatgen', 'pandas') if m in sys.modules])"
    assert run(code, tmp_path, root) == "[]"


@pytest.mark.parametrize("module", ["density_feature", "builder", "torch_batches", "load_dataset_hook"])
@pytest.mark.parametrize("before", ["", "datasets", "torch"])
def test_modules_import_in_any_order(module, before):
    """Each alone in a new interpreter, before `datasets` and after it."""
    names = {
        "density_feature": "DensityFeature, ProbesFeature",
        "builder": "load_dataset",
        "torch_batches": "register_collate",
        "load_dataset_hook": "install",
    }
    code = (
        (f"import {before}\n" if before else "")
        + f"from ecd_data.hf.{module} import {names[module]}\n"
        + "import datasets\nfrom datasets.features.features import _FEATURE_TYPES\n"
        + "assert {'EcdDensity', 'EcdProbes'} <= set(_FEATURE_TYPES)\n"
        + "assert len(datasets.load_dataset('ecd', 'hse', split='test', streaming=True).features) > 5\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "official"), [("hse", False), ("ecd_pbe", True), ("probes-pbe", False)])
def test_rows_and_description_say_that_the_data_are_the_sample(name, official, monkeypatch, tmp_path):
    monkeypatch.delenv("ECD_ROOT", raising=False)
    rows = load_dataset("ecd", name, split="test", cache_dir=str(tmp_path))
    assert set(rows["data_origin"]) == {"sample"}
    assert "data_origin sample: THE EMBEDDED SAMPLE, not the release" in rows.info.description
    assert ("a task of the benchmark: results on them are none of that task" in rows.info.description) == official
    streamed = next(iter(load_dataset("ecd", name, split="test", streaming=True)))
    assert streamed["data_origin"] == "sample"


def test_rows_of_a_store_of_ones_own_carry_its_hash(tmp_path):
    from ecd_data.release.data_origin import store_hash

    write(tmp_path / "a_CHGCAR", smooth_density())
    convert(tmp_path / "a_CHGCAR", tmp_path / "my.ecd")
    rows = load_dataset(str(tmp_path / "my.ecd"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["data_origin"] == [store_hash(open_store(tmp_path / "my.ecd"))]
    assert "SAMPLE" not in rows.info.description
