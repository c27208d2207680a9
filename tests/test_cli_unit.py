"""--unit of the verbs that read files: it decides what a cube or XSF leaves open, and is refused elsewhere."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from ecd_data import open_store, read, write
from ecd_data.formats.units import BOHR, PER_BOHR3
from ecd_models import cli
from tests.data.test_units import cube_text, density_of

FACTOR = BOHR**-3


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A cube of 13.5 electrons in e/bohr^3, which would be 2.0005 in e/Å^3, and the same as a CHGCAR."""
    monkeypatch.chdir(tmp_path)
    rho = density_of(13.5, 74, 1)
    Path("w.cube").write_bytes(cube_text(rho, PER_BOHR3))
    write("x_CHGCAR", rho)
    with tarfile.open("w.tar.gz", "w:gz") as tar:
        tar.add("w.cube", "t.cube")
    return tmp_path


def run(*arguments: str) -> int:
    return cli._run(list(arguments))


@pytest.mark.parametrize(("unit", "said"), [("e/A^3", "electrons 2.0004"), ("e/bohr3", "electrons 13.5000")])
def test_info_and_export_take_the_unit(here, capsys, unit, said):
    for name in ("w.cube", "w.tar.gz::t.cube"):
        assert run("info", name, "--unit", unit) == 0
        out = capsys.readouterr().out
        assert said in out
        assert "unit-guessed" not in out
    assert run("export", "w.cube", "out_CHGCAR", "--unit", unit) == 0
    assert f"{read('out_CHGCAR').nelect:.2f}" in said


def test_without_it_every_verb_that_reads_says_so(here, capsys, caplog):
    assert run("check", "w.cube") == 0
    assert "unit-guessed" in capsys.readouterr().out
    assert "--unit e/bohr^3" in caplog.text


def test_it_goes_to_the_files_that_leave_their_unit_open(here, capsys):
    assert run("check", "w.cube", "x_CHGCAR", "--unit", "e/bohr^3") == 0
    assert "unit-guessed" not in capsys.readouterr().out
    assert run("compare", "w.cube", "x_CHGCAR", "--unit", "e/bohr^3") == 0
    assert "electrons 13.5000 and 13.5000" in capsys.readouterr().out
    assert run("plot", "w.cube", "x_CHGCAR", "-o", "x.png", "--unit", "e/bohr^3") == 0


@pytest.mark.parametrize("source", ["w.cube", "w.tar.gz", "."])
def test_convert_takes_it_and_never_mixes_two(here, capsys, source):
    assert run("convert", "-q", source, "my.ecd", "--unit", "e/A^3") == 0
    store = open_store("my.ecd")
    id = "t" if source == "w.tar.gz" else next(id for id in store.ids if "unit" in store[id].meta)
    assert store[id].nelect == pytest.approx(13.5 / FACTOR, rel=1e-4)
    assert "unit-guessed" not in store.index["flags"][store.ids.index(id)]
    assert run("convert", "-q", source, "my.ecd", "--unit", "e/A^3") == 0
    assert run("convert", "-q", source, "my.ecd", "--unit", "e/bohr^3") == 1
    assert "already, read in e/Å^3: write another store" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "x_CHGCAR"],
        ["info", "pbe"],
        ["info", "pbe", "MgO_rs"],
        ["check", "x_CHGCAR"],
        ["check", "pbe::MgO_rs"],
        ["export", "pbe::MgO_rs", "out.cube"],
        ["export", "x_CHGCAR", "out.cube"],
        ["plot", "pbe::MgO_rs", "-o", "x.png"],
        ["compare", "x_CHGCAR", "x_CHGCAR"],
    ],
)
def test_where_it_would_do_nothing_it_is_refused(here, arguments, capsys):
    assert run(*arguments, "--unit", "e/A^3") == 2
    assert "unit" in capsys.readouterr().err


@pytest.mark.parametrize("unit", ["", "e", "eV", "e/nm^3"])
def test_an_unknown_unit_is_refused(here, unit, capsys):
    for arguments in (
        ["info", "w.cube"],
        ["check", "w.cube"],
        ["convert", "w.cube", "my.ecd"],
        ["plot", "w.cube", "-o", "x.png"],
    ):
        assert run(*arguments, "--unit", unit) == 2
        assert "is not a unit of densities" in capsys.readouterr().err
    assert not Path("my.ecd").exists()
