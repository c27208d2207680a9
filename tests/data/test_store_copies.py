"""Stores from stores: subset, merge and re-encode keep every promise of the first; verify finds what is broken."""

from __future__ import annotations

import http.server
import shutil
import threading
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest

from ecd_data import Density, Store, eps_mae, load_split, merge, open_store, reencode, subset, verify
from ecd_data.errors import EcdError, StoreError, UnknownIdError, UsageError
from ecd_data.store import StoreWriter
from ecd_data.store.copy import ReadRequest
from ecd_data.store.index import Index, save_index
from ecd_data.store.probes.extract import extract_probes
from tests.conftest import smooth_density
from tests.data.store.conftest import Handler


def made(path: Path, ids: str, seed: int = 0, bound: float = 1e-5, **options: object) -> Path:
    """A store with a small density for each letter."""
    with StoreWriter(path, bound=bound, part_size=4, **options) as writer:
        for number, id in enumerate(ids):
            rho = smooth_density((6 + number % 3, 5, 8), seed=seed + ord(id))
            meta = {"flags": ["negative"] * (number % 2), "functional": "PBE", "properties": {"gap_eV": float(number)}}
            writer.add(id, Density(rho.crystal, rho.values, meta=meta))
    return path


def bytes_of(path: str | Path) -> dict[str, str]:
    table = Store(path).columns("id", "sha256")
    return dict(zip(table["id"].to_pylist(), table["sha256"].to_pylist(), strict=True))


def one_sentence(error: pytest.ExceptionInfo, *words: object) -> None:
    assert "\n" not in str(error.value)
    assert all(str(word) in str(error.value) for word in words)


def test_a_subset_has_the_same_bytes_and_rows(tmp_path):
    source = made(tmp_path / "a.ecd", "abcdefghij")
    report = subset(source, tmp_path / "b.ecd", ids=["c", "[g-i]"])
    assert report.added == ["c", "g", "h", "i"]
    before, after = bytes_of(source), bytes_of(tmp_path / "b.ecd")
    assert after == {id: before[id] for id in "cghi"}
    for column in set(Store(source).index.columns) - {"part", "offset"}:
        old = Store(source).index.set_index("id", drop=False).loc[list("cghi"), column].astype(str).tolist()
        assert Store(tmp_path / "b.ecd").index[column].astype(str).tolist() == old
    assert verify(tmp_path / "b.ecd").ok


@pytest.mark.parametrize(
    ("conditions", "met"),
    [
        ({"elements": ["O", "Mg"]}, lambda row: {"O", "Mg"} <= set(row["elements"])),
        ({"only_elements": ["Na", "Cl", "Mg", "O"]}, lambda row: set(row["elements"]) <= {"Na", "Cl", "Mg", "O"}),
        ({"natoms": (2, 4)}, lambda row: 2 <= row["natoms"] <= 4),
        ({"points": (None, 30000)}, lambda row: np.prod(row["shape"]) <= 30000),
        ({"flags": ["spin"]}, lambda row: "spin" in row["flags"]),
        (
            {"without_flags": ["spin"], "natoms": (None, 2)},
            lambda row: "spin" not in row["flags"] and row["natoms"] <= 2,
        ),
        ({"functional": "pbe", "ids": ["Si*"]}, lambda row: row["id"].startswith("Si")),
    ],
)
def test_conditions_choose_from_the_sample_what_they_say(conditions, met):
    from ecd_data.release.subset_store import select

    store = open_store("pbe")
    expected = [number for number, (_, row) in enumerate(store.index.iterrows()) if met(row)]
    assert select(store, **conditions).tolist() == expected
    assert expected or "flags" in conditions


def test_a_task_chooses_its_part(tmp_path, caplog):
    ids = load_split("ecd_hse")["test"][:3]
    with StoreWriter(tmp_path / "a.ecd") as writer:
        for id in [*ids, "other"]:
            writer.add(id, smooth_density((4, 4, 4)))
    assert subset(tmp_path / "a.ecd", tmp_path / "b.ecd", task="ecd_hse", part="test").added == ids
    assert "997 of the list's 1000 crystals are not in" in caplog.text


