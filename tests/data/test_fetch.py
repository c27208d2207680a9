"""Fetching: what is meant, what a server that behaves badly does to it, and that the same call always completes it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Density, Store, eps_mae, fetch, open_store
from ecd_data.download.fetch_release import FetchReport, fetch_status, preview_fetch
from ecd_data.download.plan import plan_fetch
from ecd_data.download.progress_line import Tally
from ecd_data.download.transfer import Patience
from ecd_data.errors import UnknownIdError, UsageError
from ecd_data.formats import find_renderer
from ecd_data.release.split_files import read_ids
from ecd_models.cli import _run
from tests.conftest import smooth_density
from tests.data.bad_server import BadServer, bad_server

ROOT = Path(__file__).resolve().parents[2]
QUICK = Patience(retries=3, pause=0.01, stall=0.2)
REAL = {
    "icsd-159373-Mg1O1": "MgO_rs",
    "icsd-168789-H1Li1": "LiH_rs",
    "icsd-671887-Al1P1": "AlP_zb",
    "icsd-182731-B1N1": "BN_zb",
    "cod-5900000-C1": "C_diamond",
}
IDS = list(REAL)


def packed(text: bytes, name: str = "CHGCAR", **others: bytes) -> bytes:
    """A .tar.gz as the release has them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for member, content in {name: text, **others}.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def chgcar(rho: Density) -> bytes:
    return find_renderer("CHGCAR")(rho)


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    """The release's files of five crystals, with the embedded sample's densities in them."""
    store = open_store("hse")
    return {id: packed(chgcar(store[name]), f"{id}.chgcar") for id, name in REAL.items()}


def path_of(id: str) -> str:
    return f"/base/hse/{id}.chgcar.tar.gz"


@pytest.fixture
def server(bodies):
    with bad_server() as running:
        running.files = {path_of(id): body for id, body in bodies.items()}
        yield running


def get(server: BadServer, dest: Path, what=IDS, **options) -> FetchReport:
    options = {"set": "hse", "patience": QUICK, "mirror": server.url} | options
    return fetch(what, dest, **options)


def assert_complete(dest: Path, bodies: dict[str, bytes], ids=IDS) -> None:
    """The store has these crystals, with the hashes of their files, and nothing else is left behind."""
    store = Store(dest)
    assert sorted(store.ids) == sorted(ids)
    for id in ids:
        assert store.row(id)["source_sha256"] == hashlib.sha256(bodies[id]).hexdigest()
        assert store.row(id)["functional"] == "HSE06"
        _ = store[id]
    assert [p.name for p in (dest / ".fetch").iterdir()] == ["journal.jsonl"]


@pytest.mark.parametrize(
    ("what", "options", "set", "number", "url"),
    [
        ("ecd_hse", {}, "hse", 7147, "https://matgen.nscc-gz.cn/chgcar/download/hse/cod-1000051-K1N1O3.chgcar.tar.gz"),
        ("ECD-PBE-id", {"part": "test"}, "pbe", 2000, "https://matgen.nscc-gz.cn/chgcar/download/pbe/"),
        ("ood", {}, "ood", 1996, "https://matgen.nscc-gz.cn/chgcar/download/gnome/00139449c9.chgcar.gz"),
        ("ecd_mp", {}, "mp", 2000, "https://materialsproject-parsed.s3.amazonaws.com/chgcars/mp-1001023.json.gz"),
        ("mp", {}, "mp", 122_689, "https://materialsproject-parsed.s3.amazonaws.com/chgcars/"),
        ("mp-1001023", {}, "mp", 1, "https://materialsproject-parsed.s3.amazonaws.com/chgcars/mp-1001023.json.gz"),
        (["hse", "cod-10*"], {"limit": 7}, "hse", 7, "https://matgen.nscc-gz.cn/chgcar/download/hse/cod-10"),
        ("hmat_*", {"mirror": "http://m.org/x/"}, "pbe", 64_024, "http://m.org/x/pbe/hmat_"),
        ("ood", {"mirror": "http://m.org/?f={id}"}, "ood", 1996, "http://m.org/?f=00139449c9"),
        ("ecd_hse_strict", {"part": "train"}, "hse", 5647 - 808, "https://matgen"),
        ("icsd-237213-Li2H4N2.chgcar.tar.gz", {}, "pbe", 1, "https://matgen.nscc-gz.cn/chgcar/download/pbe/icsd-2372"),
    ],
)
def test_what_is_meant(what, options, set, number, url):
    plan = plan_fetch(what, **options)
    assert (plan.set, len(plan.ids)) == (set, number)
    assert plan.url(plan.ids[0]).startswith(url)
    assert plan.functional == ("HSE06" if set == "hse" else "PBE")


