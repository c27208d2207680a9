"""What Arrow reads: the same from a disk, whole from a server and in pieces; programs may end at once behind it."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecd_data import Store, write
from ecd_data.errors import StoreError
from ecd_data.io.arrow_files import ParquetSource, memory_file
from ecd_data.store import index as index_module
from ecd_data.store.data_root import sample_store
from ecd_data.store.index import Index, save_index
from tests.conftest import smooth_density

TABLE = pa.table(
    {
        "id": [f"x{number}" for number in range(5000)],
        "lists": [[number] * (number % 5) for number in range(5000)],
        "noise": np.random.default_rng(0).random(5000),
        "spin": [None if number % 3 else True for number in range(5000)],
    }
)


@pytest.fixture(params=["disk", "whole", "in pieces"])
def source(request, tmp_path, served):
    """Gives a file of the folder as a ParquetSource."""
    root = str(tmp_path) if request.param == "disk" else served(tmp_path)
    return lambda name: ParquetSource(f"{root}/{name}", small=1000 if request.param == "in pieces" else 1 << 30)


@pytest.mark.parametrize("group", [None, 700])
@pytest.mark.parametrize("names", [["noise"], ["id", "spin"], ["lists"], ["id", "lists", "noise", "spin"]])
def test_any_columns_come_from_anywhere(tmp_path, source, names, group):
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=group, compression="zstd")
    opened = source("a.parquet")
    assert opened.read(names).equals(TABLE.select(names))
    assert opened.read(["id"]).equals(TABLE.select(["id"]))


@pytest.mark.parametrize("keep", [0, 3, 9, 2000, -3])
def test_a_cut_file_is_an_error_wherever_it_lies(tmp_path, served, monkeypatch, keep):
    whole = (Index(f"{sample_store('pbe')}/index.parquet")).table()
    save_index(whole, tmp_path / "index.parquet")
    path = tmp_path / "index.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    url = served(tmp_path)
    for place, small in ((path, 1 << 30), (f"{url}/index.parquet", 1 << 30), (f"{url}/index.parquet", 1)):
        monkeypatch.setattr(index_module, "SMALL_INDEX", small)
        with pytest.raises(StoreError, match="damaged"):
            Index(place)


def test_stores_of_any_name_are_written_and_read_in_the_c_locale(tmp_path):
    """There Python gives a name beyond ASCII as bytes in disguise (PEP 383), which are not UTF-8."""
    write(tmp_path / "CHGCAR_1", smooth_density())
    code = "import sys; from ecd_models.cli import _run; sys.exit(_run(sys.argv[1:]))"
    for verb in (["convert", "CHGCAR_1"], ["probes"], ["info"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *verb, "s ö.ecd"],
            cwd=tmp_path,
            env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, done.stderr
    assert len(Store(tmp_path / "s ö.ecd").probes("1", 20)) == 20


def test_nothing_of_pythons_is_given_to_arrows_threads():
    """They would need the interpreter to let go of it, and abort a program that has ended by then."""
    before = sys.getrefcount(content := bytes(range(200)))
    held = memory_file(content)
    assert sys.getrefcount(content) == before
    assert held.read() == content


@pytest.mark.slow
def test_programs_that_end_at_once_end_well():
    command = [sys.executable, "-c", "import sys; from ecd_data.store.index import Index; Index(sys.argv[1]).table()"]
    ends = {subprocess.run([*command, f"{sample_store('pbe')}/index.parquet"]).returncode for _ in range(60)}
    assert ends == {0}