@pytest.mark.parametrize(
    ("conditions", "kind", "words"),
    [
        ({"ids": ["aa"]}, UnknownIdError, ["aa is not in"]),
        ({"ids": ["z*"]}, UnknownIdError, ["z*"]),
        ({"elements": ["Xx"]}, UsageError, ["'Xx' is no element"]),
        ({"natoms": (5, 2)}, UsageError, ["empty range"]),
        ({"natoms": (50, None)}, UsageError, ["none of the 4 crystals"]),
        ({"part": "test"}, UsageError, ["name the task"]),
        ({"task": "ecd_hse", "part": "tset"}, UsageError, ["no part 'tset'"]),
        ({"task": "ecd_hse"}, UsageError, ["none of the"]),
        ({"task": "ecd_hs"}, EcdError, ["near: ecd_hse"]),
    ],
)
def test_wrong_conditions_are_one_sentence_and_write_nothing(tmp_path, conditions, kind, words):
    source = made(tmp_path / "a.ecd", "abcd")
    with pytest.raises(kind) as error:
        subset(source, tmp_path / "b.ecd", **conditions)
    one_sentence(error, *words)
    assert not (tmp_path / "b.ecd").exists()


def test_a_second_call_continues_and_other_content_is_refused(tmp_path):
    source = made(tmp_path / "a.ecd", "abcdef")
    subset(source, tmp_path / "b.ecd", ids=["b", "e"])
    report = subset(source, tmp_path / "b.ecd", ids=["*"])
    assert (report.skipped, report.added) == (["b", "e"], ["a", "c", "d", "f"])
    assert bytes_of(tmp_path / "b.ecd") == bytes_of(source)
    other = made(tmp_path / "c.ecd", "a", seed=9)
    with pytest.raises(UsageError, match=r"a is in .* already with other content"):
        subset(other, tmp_path / "b.ecd")
    with pytest.raises(UsageError, match="read and written at once"):
        subset(source, source, ids=["a"])
    assert bytes_of(tmp_path / "b.ecd") == bytes_of(source)


def test_a_subset_from_a_server_reads_runs_in_single_requests(tmp_path):
    source = made(tmp_path / "a.ecd", "abcdefghijkl")
    handler = partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Handler.asked, Handler.ranges = [], True
        url = f"http://127.0.0.1:{server.server_port}/a.ecd"
        report = subset(url, tmp_path / "b.ecd", ids=["[a-h]"])
        assert sorted(name for name, _ in Handler.asked) == [
            "index.parquet",
            "part-00000.zarr.zip",
            "part-00001.zarr.zip",
        ]
        assert verify(url).ok
        server.shutdown()
    assert report.added == list("abcdefgh")
    assert bytes_of(tmp_path / "b.ecd").items() <= bytes_of(source).items()


def test_merging_keeps_every_crystal_and_column(tmp_path):
    a, b = made(tmp_path / "a.ecd", "abcde"), made(tmp_path / "b.ecd", "defgh")
    with StoreWriter(tmp_path / "c.ecd") as writer:
        writer.add("z", smooth_density((4, 4, 4)))
    report = merge([a, b, tmp_path / "c.ecd"], tmp_path / "all.ecd", duplicates="first")
    assert report.added == list("abcdefghz")
    assert bytes_of(tmp_path / "all.ecd") == bytes_of(b) | bytes_of(a) | bytes_of(tmp_path / "c.ecd")
    gaps = Store(tmp_path / "all.ecd").index.set_index("id")["gap_eV"]
    assert gaps["b"] == 1.0
    assert np.isnan(gaps["z"])
    assert verify(tmp_path / "all.ecd").ok


@pytest.mark.parametrize(("rule", "winner"), [("first", "a"), ("last", "b")])
def test_the_rule_says_whose_crystal_is_taken(tmp_path, rule, winner):
    stores = {"a": made(tmp_path / "a.ecd", "abc"), "b": made(tmp_path / "b.ecd", "bcd", seed=5)}
    merge(stores.values(), tmp_path / "all.ecd", duplicates=rule)
    merged = bytes_of(tmp_path / "all.ecd")
    assert sorted(merged) == list("abcd")
    assert {id: merged[id] for id in "bc"} == {id: bytes_of(stores[winner])[id] for id in "bc"}


