"""Fetching from servers that misbehave: faults, limits, wrong content, removed files."""

from __future__ import annotations

import io
import tarfile

import pytest

from ecd_data import Density, Store, fetch, open_store
from ecd_data.download.download_threads import Tally
from ecd_data.download.fetch_release import fetch_status
from ecd_data.download.transfer import Patience
from ecd_data.errors import UsageError
from ecd_data.release.split_files import read_ids
from tests.conftest import smooth_density
from tests.data.bad_server import bad_server
from tests.data.download.conftest import IDS, assert_complete, chgcar, get, packed, path_of


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
