"""What a verb leaves behind where something fails: what the message says is there, is there, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from ecd_data import open_store, read, write
from ecd_models import cli
from tests.conftest import smooth_density

ECD = [sys.executable, "-m", "ecd_models.cli"]
LEFT_OUT = ("LOCPOT", "ELFCAR", "PARCHG", "x_elf.cube", "CHGCAR_sum", "sub/v_hartree.xsf", "AECCAR0")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A run with its CHGCAR and grids that are no crystal's own density."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "a" / "sub").mkdir(parents=True)
    write("runs/a/CHGCAR", smooth_density())
    for name in LEFT_OUT:
        Path("runs/a", name).write_bytes(Path("runs/a/CHGCAR").read_bytes())
    Path("runs/a/INCAR").write_text("SYSTEM = a LOCPOT\n")
    return tmp_path


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_conversion_names_what_it_leaves_out(folder, caplog, archive, workers):
    from ecd_data import convert

    caplog.set_level("INFO", "ecd_data")
    if archive:
        with tarfile.open("runs.tar.gz", "w:gz") as tar:
            tar.add("runs")
    report = convert("runs.tar.gz" if archive else "runs", "my.ecd", workers=workers)
    assert report.added == ["a"]
    told = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(told) == 2
    assert "and 1 more" in told[1] or "v_hartree" in told[1]
    assert "ELFCAR, the electron localization function" in told[1]
    assert "LOCPOT, a potential in eV" in told[1]
    assert all(name in told[0] for name in ("PARCHG", "CHGCAR_sum", "AECCAR0"))
    assert "INCAR" not in caplog.text


def test_a_folder_of_other_quantities_alone_is_refused_with_their_names(folder, capsys):
    Path("runs/a/CHGCAR").unlink()
    assert cli._run(["convert", "-q", "runs", "my.ecd"]) == 2
    err = capsys.readouterr().err
    assert "holds no density of a crystal's own" in err
    assert "LOCPOT, a potential in eV" in err
    assert not Path("my.ecd").exists()


@pytest.mark.parametrize("there", [False, True])
def test_where_no_file_can_be_read_no_store_is_left(folder, capsys, there):
    cut = Path("runs/a/CHGCAR").read_bytes()[:600]
    for name in ("a_CHGCAR", "b_CHGCAR"):
        Path(name).write_bytes(cut)
    if there:
        assert cli._run(["convert", "-q", "runs", "my.ecd"]) == 0
    capsys.readouterr()
    assert cli._run(["convert", "-q", "a_CHGCAR", "b_CHGCAR", "my.ecd"]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("left out: ") == 2
    assert ("no store was written" in captured.out) == (not there)
    assert Path("my.ecd").exists() == there
    if there:
        assert len(open_store("my.ecd")) == 1


LARGER = "it is larger than `ulimit -f` or the file system allows"


@pytest.mark.skipif(os.name != "posix", reason="ulimit")
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["convert", "-q", "big_CHGCAR", "my.ecd"], "my.ecd"),
        (["export", "big_CHGCAR", "out.cube"], "out.cube"),
        (["export", "big_CHGCAR", "out_CHGCAR.gz"], "out_CHGCAR.gz"),
        (["subset", "-q", "pbe", "some.ecd", "--id", "Mg*"], "some.ecd"),
    ],
)
def test_a_limit_on_file_sizes_names_the_file_and_the_remedy(tmp_path, arguments, name):
    write(tmp_path / "big_CHGCAR", smooth_density((40, 40, 40)))
    limited = ["bash", "-c", 'ulimit -f 4; exec "$@"', "bash", *ECD, *arguments]
    done = subprocess.run(limited, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert f"ecd: {name}: File too large: {LARGER}" in done.stderr
    assert "Traceback" not in done.stderr
    if not name.endswith(".ecd"):
        assert [path.name for path in tmp_path.iterdir()] == ["big_CHGCAR"]
    assert subprocess.run([*ECD, *arguments], capture_output=True, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("count", [1, 3])
def test_an_interrupted_prediction_says_what_is_there(tmp_path, count):
    for number in range(count):
        write(tmp_path / f"{number}.cube", smooth_density())
    out = tmp_path / ("p_CHGCAR" if count == 1 else "out")
    sources = [str(tmp_path / f"{number}.cube") for number in range(count)]
    command = [*ECD, "predict", *sources, "-m", "charge3net-sample", "--grid", "72", "72", "72", "-o", str(out), "-q"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and "never saw" not in (process.stderr.readline() if process.stderr else ""):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, err = process.communicate(timeout=120)
    there = [out] if count == 1 and out.exists() else [] if count == 1 else sorted(out.iterdir())
    assert not list(tmp_path.rglob(".*"))
    for path in there:
        assert read(path).shape == (72, 72, 72)
        assert str(path) in said
    if process.returncode == 0:
        assert len(there) == count
    else:
        assert process.returncode == 130
        assert "the density files that exist are complete: the same command writes the others" in err
        assert len(there) < count