def test_differing_duplicates_are_refused_and_equal_ones_are_not(tmp_path):
    a, b = made(tmp_path / "a.ecd", "abc"), made(tmp_path / "b.ecd", "bcd", seed=5)
    with pytest.raises(StoreError) as error:
        merge([a, b], tmp_path / "all.ecd")
    one_sentence(error, "b and 1 more ids differ", "duplicates='first' or 'last'")
    assert not (tmp_path / "all.ecd").exists()
    shutil.copytree(a, tmp_path / "c.ecd")
    assert merge([a, tmp_path / "c.ecd"], tmp_path / "all.ecd").added == list("abc")
    with pytest.raises(UsageError, match="no rule 'any' for duplicates"):
        merge([a, b], tmp_path / "all.ecd", duplicates="any")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_looser_bound_holds_against_the_original_density(tmp_path, workers):
    rhos = {f"x{seed}": smooth_density((20, 18, 24), seed=seed, spin=seed == 1) for seed in range(2)}
    with (
        StoreWriter(tmp_path / "a.ecd", bound=1e-5) as writer,
        StoreWriter(tmp_path / "r.ecd", pipeline="real") as real,
    ):
        for id, rho in rhos.items():
            writer.add(id, Density(rho.crystal, noisy(rho.values), rho.magnetization))
            real.add(id, Density(rho.crystal, noisy(rho.values), rho.magnetization))
    for source in ("a.ecd", "r.ecd"):
        dest = tmp_path / f"loose-{source}"
        assert reencode(tmp_path / source, dest, 1e-3, workers=workers).added == list(rhos)
        for id, rho in rhos.items():
            again = Store(dest)[id]
            assert eps_mae(again.values, noisy(rho.values)) <= 1e-3
            assert again.meta["bound"] == Store(dest).row(id)["bound"] == 1e-3
            assert again.nelect == pytest.approx(noisy(rho.values).mean() * rho.crystal.volume, rel=1e-9)
        assert (
            Store(dest).columns("length")["length"].to_pylist()
            < Store(tmp_path / source).columns("length")["length"].to_pylist()
        )
        assert verify(dest).ok
        assert reencode(tmp_path / source, dest, 1e-3).skipped == list(rhos)


def test_a_store_that_has_the_ids_otherwise_is_not_taken_for_an_earlier_call(tmp_path):
    """Another bound or other densities in the store to write are refused, not counted as there already."""
    source, dest = made(tmp_path / "a.ecd", "ab"), tmp_path / "b.ecd"
    reencode(source, dest, 1e-2)
    before = bytes_of(dest)
    for other, bound, words in ((source, 1e-3, "bound 0.01, not 0.001"), (made(tmp_path / "c.ecd", "ab", 5), 1e-2, "")):
        with pytest.raises(UsageError) as error:
            reencode(other, dest, bound)
        one_sentence(error, f"a is in {dest} already with ", words, "give a new store")
    assert bytes_of(dest) == before
    assert reencode(source, dest, 1e-2).skipped == ["a", "b"]