def test_the_mirror_of_the_environment(monkeypatch):
    monkeypatch.setenv("ECD_MIRROR", "http://here:1/m")
    assert plan_fetch("mp-1001023").url("mp-1001023") == "http://here:1/m/chgcars/mp-1001023.json.gz"


@pytest.mark.parametrize(
    ("what", "options", "word"),
    [
        ("icsd-159373-Mg1O2", {"set": "hse"}, "icsd-159373-Mg1O1"),
        ("ecd_hsee", {"set": "hse"}, "near: ecd_hse"),
        (["hse", "icsd-1"], {}, "nor an id of hse"),
        ("zz*", {}, "matches no id"),
        (["pbe", "hse"], {}, "different sets"),
        ("icsd-159373-Mg1O1", {}, "say which, as in --set pbe"),
        ("exp", {}, "embedded sample"),
        ("ood", {"part": "train"}, "no part 'train'"),
        ("ood", {"part": "tests"}, "the parts are"),
        ("ood", {"mirror": "ftp://x"}, "no URL of a mirror"),
        ("ood", {"limit": 0}, "positive"),
        ("ecd_hse", {"set": "pbe"}, "not pbe"),
        ([], {}, "name what to fetch"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(what, options, word):
    with pytest.raises((UsageError, UnknownIdError), match=word) as error:
        plan_fetch(what, **options)
    assert "\n" not in str(error.value)


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


def test_connections_have_a_limit(server, tmp_path):
    with pytest.raises(UsageError, match="1 to 8 connections, not 9"):
        get(server, tmp_path / "a.ecd", connections=9)
    assert not server.requests
    get(server, tmp_path / "a.ecd", connections=1)
    assert server.open_most == 1


@pytest.mark.parametrize("fault", ["drop", "stall", "busy", "error", "cut", "page", "reset"])
def test_one_fault_in_each_file_is_overcome(server, bodies, tmp_path, fault):
    for id in IDS:
        server.faults[path_of(id)] = [fault]
    report = get(server, tmp_path / "a.ecd")
    assert (len(report.added), report.failed) == (5, {})
    assert_complete(tmp_path / "a.ecd", bodies)
    resumed = [wanted for _, _, wanted in server.requests if wanted]
    assert len(resumed) == (5 if fault in ("drop", "stall") else 0)


@pytest.mark.parametrize(("ranges", "etags"), [(False, True), (True, False)])
def test_without_ranges_or_validators_a_file_starts_again(server, bodies, tmp_path, ranges, etags):
    server.ranges, server.etags = ranges, etags
    for id in IDS:
        server.faults[path_of(id)] = ["drop", "drop"]
    assert get(server, tmp_path / "a.ecd").failed == {}
    assert_complete(tmp_path / "a.ecd", bodies)
    assert server.answers[206] == 0


def test_a_file_that_changes_while_it_comes_is_never_mixed(server, bodies, tmp_path, monkeypatch):
    id, other = "icsd-159373-Mg1O1", packed(chgcar(open_store("hse")["MgO_rs"]), "renamed/CHGCAR")
    server.faults[path_of(id)] = ["drop"]  # behind half of it
    half = len(bodies[id]) // 2
    arrived: list[int] = []
    add_bytes = Tally.add_bytes

    def swap(tally: Tally, count: int) -> None:
        add_bytes(tally, count)
        arrived.append(count)
        if sum(arrived) >= half:  # what the client has, since the server may be slow to count what it sent
            server.files[path_of(id)] = other

    monkeypatch.setattr(Tally, "add_bytes", swap)
    get(server, tmp_path / "a.ecd", [id], patience=Patience(retries=3, pause=0.01, stall=20.0))
    assert server.answers[200] == 2
    assert server.requests[1][2] == f"bytes={half}-"
    assert_complete(tmp_path / "a.ecd", {id: other}, [id])


def test_retry_after_is_kept_by_all_connections(server, bodies, tmp_path):
    server.retry_after = "0.4"
    server.faults[path_of(IDS[0])] = ["busy"]
    get(server, tmp_path / "a.ecd", connections=1)
    assert server.times[1] - server.times[0] >= 0.4
    server.retry_after = "9999"
    server.faults[path_of(IDS[0])] = ["busy"]
    report = get(server, tmp_path / "b.ecd", IDS[:1])
    assert "come back in 167 minutes" in report.failed[IDS[0]]


WRONG = {
    "a page": (b"<html><title>404, sort of</title>", "web page \\(404, sort of\\)"),
    "another crystal": (lambda b: b["icsd-168789-H1Li1"], "holds HLi where its name says MgO"),
    "cut gzip": (lambda b: b["icsd-159373-Mg1O1"][:-5000], "damaged or cut"),
    "a bomb": (lambda b: packed(bytes(1 << 25)), "expands to more"),
    "a path out": (lambda b: packed(chgcar(smooth_density()), "../../CHGCAR"), "paths out of it"),
    "an absolute path": (lambda b: packed(chgcar(smooth_density()), "/etc/CHGCAR"), "paths out of it"),
    "no density": (lambda b: packed(b"1", "OUTCAR"), "holds no density"),
    "two densities": (lambda b: packed(b"1", "a/CHGCAR", b_CHGCAR=b"2"), "holds 2 densities"),
    "nonsense": (b"\1\2\3" * 999, "CHGCAR"),
    "unphysical": (lambda b: packed(chgcar(unphysical())), "not fit for use"),
}


def unphysical() -> Density:
    rho = open_store("hse")["MgO_rs"]
    return Density(rho.crystal, rho.values - 0.5 * rho.values.mean(), None, None, {})


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_content_is_a_named_failure_and_never_stored(server, bodies, tmp_path, kind):
    id = "icsd-159373-Mg1O1"
    made, word = WRONG[kind]
    server.files[path_of(id)] = made(bodies) if callable(made) else made
    report = get(server, tmp_path / "a.ecd", [id, "icsd-168789-H1Li1"])
    assert list(report.failed) == [id]
    with pytest.raises(AssertionError, match=word):
        raise AssertionError(report.failed[id])
    assert "\n" not in report.failed[id]
    assert Store(tmp_path / "a.ecd").ids == ["icsd-168789-H1Li1"]
    assert fetch_status(tmp_path / "a.ecd").failed == report.failed
    server.files[path_of(id)] = bodies[id]
    assert get(server, tmp_path / "a.ecd", [id]).added == [id]  # a failure is tried again
    assert fetch_status(tmp_path / "a.ecd").failed == {}


def test_links_and_devices_are_not_read(server, tmp_path):
    id, buffer = "icsd-159373-Mg1O1", io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for kind, name in ((tarfile.SYMTYPE, "CHGCAR"), (tarfile.LNKTYPE, "b_CHGCAR"), (tarfile.CHRTYPE, "c_CHGCAR")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    server.files[path_of(id)] = buffer.getvalue()
    assert "links, devices" in get(server, tmp_path / "a.ecd", [id]).failed[id]


def test_removed_files_fail_at_once_and_a_dead_server_ends_the_run(server, tmp_path):
    del server.files[path_of(IDS[0])]
    report = get(server, tmp_path / "a.ecd", IDS[:2])
    assert "does not exist on the server (404)" in report.failed[IDS[0]]
    assert server.paths().count(path_of(IDS[0])) == 1
    many = list(read_ids("hse/test"))[:60]
    with bad_server() as dead:
        address = dead.url
    report = fetch(many, tmp_path / "b.ecd", set="hse", patience=Patience(1, 0.01, 0.2), mirror=address)
    assert report.stopped is not None
    assert "refuses connections" in report.stopped
    assert len(report.failed) + report.left == 60
    assert report.left > 40
    assert len(fetch_status(tmp_path / "b.ecd").left) == report.left


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


def words(server: BadServer, dest: Path, *more: str) -> list[str]:
    options = ["--set", "hse", "--mirror", server.url, "--stall", "0.3", "--pause", "0.01", "-q", "--connections", "2"]
    return ["fetch", *options, *more, *IDS, str(dest)]


def once_one_is_done(dest: Path, act: Callable[[], object]) -> None:
    """Call `act` when the journal has a first crystal."""
    journal, until = dest / ".fetch" / "journal.jsonl", time.monotonic() + 60
    while not (journal.exists() and '"done"' in journal.read_text()) and time.monotonic() < until:
        time.sleep(0.01)
    act()


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stop_in_the_middle_loses_nothing(server, bodies, tmp_path, capsys, stop, workers):
    dest, slow = tmp_path / "a.ecd", path_of(IDS[1])
    server.rates[slow] = 2e4 if workers == "1" else 4e3  # under way for longer than all else together
    if stop is signal.SIGKILL:
        process = subprocess.Popen([sys.executable, "-m", "ecd_models.cli", *words(server, dest, "-j", workers)])
        once_one_is_done(dest, process.kill)
        assert process.wait() == -stop
    else:
        threading.Thread(target=once_one_is_done, args=(dest, lambda: os.kill(os.getpid(), stop))).start()
        assert _run(words(server, dest, "-j", workers)) == 130
        assert capsys.readouterr().err.endswith("ecd: interrupted; the same command continues where it stopped\n")
    server.rates.clear()
    asked = len(server.requests)
    report = get(server, dest)
    assert 1 <= len(report.skipped) < 5
    assert {path for _, path, _ in server.requests[asked:]} == {path_of(id) for id in report.added}
    assert {path for _, path, wanted in server.requests[asked:] if wanted} >= {slow}  # goes on inside the file
    assert_complete(dest, bodies)


def test_a_full_disk_is_one_sentence_and_the_same_command_continues(server, bodies, tmp_path, capsys):
    """On a real file system of 160 kB, where the system lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    try:
        assert _run(words(server, disk / "a.ecd")) == 1
        err = capsys.readouterr().err
        assert "free some space" in err
        assert err.count("\n") == 1
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        assert get(server, disk / "a.ecd").failed == {}
        assert_complete(disk / "a.ecd", bodies)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_the_verb(server, tmp_path, capsys):
    common = ["fetch", "--set", "hse", "--mirror", server.url, "-q", "--pause", "0.01"]
    dest = str(tmp_path / "a.ecd")
    assert _run([*common, "--dry-run", *IDS[:2], dest]) == 0
    assert "2 files to fetch" in capsys.readouterr().out
    server.files.pop(path_of(IDS[1]))
    assert _run([*common, *IDS[:2], dest]) == 1
    out, err = capsys.readouterr()
    assert "1 added" in out
    assert "1 failed, 0 left" in out
    assert f"failed: {IDS[1]}: http" in err
    assert _run(["fetch", "--status", dest]) == 1
    assert "1 done" in capsys.readouterr().out
    assert _run(["fetch", dest]) == 2
    assert _run(["fetch", "--status", str(tmp_path)]) == 2


COMMANDS = re.findall(r"^ecd (fetch .*?)(?:  #.*)?$", (ROOT / "docs/fetch.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", [line for line in COMMANDS if "--status" not in line])
def test_the_commands_of_the_documentation_mean_something(line, capsys):
    assert _run([*shlex.split(line), "--dry-run", "--mirror", "http://127.0.0.1:9"]) == 0
    assert "files to fetch" in capsys.readouterr().out


def test_the_same_seed_pauses_alike():
    from ecd_data.download.transfer import _make_generator

    draws = [_make_generator(seed, "http://x/a").uniform(size=3) for seed in (0, 0, 1)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
