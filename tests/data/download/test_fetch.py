"""Fetching files into a store: journal, worker processes, dry runs, files that change on the server."""

from __future__ import annotations

import gzip
import json
import os
from concurrent.futures import CancelledError

import pytest

from ecd_data import Store, eps_mae, fetch, open_store
from ecd_data.download.fetch_release import fetch_status, preview_fetch
from ecd_data.download.journal import Journal
from ecd_data.errors import UsageError
from ecd_data.store import StoreWriter
from tests.data.bad_server import bad_server
from tests.data.download.conftest import IDS, QUICK, assert_complete, chgcar, get, packed, path_of


def test_files_become_a_store_with_hashes_and_a_journal(server, bodies, tmp_path):
    server.delay = 0.03
    report = get(server, tmp_path / "a.ecd")
    assert sorted(report.added) == sorted(IDS)
    assert (report.failed, report.left, report.stopped) == ({}, 0, None)
    assert_complete(tmp_path / "a.ecd", bodies)
    original = open_store("hse")["MgO_rs"]
    assert eps_mae(Store(tmp_path / "a.ecd")["icsd-159373-Mg1O1"], original) < 1.1e-5
    status = fetch_status(tmp_path / "a.ecd")
    assert (status.done, status.left, status.failed) == (5, (), {})
    assert status.size == sum(map(len, bodies.values())) == report.bytes_in
    assert 1 < server.open_most <= 4
    asked = len(server.requests)
    again = get(server, tmp_path / "a.ecd")
    assert (sorted(again.skipped), again.added) == (sorted(IDS), [])
    assert len(server.requests) == asked  # what is there is not asked for


def test_worker_processes_give_the_same_crystals_and_failures(server, bodies, tmp_path):
    """Faults on the way, damaged files and wrong crystals included."""
    server.files[path_of(IDS[3])], server.files[path_of(IDS[4])] = b"no gzip", bodies[IDS[0]]
    reports = {}
    for workers in (1, 2):
        server.faults |= {path_of(id): ["drop", "busy"] for id in IDS}
        reports[workers] = get(server, tmp_path / f"{workers}.ecd", workers=workers)
        assert [p.name for p in (tmp_path / f"{workers}.ecd" / ".fetch").iterdir()] == ["journal.jsonl"]
    assert sorted(reports[2].added) == sorted(IDS[:3])
    assert reports[2].failed == reports[1].failed
    one, two = (Store(tmp_path / f"{workers}.ecd") for workers in (1, 2))
    assert {id: one.row(id)["sha256"] for id in one} == {id: two.row(id)["sha256"] for id in two}
    with pytest.raises(UsageError, match="number of workers"):
        get(server, tmp_path / "c.ecd", workers=0)


def test_a_worker_that_the_system_ends_loses_its_job_only():
    from ecd_data.work.process_pool import LostJob, ProcessPool

    workers = ProcessPool(2)
    assert isinstance(workers.run(os._exit, 1), LostJob)
    assert workers.run(abs, -1) == 1
    workers.close()
    for closed in (workers, ProcessPool(1)):
        closed.close()
        with pytest.raises(CancelledError):
            closed.run(abs, -1)


def test_a_changed_file_is_noticed_when_asked(server, bodies, tmp_path):
    get(server, tmp_path / "a.ecd", IDS[:3])
    assert get(server, tmp_path / "a.ecd", IDS[:3], recheck=True).changed == {}
    assert server.answers[304] == 3
    server.files[path_of(IDS[0])] = packed(gzip.decompress(bodies[IDS[0]])[:999])
    report = get(server, tmp_path / "a.ecd", IDS[:3], recheck=True)
    assert list(report.changed) == [IDS[0]]
    assert "another file" in fetch_status(tmp_path / "a.ecd").changed[IDS[0]]
    assert_complete(tmp_path / "a.ecd", bodies, IDS[:3])  # the stored one stays
    server.etags = False
    server.files[path_of(IDS[0])] = bodies[IDS[0]]
    assert get(server, tmp_path / "a.ecd", IDS[:3], recheck=True).changed == {}
    assert fetch_status(tmp_path / "a.ecd").changed == {}