def noisy(values: np.ndarray) -> np.ndarray:
    """The values with waves of many sizes, as an all-frequency density has them."""
    rng = np.random.default_rng(3)
    waves = np.fft.rfftn(rng.normal(size=values.shape))
    k = np.stack(
        np.meshgrid(
            *(np.fft.fftfreq(n, 1 / n) for n in values.shape[:2]), np.arange(values.shape[2] // 2 + 1), indexing="ij"
        )
    )
    return values + 0.02 * np.fft.irfftn(
        waves * np.exp(-0.7 * np.linalg.norm(k, axis=0)), s=values.shape, axes=(0, 1, 2)
    )


def test_a_tighter_bound_is_never_pretended(tmp_path):
    source = made(tmp_path / "a.ecd", "abc", bound=1e-4)
    for bound in (1e-5, 9.9e-5):
        with pytest.raises(UsageError) as error:
            reencode(source, tmp_path / "b.ecd", bound)
        one_sentence(error, "errors add up", "0.0001")
    with pytest.raises(UsageError, match="a fraction between 0 and 1"):
        reencode(source, tmp_path / "b.ecd", 0.0)
    assert not (tmp_path / "b.ecd").exists()
    reencode(source, tmp_path / "b.ecd", 1e-4)
    assert bytes_of(tmp_path / "b.ecd") == bytes_of(source)


def test_verify_names_every_bad_crystal_and_goes_on(tmp_path):
    path = made(tmp_path / "a.ecd", "abcdefghi")
    assert verify(path) == verify(str(path), workers=1)
    report = verify(path)
    assert (report.ok, report.checked, report.notes) == (True, 9, [])
    part = path / "parts" / "part-00000.zarr.zip"
    row = Store(path).row("b")
    damaged = bytearray(part.read_bytes())
    damaged[row["offset"] + row["length"] // 2] ^= 1
    part.write_bytes(damaged)
    (path / "parts" / "part-00001.zarr.zip").unlink()
    (path / "parts" / "stray").write_bytes(b"")
    report = verify(path)
    assert sorted(report.bad) == list("befgh")
    assert "cut or altered" in report.bad["b"]
    assert "missing" in report.bad["e"]
    assert list(report.bad_parts) == ["part-00001.zarr.zip"]
    assert report.notes == ["parts/stray has no crystal of the index"]
    assert all("\n" not in reason for reason in report.bad.values())


@pytest.mark.parametrize("column", ["shape", "nelect", "numbers", "spin", "bound", "lattice", "flags"])
def test_verify_sees_an_index_that_says_otherwise(tmp_path, column):
    path = made(tmp_path / "a.ecd", "ab")
    table = Index(path / "index.parquet").table()
    rows = table.to_pylist()
    wrong = {"shape": [1, 2, 3], "nelect": 1.0, "numbers": [1, 1, 1], "spin": True, "bound": 1e-6, "flags": ["x"]}
    rows[1][column] = wrong.get(column, [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    save_index(type(table).from_pylist(rows, schema=table.schema), path / "index.parquet")
    report = verify(path)
    assert list(report.bad) == ["b"]
    assert "the index has other values" in report.bad["b"]


def test_verify_sees_altered_and_missing_files_of_probes(tmp_path):
    path = made(tmp_path / "a.ecd", "abc")
    extract_probes(path)
    assert verify(path).ok
    file = next((path / "probes").glob("*.f32"))
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    assert "cut or altered" in verify(path).bad_parts[f"probes/{file.name}"]
    assert extract_probes(path).added == 3  # as the message says
    assert verify(path).ok
    file = next((path / "probes").glob("*.f32"))
    file.unlink()
    assert "cannot be read" in verify(path).bad_parts[f"probes/{file.name}"]
    extract_probes(path)
    assert verify(path).ok


def test_verify_sees_a_part_whose_directory_is_gone(tmp_path):
    path = made(tmp_path / "a.ecd", "abc")
    part = path / "parts" / "part-00000.zarr.zip"
    part.write_bytes(part.read_bytes()[:-30])
    report = verify(path)
    assert report.bad == {}
    assert "does not open as a ZIP file" in report.bad_parts["part-00000.zarr.zip"]


def test_verify_and_subset_read_any_url(tmp_path):
    path = made(tmp_path / "a.ecd", "abc")
    memory = fsspec.filesystem("memory")
    memory.put(str(path), "/verified.ecd", recursive=True)
    try:
        assert verify("memory://verified.ecd").ok
        assert subset("memory://verified.ecd", tmp_path / "b.ecd", ids=["b"]).added == ["b"]
    finally:
        memory.rm("/verified.ecd", recursive=True)


@pytest.mark.parametrize("action", [verify, lambda s: subset(s, "b.ecd"), lambda s: merge([s], "b.ecd")])
def test_a_wrong_path_is_one_sentence(tmp_path, monkeypatch, action):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError) as error:
        action("nowhere.ecd")
    one_sentence(error, "nowhere.ecd is not a store", "ecd convert")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_copy_keeps_what_was_written_and_a_second_call_continues(tmp_path, monkeypatch):
    source = made(tmp_path / "a.ecd", "abcdefghijkl")
    whole = ReadRequest.read

    def stopped(run: ReadRequest) -> bytes:
        if run.rows[0]["id"] == "i":
            raise KeyboardInterrupt
        return whole(run)

    monkeypatch.setattr(ReadRequest, "read", stopped)
    with pytest.raises(KeyboardInterrupt):
        subset(source, tmp_path / "b.ecd")
    assert Store(tmp_path / "b.ecd").ids == list("abcdefgh")
    monkeypatch.setattr(ReadRequest, "read", whole)
    report = subset(source, tmp_path / "b.ecd")
    assert (report.skipped, report.added) == (list("abcdefgh"), list("ijkl"))
    assert bytes_of(tmp_path / "b.ecd") == bytes_of(source)
