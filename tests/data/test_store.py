"""Stores: one range request a crystal, everything zarr can read, and what damage looks like."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest

from ecd_data import Crystal, Density, Store, check, open_store, read
from ecd_data.errors import EcdError, StoreError, UnknownIdError, UsageError
from ecd_data.store import StoreWriter
from ecd_data.store.parts import PartWriter
from tests.conftest import smooth_density

IDS = ["MgO_rs", "NaCl_rs", "Si_diamond"]


def densities() -> dict[str, Density]:
    return {id: smooth_density(seed=i, spin=i == 1) for i, id in enumerate(IDS)}


@pytest.fixture
def path(tmp_path) -> Path:
    with StoreWriter(tmp_path / "my.ecd") as writer:
        for id, rho in densities().items():
            writer.add(id, rho)
    return tmp_path / "my.ecd"


def part_of(path: Path) -> Path:
    (part,) = (path / "parts").glob("*.zip")
    return part


def contents(path: Path) -> dict[str, tuple]:
    """What a store holds, whatever part it lies in."""
    store = Store(path)
    return {id: (store.row(id)["sha256"], hashlib.sha256(store[id].values.tobytes()).hexdigest()) for id in store}


def one_sentence(error: pytest.ExceptionInfo, *words: object) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 400
    for word in words:
        assert str(word) in message


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


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files with Range, as object stores serve them, and a list of what was asked."""

    asked: list[tuple[str, str | None]] = []  # noqa: RUF012
    ranges = True

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        Handler.asked.append((Path(self.path).name, wanted))
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            return self.send_error(404)
        data = file.read_bytes()
        self.send_response(206 if wanted and Handler.ranges else 200)
        if wanted and Handler.ranges:
            start, end = wanted.removeprefix("bytes=").split("-")
            size, data = len(data), data[int(start) : int(end) + 1]
            self.send_header("Content-Range", f"bytes {start}-{int(start) + len(data) - 1}/{size}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(path):
    handler = lambda *args: Handler(*args, directory=str(path.parent))  # noqa: E731
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        Handler.asked, Handler.ranges = [], True
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


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
    from ecd_data.store.near_ids import suggest_ids

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


DAMAGE = {
    "missing": (lambda part: part.unlink(), "missing"),
    "cut": (lambda part: part.write_bytes(part.read_bytes()[:900]), "cut or altered"),
    "empty": (lambda part: part.write_bytes(b""), "cut or altered"),
    "other": (lambda part: part.write_bytes(bytes(part.stat().st_size)), "cut or altered"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_parts_are_named_with_the_material_and_the_remedy(path, kind):
    damage, word = DAMAGE[kind]
    part = part_of(path)
    damage(part)
    with pytest.raises(StoreError) as error:
        Store(path)["Si_diamond"]
    one_sentence(error, "Si_diamond", part, word, "restore it or convert")


def test_any_altered_byte_of_a_crystal_is_noticed(path):
    part, row = part_of(path), Store(path).row("NaCl_rs")
    good = part.read_bytes()
    for place in np.linspace(row["offset"], row["offset"] + row["length"] - 1, 60).astype(int):
        part.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(StoreError, match="cut or altered"):
            Store(path)["NaCl_rs"]
        Store(path)["MgO_rs"]


def test_a_damaged_index_is_named_with_the_remedy(path):
    index = path / "index.parquet"
    good = index.read_bytes()
    frame = io.BytesIO()
    Store(path).index.drop(columns="sha256").to_parquet(frame)
    for bad in (b"", b"junk", good[: len(good) // 2], good[:-9] + b"\0" * 9, frame.getvalue()):
        index.write_bytes(bad)
        for action in (lambda: Store(path).ids, lambda: StoreWriter(path)):
            with pytest.raises(StoreError) as error:
                action()
            one_sentence(error, index, "restore it, or remove it")
    assert index.read_bytes() == bad


def test_a_lost_index_is_made_again_from_the_parts(path, caplog):
    before = Store(path).index
    (path / "index.parquet").unlink()
    with StoreWriter(path) as writer:
        assert len(writer) == 3
    after = Store(path).index
    assert "made again" in caplog.text
    assert after["nelect"].tolist() == pytest.approx(before["nelect"].tolist(), rel=1e-13)
    for column in set(before.columns) - {"lattice", "frac_coords", "numbers", "nelect"}:
        assert before[column].astype(str).tolist() == after[column].astype(str).tolist()


@pytest.mark.parametrize(
    "id", ["", ".", "..", ".hidden", "a/b", "a\\b", "a\nb", "a\0b", " a", "zarr.json", "x" * 201, "\udce9"]
)
def test_unsafe_ids_are_refused_and_nothing_is_written(tmp_path, id):
    with StoreWriter(tmp_path / "s.ecd") as writer, pytest.raises(UsageError) as error:
        writer.add(id, smooth_density())
    one_sentence(error, "cannot be an id")
    assert len(Store(tmp_path / "s.ecd")) == 0


@pytest.mark.parametrize("id", ["mp-1", "ä b.c", "日本", "a:b%20", "density", "c", "__x"])
def test_other_ids_work_everywhere(tmp_path, id):
    with StoreWriter(tmp_path / "s.ecd") as writer:
        writer.add(id, smooth_density())
    assert Store(tmp_path / "s.ecd")[id].shape == (12, 10, 15)


def test_an_id_is_taken_once(path):
    with StoreWriter(path) as writer, pytest.raises(StoreError, match=r"MgO_rs is in .* already"):
        writer.add("MgO_rs", smooth_density())
    assert len(Store(path)) == 3


def test_bad_settings_and_places_for_a_writer(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    for options in ({"bound": 0}, {"bound": -1e-5}, {"bound": 2}, {"bound": float("nan")}, {"pipeline": "zip"}):
        with pytest.raises(UsageError):
            StoreWriter(tmp_path / "s.ecd", **options)
    for place in (file, tmp_path, "s3://bucket/s.ecd"):
        with pytest.raises(UsageError) as error:
            StoreWriter(place)
        one_sentence(error, place)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "x"


def test_one_process_writes_at_a_time(path):
    with StoreWriter(path), pytest.raises(StoreError, match="another process writes"):
        StoreWriter(path)
    StoreWriter(path)


def test_compaction_keeps_every_byte_and_removes_what_is_not_named(path):
    before = contents(path)
    for seed in (7, 8):
        with StoreWriter(path) as writer:
            writer.add(f"more-{seed}", smooth_density(seed=seed))
        assert len(list((path / "parts").iterdir())) == 1
    after = contents(path)
    assert {id: after[id] for id in before} == before
    assert sorted(after) == sorted([*IDS, "more-7", "more-8"])
    shutil.copy(part_of(path), path / "parts" / "part-00077.zarr.zip")
    with StoreWriter(path):
        pass
    assert part_of(path).name != "part-00077.zarr.zip"
    assert contents(path) == after


def test_full_parts_stay_as_they_are(tmp_path):
    with StoreWriter(tmp_path / "s.ecd", part_size=2) as writer:
        for seed in range(5):
            writer.add(f"x{seed}", smooth_density((4, 4, 4), seed))
    counts = Store(tmp_path / "s.ecd").index["part"].value_counts()
    assert sorted(counts) == [1, 2, 2]


def test_the_same_crystals_give_the_same_bytes(path, tmp_path):
    with StoreWriter(tmp_path / "again.ecd") as writer:
        for id, rho in densities().items():
            writer.add(id, rho)
    assert part_of(tmp_path / "again.ecd").read_bytes() == part_of(path).read_bytes()


def test_a_missing_old_part_does_not_stop_new_crystals(path, caplog):
    part_of(path).unlink()
    with StoreWriter(path) as writer:
        writer.add("new", smooth_density())
    assert Store(path)["new"].shape == (12, 10, 15)
    assert "not merged" in caplog.text


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_what_was_added_before_an_interruption_is_kept(tmp_path, stop):
    def run() -> None:
        with StoreWriter(tmp_path / "s.ecd") as writer:
            writer.add("a", smooth_density())
            raise stop

    with pytest.raises(stop):
        run()
    assert Store(tmp_path / "s.ecd").ids == ["a"]


def test_an_interruption_while_a_crystal_is_written_leaves_a_sound_part(tmp_path, monkeypatch):
    whole = zipfile.ZipInfo.FileHeader

    def interrupted(self, *args):
        if self.filename.startswith("b/density/c"):
            raise KeyboardInterrupt
        return whole(self, *args)

    monkeypatch.setattr(zipfile.ZipInfo, "FileHeader", interrupted)
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "s.ecd") as writer:  # noqa: PT012
        for id in "abc":
            writer.add(id, smooth_density())
    with zipfile.ZipFile(part_of(tmp_path / "s.ecd")) as archive:
        assert {n.partition("/")[0] for n in archive.namelist()} == {"zarr.json", "a"}
        assert archive.testzip() is None


def test_a_full_disk_keeps_completed_parts_and_the_rerun_continues(tmp_path, monkeypatch):
    path = tmp_path / "s.ecd"
    close = PartWriter.close

    def full(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def run() -> None:
        with StoreWriter(path) as writer:
            for id, rho in densities().items():
                if id not in writer:
                    writer.add(id, rho)
                    writer.flush()
                    monkeypatch.setattr(PartWriter, "close", full)

    with pytest.raises(OSError, match="No space"):
        run()
    assert Store(path).ids == IDS[:1]
    assert [p.name for p in (path / "parts").glob("part-*")] == ["part-00000.zarr.zip"]
    monkeypatch.setattr(PartWriter, "close", close)
    with StoreWriter(path) as writer:
        assert len(writer) == 2  # what was written when the disk was full is there
        for id in IDS[2:]:
            writer.add(id, densities()[id])
    assert Store(path).ids == IDS
    assert len(list((path / "parts").iterdir())) == 1


def test_what_a_killed_process_leaves_is_swept(path):
    (path / "parts" / ".part-00001.zarr.zip.writing").write_bytes(b"half")
    (path / ".index.parquet-abc.writing").write_bytes(b"half")
    before = contents(path)
    with StoreWriter(path):
        pass
    assert contents(path) == before
    assert not list(path.rglob(".*"))


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