def test_a_store_is_of_one_set(server, tmp_path):
    get(server, tmp_path / "a.ecd", IDS[:1])
    with pytest.raises(UsageError, match="is a store of the set hse"):
        get(server, tmp_path / "a.ecd", IDS[:1], set="pbe")


def test_other_packings_and_the_materials_project(tmp_path):
    rho = open_store("pbe")["MgO_rs"]
    record = {"data": {"poscar": None}}
    grid = (rho.values * rho.crystal.volume).tolist()
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "abc": xyz.tolist()}
        for symbol, xyz in zip(rho.crystal.symbols, rho.frac_coords, strict=True)
    ]
    structure = {"lattice": {"matrix": rho.lattice.tolist()}, "sites": sites}
    record = {"poscar": {"structure": structure}, "data": {"total": grid}, "data_aug": {}}
    with bad_server() as server:
        server.files["/base/chgcars/mp-1001023.json.gz"] = gzip.compress(json.dumps(record).encode(), 1)
        server.files["/base/gnome/00139449c9.chgcar.gz"] = gzip.compress(chgcar(rho), 1)
        for id in ("mp-1001023", "00139449c9"):
            report = fetch(id, tmp_path / id, mirror=server.url, patience=QUICK)
            assert report.failed == {}
            assert eps_mae(Store(tmp_path / id)[id], rho) < 1.1e-5
            assert Store(tmp_path / id).row(id)["functional"] == "PBE"


def test_a_dry_run_tells_number_and_sizes_and_writes_nothing(server, bodies, tmp_path):
    preview = preview_fetch(IDS, tmp_path / "a.ecd", set="hse", mirror=server.url)
    assert (preview.wanted, preview.there) == (5, 0)
    assert preview.transfer == sum(map(len, bodies.values()))
    assert 0 < preview.store < preview.transfer
    assert preview.least < preview.store < preview.most
    assert "all" in preview.basis
    assert not (tmp_path / "a.ecd").exists()
    assert not server.paths("GET")
    get(server, tmp_path / "a.ecd", IDS[:3])
    assert preview_fetch(IDS, tmp_path / "a.ecd", set="hse", mirror=server.url).there == 3
    unknown = preview_fetch("ecd_hse", tmp_path / "b.ecd", mirror="http://127.0.0.1:9")
    assert "server does not state any" in unknown.basis
    assert unknown.transfer > 1e10
    coarser = preview_fetch("ecd_hse", tmp_path / "b.ecd", mirror="http://127.0.0.1:9", bound=1e-4)
    assert coarser.store < 0.7 * unknown.store


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bound": 0.0}, "not a fraction between 0 and 1"),
        ({"pipeline": "zip"}, "no pipeline 'zip'"),
        ({"seed": -1}, "seed .* not negative"),
        ({"dest": "notes.txt"}, "name of a file"),
        ({"dest": "other"}, "has other files"),
        ({"dest": "pbe.ecd"}, "a store of the set pbe"),
    ],
)
def test_a_dry_run_refuses_what_the_fetch_would(tmp_path, options, words):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with StoreWriter(tmp_path / "pbe.ecd"):
        Journal(tmp_path / "pbe.ecd", "pbe")
    options = {"dest": "a.ecd", "mirror": "http://127.0.0.1:9"} | options
    dest = tmp_path / options.pop("dest")
    for act in (preview_fetch, fetch):
        with pytest.raises(UsageError, match=words):
            act("ecd_hse", dest, **options)


def test_a_torn_or_lost_journal_is_made_again(server, bodies, tmp_path):
    get(server, tmp_path / "a.ecd", IDS[:3])
    journal = tmp_path / "a.ecd" / ".fetch" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])
    get(server, tmp_path / "a.ecd")
    assert fetch_status(tmp_path / "a.ecd").done == 5
    journal.unlink()
    asked = len(server.requests)
    get(server, tmp_path / "a.ecd")
    assert len(server.requests) == asked
    assert fetch_status(tmp_path / "a.ecd").done == 5
    assert_complete(tmp_path / "a.ecd", bodies)
