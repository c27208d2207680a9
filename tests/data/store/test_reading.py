"""Reading from servers and URLs: one range request reads a crystal, and only needed columns are read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest

from ecd_data import Density, Store, open_store
from ecd_data.errors import EcdError, StoreError
from ecd_data.store import StoreWriter
from tests.conftest import smooth_density
from tests.data.store.conftest import IDS, Handler, contents, one_sentence


def test_one_range_request_reads_a_crystal(path, server):
    store = open_store(f"{server}/my.ecd")
    assert [name for name, _ in Handler.asked] == ["index.parquet"]
    for id in IDS:
        Handler.asked.clear()
        np.testing.assert_array_equal(store[id].values, Store(path)[id].values)
        (request,) = Handler.asked
        start, end = map(int, request[1].removeprefix("bytes=").split("-"))
        assert end + 1 - start == store.row(id)["length"]


def test_a_large_index_is_read_by_the_columns_that_are_needed(path, server, monkeypatch):
    """Opening asks for the end of the file, ids and places for one range more, and a crystal for one of its part."""
    from ecd_data.store import index

    monkeypatch.setattr(index, "SMALL_INDEX", 0)
    with StoreWriter(path) as writer:
        for seed in range(40):
            rho = smooth_density((4, 4, 4), seed)
            writer.add(f"x{seed}", Density(rho.crystal, rho.values, meta={"comment": "y" * seed}))
    store = open_store(f"{server}/my.ecd")
    assert len(store) == 43
    assert store.ids == Store(path).ids
    size = (path / "index.parquet").stat().st_size
    ranges = [tuple(map(int, asked.removeprefix("bytes=").split("-"))) for _, asked in Handler.asked]
    assert all(name == "index.parquet" for name, _ in Handler.asked)
    assert len(ranges) <= 6
    Handler.asked.clear()
    np.testing.assert_array_equal(store["x7"].values, Store(path)["x7"].values)
    assert [name for name, _ in Handler.asked] == [Path(store.place("x7")[0]).name]
    columns = [stop + 1 - start for start, stop in ranges if stop < size // 2]  # the footer lies at the end
    assert 0 < sum(columns) < size // 2


def test_columns_of_the_index_are_read_alone(path):
    store = open_store(path)
    assert store.columns("natoms", "formula").to_pydict() == {"natoms": [3] * 3, "formula": ["MgO2"] * 3}
    assert "index" not in vars(store)
    assert store.columns().column_names == list(store.index.columns)
    with pytest.raises(StoreError, match="no column 'atoms'"):
        store.columns("atoms")


def test_near_names_among_many_are_found_at_once():
    from ecd_data.errors import suggest_ids

    ids = [f"icsd-{number:06d}-Li{number % 7}O" for number in range(0, 200_000, 2)]
    assert "icsd-012346-Li5O" in suggest_ids("icsd-012346-Li5", ids)
    assert suggest_ids("completely else", ids) == []


def test_a_server_without_ranges_does_too(path, server):
    Handler.ranges = False
    assert open_store(f"{server}/my.ecd")["MgO_rs"].nelect == Store(path)["MgO_rs"].nelect


def test_one_range_of_one_file_reads_a_crystal(path, monkeypatch):
    from ecd_data.store import parts

    asked, read_url = [], parts.read_url
    monkeypatch.setattr(parts, "read_url", lambda *each: (asked.append(each), read_url(*each))[1])
    store = open_store(path)
    for id in IDS:
        _ = store[id]
    rows = [store.row(id) for id in IDS]
    part = str(path / "parts" / "part-00000.zarr.zip")
    assert asked == [(part, r["offset"], r["offset"] + r["length"]) for r in rows]


def test_opening_a_store_loads_nothing_that_only_decoding_or_tables_need(path):
    """Each of these takes longer to load than an index of 140,000 crystals to read."""
    code = "import sys; from ecd_data import open_store; s = open_store(sys.argv[1]); s.ids; s.place('MgO_rs')\n"
    heavy = "{'scipy.fft', 'pandas', 'zarr', 'fsspec', 'aiohttp', 'numba', 'torch', 'spglib', 'numcodecs'}"
    read = "s['MgO_rs']; print(sorted(h & set(sys.modules)))"
    command = [sys.executable, "-c", f"{code}h = {heavy}; print(sorted(h & set(sys.modules))); {read}", str(path)]
    opening, reading = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert opening == "[]"
    assert reading == "['scipy.fft']"


def test_places_on_a_server_that_are_not_stores(server):
    with pytest.raises(StoreError) as error:
        open_store(f"{server}/other.ecd")
    one_sentence(error, server, "not a store", "ecd convert")


def test_places_that_are_not_stores(tmp_path):
    for place in (tmp_path, tmp_path / "nothing", "memory://nowhere.ecd"):
        with pytest.raises(StoreError) as error:
            open_store(place)
        one_sentence(error, place, "not a store", "ecd convert")
    for place in ("http://127.0.0.1:9/x.ecd", "nonsense://x.ecd"):
        with pytest.raises(EcdError) as error:
            open_store(place)
        one_sentence(error, place)


def test_any_fsspec_url_works(path):
    memory = fsspec.filesystem("memory")
    memory.put(str(path), "/copied.ecd", recursive=True)
    try:
        assert contents("memory://copied.ecd") == contents(path)
    finally:
        memory.rm("/copied.ecd", recursive=True)
