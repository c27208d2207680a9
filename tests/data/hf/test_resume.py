"""Rows after map, from caches and saved files, and from a stream that continues."""

import numpy as np
import pytest

from ecd_data import load_dataset
from tests.data.hf.conftest import run

datasets = pytest.importorskip("datasets")


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
