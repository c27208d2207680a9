"""Reading at places: a path, a web server that fails now and then, and what is none."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest

from ecd_data.errors import StoreError
from ecd_data.io import locations, web_files
from ecd_data.io.locations import local_path, open_url, read_url, url_exists
from tests.data.bad_server import bad_server

DATA = np.random.default_rng(0).bytes(5000)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(web_files, "RETRIES", web_files.RETRIES.new(backoff_factor=0.01))
    web_files._connections.cache_clear()
    with bad_server() as running:
        running.files["/base/a"] = DATA
        yield running
    web_files._connections.cache_clear()


def test_paths_and_urls_of_files_are_the_same_place(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    for place in (f"{tmp_path}/a", f"file://{tmp_path}/a"):
        assert read_url(place) == DATA
        assert read_url(place, 10, 30) == DATA[10:30]
        assert read_url(place, 4990) == DATA[4990:]
        assert url_exists(place)
        with pytest.raises(FileNotFoundError):
            read_url(f"{place}b")
    assert [local_path(url) for url in ("a/b", "s3://a/b", "zip://a::b.zip")] == ["a/b", None, None]


@pytest.mark.parametrize("fault", ["busy", "error", "reset", "drop"])
def test_a_server_that_fails_for_a_moment_is_asked_again(server, fault):
    server.faults["/base/a"] = [fault, fault]
    assert read_url(f"{server.url}/a") == DATA
    assert len(server.requests) == 3


def test_a_server_that_keeps_failing_is_one_sentence(server):
    server.faults["/base/a"] = ["busy"] * 9
    with pytest.raises(StoreError, match=r"/base/a cannot be read \(the server answers 503 .*\): check the URL") as e:
        read_url(f"{server.url}/a")
    assert "\n" not in str(e.value)
    with pytest.raises(FileNotFoundError):
        read_url(f"{server.url}/b")


def test_users_and_proxies_are_told_to_the_server(monkeypatch):
    asked = []

    class Pool:
        def request(self, *call, headers):
            asked.append(headers.get("authorization"))
            raise ValueError("enough")

    monkeypatch.setattr(web_files, "_connections", lambda process, proxy: (asked.append(proxy), Pool())[1])
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.org:3128")
    monkeypatch.setenv("no_proxy", "here.org")
    for url in ("http://me:pass%20word@there.org/a", "http://here.org/a"):
        with pytest.raises(StoreError, match="enough"):
            read_url(url)
    assert asked == ["http://proxy.org:3128", "Basic bWU6cGFzcyB3b3Jk", None, None]


def test_what_fsspec_was_told_of_web_servers_holds(monkeypatch, tmp_path):
    monkeypatch.setenv("FSSPEC_CONFIG_DIR", str(tmp_path / "none"))
    assert locations.is_plain_web("https://x.org/a")
    assert not locations.is_plain_web("simplecache::https://x.org/a")
    monkeypatch.setenv("FSSPEC_CONFIG_DIR", str(tmp_path))
    assert not locations.is_plain_web("https://x.org/a")


def test_an_open_file_of_a_server_reads_what_a_disk_does(monkeypatch):
    tag = ["v1"]

    def asked(url, headers):
        start, stop = map(int, headers["Range"].removeprefix("bytes=").split("-"))
        told = {"Content-Range": f"bytes {start}-{stop}/{len(DATA)}", "ETag": tag[0]}
        return SimpleNamespace(data=DATA[start : stop + 1], headers=told)

    monkeypatch.setattr(web_files, "_request", asked)
    file, disk = web_files.WebFile("http://x.org/a", len(DATA), DATA[:100], (str(len(DATA)), "v1")), io.BytesIO(DATA)
    rng = np.random.default_rng(1)
    for _ in range(200):
        place, count = int(rng.integers(0, 5100)), int(rng.integers(0, 300))
        for one in (file, disk):
            one.seek(place - 5000, io.SEEK_END) if place < 5000 else one.seek(place)
        assert (file.read(count), file.tell()) == (disk.read(count), disk.tell())
    tag[0] = "v2"  # never the beginning of one file and the end of another
    file.seek(200)
    with pytest.raises(StoreError, match="replaced while it was read"):
        file.read(10)


def test_small_files_come_whole_and_large_ones_in_parts(server, tmp_path):
    assert open_url(f"{server.url}/a", 10_000) == DATA
    server.ranges = False
    assert open_url(f"{server.url}/a", 10) == DATA
    (tmp_path / "a").write_bytes(DATA)
    with open_url(f"{tmp_path}/a", 10) as file:
        assert file.read() == DATA
