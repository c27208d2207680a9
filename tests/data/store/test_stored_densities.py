"""What a store gives back: densities, meta, layout on disk, and everything zarr can read."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import numpy as np
import pytest

from ecd_data import Crystal, Density, Store, check, open_store, read
from ecd_data.errors import StoreError, UnknownIdError, UsageError
from ecd_data.store import StoreWriter
from tests.conftest import smooth_density
from tests.data.store.conftest import IDS, one_sentence, part_of


def test_layout_is_a_folder_of_parts_and_an_index(path):
    assert sorted(str(p.relative_to(path)) for p in path.rglob("*")) == [
        "index.parquet",
        "parts",
        "parts/part-00000.zarr.zip",
    ]
    row = Store(path).row("NaCl_rs")
    assert list(row["shape"]) == [12, 10, 15]
    assert row["formula"] == "MgO2"
    assert row["pipeline"] == "fourier"
    assert bool(row["spin"])


@pytest.mark.parametrize("pipeline", ["fourier", "real"])
@pytest.mark.parametrize("kind", ["plain", "spin", "non-collinear"])
def test_a_density_comes_back(tmp_path, pipeline, kind):
    rho = smooth_density(spin=kind == "spin", augmentation=("augmentation 1\n é\n", "") if kind == "spin" else None)
    if kind == "non-collinear":
        field = smooth_density(seed=5, spin=True).magnetization
        rho = Density(rho.crystal, rho.values, np.stack([field, -field, 0 * field]))
    with StoreWriter(tmp_path / "s.ecd", pipeline=pipeline) as writer:
        writer.add("x", rho)
    again = Store(tmp_path / "s.ecd")["x"]
    for before, after in ((rho.values, again.values), (rho.magnetization, again.magnetization)):
        if before is None:
            assert after is None
        elif pipeline == "real":
            np.testing.assert_array_equal(after, before.astype("f4"))
        else:
            assert np.abs(after - before).mean() <= 1e-5 * np.abs(rho.values).mean()
    assert again.augmentation == rho.augmentation
    np.testing.assert_array_equal(again.lattice, rho.lattice)
    np.testing.assert_array_equal(again.frac_coords, rho.frac_coords)
    assert again.numbers.tolist() == rho.numbers.tolist()
    assert again.meta["nelect"] == rho.nelect
    if pipeline == "fourier":
        assert again.nelect == pytest.approx(rho.nelect, rel=1e-13)


def test_meta_pbc_and_properties_come_back(tmp_path):
    meta = {"functional": "PBE", "settings": {"encut": 520, "k": [4, 4, 4]}, "comment": "a b", "flags": ["negative"]}
    meta["properties"] = {"gap_eV": 1.5, "id": "stolen"}
    crystal = Crystal(np.eye(3) * 4, np.array([0]), np.zeros((1, 3)), (True, True, False))
    with StoreWriter(tmp_path / "s.ecd") as writer:
        writer.add("x", Density(crystal, smooth_density().values, meta=meta), source="CHGCAR", source_sha256="ab")
        writer.add("y", smooth_density())
    store = Store(tmp_path / "s.ecd")
    again = store["x"]
    assert again.meta.items() >= meta.items()
    assert again.meta["source"] == "CHGCAR"
    assert again.crystal.pbc == (True, True, False)
    assert store.ids == ["x", "y"]
    assert store.index["gap_eV"].tolist()[0] == 1.5
    assert list(store.row("x")["flags"]) == ["negative"]


def test_metadata_of_numpy_are_stored_and_only_numbers_become_columns(tmp_path):
    first = {"energy_eV": np.float32(-1.5), "steps": np.int64(7), "label": "a", "metal": np.True_}
    second = {"energy_eV": None, "steps": 7.5, "label": 2, "metal": 0.5}
    with StoreWriter(tmp_path / "s.ecd") as writer:
        writer.add("x", smooth_density(meta={"properties": first, "forces": np.zeros((1, 3)), "at": (1, 2)}))
        writer.add("y", smooth_density(meta={"properties": second}))
    store = Store(tmp_path / "s.ecd")
    plain = {"energy_eV": -1.5, "steps": 7, "label": "a", "metal": True}
    assert store.meta("x").items() >= {"properties": plain, "forces": [[0.0] * 3], "at": [1, 2]}.items()
    columns = store.columns("energy_eV", "steps", "label", "metal").to_pydict()
    assert columns == {"energy_eV": [-1.5, None], "steps": [7, 7.5], "label": [None, 2], "metal": [None, 0.5]}


def test_metadata_that_json_cannot_hold_are_refused(tmp_path):
    with StoreWriter(tmp_path / "s.ecd") as writer, pytest.raises(UsageError) as error:
        writer.add("x", smooth_density(meta={"folder": tmp_path}))
    one_sentence(error, "x: its meta cannot be stored", "Path")
    assert len(Store(tmp_path / "s.ecd")) == 0


def test_crystals_and_metadata_are_read_without_decoding(path, monkeypatch):
    store = Store(path)
    whole = {id: store[id] for id in store.ids}
    monkeypatch.setattr("ecd_data.codec.FourierPayload.decode", None)
    monkeypatch.setattr("ecd_data.store.crystal_group._read_array", None)
    for id, rho in whole.items():
        assert store.crystal(id).to_record() == rho.crystal.to_record()
        assert store.meta(id) == rho.meta
    with pytest.raises(UnknownIdError):
        store.meta("nowhere")


def test_real_grids_are_sharded_into_one_object_of_64_chunks(tmp_path):
    rho = smooth_density((70, 12, 64))
    with StoreWriter(tmp_path / "s.ecd", pipeline="real") as writer:
        writer.add("x", rho)
    names = zipfile.ZipFile(part_of(tmp_path / "s.ecd")).namelist()
    assert [n for n in names if n.startswith("x/density/c")] == ["x/density/c/0/0/0"]
    np.testing.assert_array_equal(Store(tmp_path / "s.ecd")["x"].values, rho.values.astype("f4"))


def test_all_electron_files_go_to_real_space_visibly(shared, tmp_path, caplog):
    with StoreWriter(tmp_path / "s.ecd") as writer:
        row = writer.add("core", read(shared / "real" / "Si_AECCAR2.AECCAR2.gz"))
    assert (row["pipeline"], row["bound"]) == ("real", 0.0)
    assert "core: stored in real space" in caplog.text
    assert "all-electron" in caplog.text


def test_zarr_reads_a_part_in_a_fresh_interpreter(path, tmp_path):
    code = (
        "import sys, zarr, numpy as np; from zarr.storage import ZipStore;"
        f"group = zarr.open_group(ZipStore({str(part_of(path))!r}, mode='r'), mode='r');"
        "assert 'ecd_data' not in sys.modules;"
        f"np.savez({str(tmp_path / 'seen.npz')!r}, **{{id: g['density'][...] for id, g in group.groups()}});"
        "assert group['NaCl_rs/magnetization'].shape == (12, 10, 15);"
        "assert group['NaCl_rs'].attrs['lattice'][0][0] == 4.1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    seen = np.load(tmp_path / "seen.npz")
    assert sorted(seen) == IDS
    for id in IDS:
        np.testing.assert_allclose(seen[id], Store(path)[id].values, rtol=1e-6)


def test_parts_are_sound_zip_files(path):
    with zipfile.ZipFile(part_of(path)) as archive:
        assert archive.testzip() is None
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}


def test_unknown_ids_suggest_near_ones(path):
    store = open_store(path)
    with pytest.raises(KeyError) as error:
        store["MgO_rc"]
    assert isinstance(error.value, UnknownIdError)
    one_sentence(error, "MgO_rc", "near: MgO_rs")
    with pytest.raises(UnknownIdError, match="near: MgO_rs"):
        store["mgo"]
    with pytest.raises(UnknownIdError):
        store[""]
    assert "MgO_rs" in store
    assert 5 not in store


def test_densities_of_a_store_are_checked_like_files(path):
    assert check(Store(path)["NaCl_rs"]).flags == ("fractional-count", "spin")


def test_a_payload_gives_points_and_grids_without_the_whole(tmp_path):
    rho = smooth_density(spin=True)
    with StoreWriter(tmp_path / "s.ecd") as writer:
        writer.add("one", rho)
    with StoreWriter(tmp_path / "r.ecd", pipeline="real") as writer:
        writer.add("one", rho)
    store = Store(tmp_path / "s.ecd")
    waves = store.payload("one")
    points = np.random.default_rng(0).random((9, 3))
    np.testing.assert_allclose(waves.at(points), store["one"].at(points), atol=1e-6)
    np.testing.assert_allclose(waves.decode((24, 20, 30)), store["one"].resample((24, 20, 30)).values, atol=1e-6)
    assert store.payload("one", "magnetization").shape == rho.shape
    with pytest.raises(StoreError, match=r"one: .*real space"):
        Store(tmp_path / "r.ecd").payload("one")
    with pytest.raises(UnknownIdError):
        store.payload("two")
