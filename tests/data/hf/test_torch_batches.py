"""Rows as tensors: formats, workers, epochs of probes, and batches of crystals that differ."""

import itertools
from collections import OrderedDict

import numpy as np
import pytest

from ecd_data import Crystal, Density, load_dataset, load_split, open_store
from ecd_data.errors import UsageError
from ecd_data.store import StoreWriter

datasets = pytest.importorskip("datasets")

from ecd_data.hf.builder import set_epoch  # noqa: E402 - it needs datasets


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


def test_torch_tensors_of_the_other_columns(root):
    torch = pytest.importorskip("torch")
    rows = load_dataset("ecd", "hse", data_dir=str(root), split="test")
    row = rows.with_format("torch", columns=["lattice", "numbers"], output_all_columns=True)[0]
    assert torch.is_tensor(row["lattice"])
    assert isinstance(row["density"], Density)
