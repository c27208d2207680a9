"""load_dataset("ecd", ...): the rows and parts of every configuration, streaming or not."""

import pickle

import numpy as np
import pytest

from ecd_data import Crystal, Density, load_dataset, load_split, open_store
from ecd_data.errors import StoreError, UsageError
from ecd_data.release import tasks
from ecd_data.release.configurations import configuration_names
from tests.data.hf.conftest import ids, write_store

datasets = pytest.importorskip("datasets")


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
    assert (row["functional"], row["spin"], row["part"]) == ("HSE06", False, None)
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


def test_a_density_from_nowhere_is_refused(root):
    feature = load_dataset("ecd", "hse", data_dir=str(root), split="test").features["density"]
    with pytest.raises(UsageError, match="convert it first"):
        feature.encode_example(Density(Crystal(np.eye(3), [1], [[0, 0, 0]]), np.ones((2, 2, 2))))


def test_an_altered_part_is_noticed(tmp_path):
    write_store(tmp_path / "hse.ecd", load_split("ecd_hse")["test"][:2])
    rows = load_dataset("ecd", "ecd_pbe_hse", data_dir=str(tmp_path), split="test")
    part = next((tmp_path / "hse.ecd" / "parts").iterdir())
    part.write_bytes(part.read_bytes().replace(b"HSE06", b"HSE03"))
    with pytest.raises(StoreError, match="altered"):
        rows[0]


def test_another_index_is_another_cache(tmp_path):
    official = load_split("ecd_hse")["test"]
    write_store(tmp_path / "hse.ecd", official[:2])
    assert len(load_dataset("ecd", "ecd_pbe_hse", data_dir=str(tmp_path), split="test")) == 2
    write_store(tmp_path / "hse.ecd", official[2:5])
    assert len(load_dataset("ecd", "ecd_pbe_hse", data_dir=str(tmp_path), split="test")) == 5
