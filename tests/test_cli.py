"""The command line: exit codes, one sentence and no traceback for every mistake, and no torch for data."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import ecd_data
from ecd_data import Store, read, write
from ecd_models import cli
from tests.conftest import smooth_density


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a good file, a cut one, and a store, as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECD_ROOT", raising=False)
    rho = smooth_density(spin=True)
    write("CHGCAR_good", replace(rho, values=rho.values * (23 / rho.nelect)))  # of 28
    Path("CHGCAR_cut").write_bytes(Path("CHGCAR_good").read_bytes()[:2000])
    Path("junk.pt").write_text("junk")
    Path("junk.safetensors").write_bytes(b"\xff" * 64)
    Path("broken.toml").write_text('steps = "x')
    Path("typo.toml").write_text("stepz = 3")
    Path("device.toml").write_text('out = "run"\ndevice = "nothing"')
    Path("rate.toml").write_text('out = "run"\nlr = -1.0')
    Path("seed.toml").write_text('out = "run"\nseed = -1')
    Path("folder").mkdir()
    assert run("convert", "-q", "CHGCAR_good", "my.ecd") == 0
    return tmp_path


def run(*arguments: str) -> int:
    return cli._run([str(a) for a in arguments])


DATA = {
    ("info", "nothing"): 1,
    ("info", "CHGCAR_cut"): 1,
    ("info", "folder"): 1,
    ("info", "my.ecd", "goot"): 1,
    ("info", "mp"): 2,
    ("check", "nothing.gz", "CHGCAR_good"): 1,
    ("check", "folder"): 1,
    ("convert", "CHGCAR_good"): 2,
    ("convert", "nothing", "new.ecd"): 2,
    ("convert", "folder", "new.ecd"): 2,
    ("convert", "CHGCAR_good", "CHGCAR_cut"): 2,
    ("convert", "CHGCAR_good", "/proc/new.ecd"): 1,
    ("convert", "CHGCAR_good", "."): 2,
    ("convert", "CHGCAR_good", "out.cube"): 2,
    ("convert", "CHGCAR_good", "new_CHGCAR"): 2,
    ("convert", "CHGCAR_good", "all.tar.gz"): 2,
    ("convert", "CHGCAR_good", "a::b.ecd"): 2,
    ("convert", "nothing*", "new.ecd"): 2,
    ("convert", "fold??", "new.ecd"): 2,
    ("subset", "my.ecd", "out.json"): 2,
    ("convert", "--bound", "7", "CHGCAR_good", "new.ecd"): 2,
    ("convert", "--bound", "x", "CHGCAR_good", "new.ecd"): 2,
    ("convert", "--pipeline", "zip", "CHGCAR_good", "new.ecd"): 2,
    ("export", "good"): 2,
    ("info", "nothing::good"): 1,
    ("export", "goot", "CHGCAR_out", "--store", "my.ecd"): 1,
    ("export", "x.gz", "CHGCAR_out"): 1,
    ("export", "folder", "CHGCAR_out"): 2,
    ("view", "CHGCAR_good"): 2,
    ("view", "CHGCAR_good", "-o", "x.png"): 2,
    ("view", "CHGCAR_good", "-o", "folder"): 2,
    ("view", "CHGCAR_good", "-o", "absent/x.html"): 2,
    ("view", "folder", "-o", "x.html"): 2,
    ("view", "CHGCAR_cut", "-o", "x.html"): 1,
    ("view", "CHGCAR_goot", "-o", "x.html"): 1,
    ("view", "goot", "--store", "my.ecd", "-o", "x.html"): 1,
    ("view", "CHGCAR_good", "MgO_rs", "-o", "x.html"): 1,
    ("view", "CHGCAR_good", "my.ecd::good", "-m", "charge3net-sample", "-o", "x.html"): 2,
    ("view", "CHGCAR_good", "--unit", "e/A^3", "-o", "x.html"): 2,
    ("compare", "CHGCAR_good"): 2,
    ("compare", "CHGCAR_good", "x.gz"): 1,
    ("compare", "CHGCAR_good", "CHGCAR_good", "--aeccar", "CHGCAR_good"): 2,
    ("compare", "CHGCAR_good", "CHGCAR_good", "--bader", "--aeccar", "AECCAR0"): 1,
    ("compare", "CHGCAR_good", "CHGCAR_cut"): 1,
    ("compare", "CHGCAR_good", "MgO_rs"): 1,
    ("compare", "good", "goot", "--store", "my.ecd"): 1,
    ("compare", "CHGCAR_good", "my.ecd::good", "-o", "CHGCAR_out"): 2,
    ("compare", "CHGCAR_good", "my.ecd::good", "-o", "diff.txt"): 2,
    ("compare", "CHGCAR_good", "my.ecd::good", "-o", "nowhere/diff_CHGCAR"): 2,
    ("check", "my.ecd", "--pair", "pbe"): 2,
    ("export", "good", "CHGCAR_out", "--store", "nothing"): 1,
    ("export", "good", "out.txt", "--store", "my.ecd"): 2,
    ("export", "good", "nowhere/CHGCAR", "--store", "my.ecd"): 2,
    ("export", "good", "folder", "--store", "my.ecd"): 2,
    ("export", "good", "/proc/CHGCAR", "--store", "my.ecd"): 1,
    ("export", "good", "CHGCAR_out", "--store", "my.ecd", "--grid", "0", "4", "4"): 2,
    ("export", "good", "CHGCAR_out", "--store", "my.ecd", "--grid", "9999", "9999", "9999"): 2,
    ("split", "nothing"): 2,
    ("split", "ecd_hse", "--part", "nothing"): 2,
    ("leakage", "nothing"): 2,
    ("leakage", "sample_pbe"): 2,
    ("dft", "run", "one"): 2,
    ("dft", "run", "nothing.cif", "new.ecd"): 2,
    ("bogus",): 2,
    ("info", "--bogus", "x"): 2,
    ("info",): 2,
    ("check",): 2,
}
MODELS = {
    ("train", "nothing.toml"): 2,
    ("train", "broken.toml"): 2,
    ("train", "typo.toml"): 2,
    ("train", "folder"): 2,
    ("train", "seed.toml", "--set", "foo=1"): 2,
    ("plot", "x.gz", "-o", "x.png"): 1,
    ("plot", "folder", "-o", "x.png"): 2,
    ("plot", "good", "CHGCAR_good", "-o", "x.png", "-m", "junk.pt", "--store", "my.ecd"): 2,
    ("plot", "CHGCAR_good", "-o", "x.png", "--plane", "d"): 2,
    ("plot", "CHGCAR_good", "-o", "x.png", "--scale", "cubic"): 2,
    ("plot", "CHGCAR_good", "-o", "x.png", "--at", "nan"): 2,
    ("plot", "CHGCAR_good", "MgO_rs", "-o", "x.png"): 1,
    ("train", "device.toml"): 2,
    ("train", "rate.toml"): 2,
    ("train", "seed.toml"): 2,
    ("predict", "CHGCAR_good", "-m", "CHGCAR_good", "-o", "CHGCAR_p", "--grid", "4", "4", "4"): 1,
    ("predict", "CHGCAR_good", "-m", "junk.pt", "-o", "out.txt", "--grid", "4", "4", "4"): 2,
    ("plot", "good", "-m", "nothing", "-o", "x.foo", "--store", "my.ecd"): 2,
    ("predict", "nothing", "-m", "junk.pt", "-o", "CHGCAR_p", "--grid", "4", "4", "4"): 1,
    ("predict", "CHGCAR_good", "-m", "nothing", "-o", "CHGCAR_p", "--grid", "4", "4", "4"): 2,
    ("predict", "CHGCAR_good", "-m", "junk.pt", "-o", "CHGCAR_p", "--grid", "4", "4", "4"): 1,
    ("predict", "CHGCAR_good", "-m", "junk.safetensors", "-o", "CHGCAR_p", "--like", "CHGCAR_good"): 1,
    ("predict", "CHGCAR_good", "-m", "junk.pt", "-o", "CHGCAR_p"): 2,
    ("predict", "CHGCAR_good", "-m", "junk.pt", "-o", "nowhere/CHGCAR", "--grid", "4", "4", "4"): 2,
    ("evaluate", "pbe", "-m", "nothing"): 2,
    ("evaluate", "pbe", "-m", "junk.pt", "-o", "nowhere/x.json"): 2,
    ("evaluate", "pbe", "-m", "charge3net-sample", "--part", "train", "--part", "test", "-o", "x.json"): 2,
    ("plot", "nothing", "-m", "junk.pt", "-o", "x.png"): 1,
    ("plot", "good", "-m", "nothing", "-o", "x.png", "--store", "my.ecd"): 2,
}


@pytest.mark.parametrize("arguments", [*DATA, *MODELS], ids=" ".join)
def test_every_mistake_is_one_sentence_with_its_exit_code(here, capsys, arguments):
    before = sorted(p.name for p in here.rglob("*"))
    if arguments[0] in ("train", "predict", "evaluate", "plot"):
        pytest.importorskip("torch")
    assert run(*arguments) == (DATA | MODELS)[arguments]
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    if (
        arguments[0] == "check" and len(arguments) > 1 and (DATA | MODELS)[arguments] == 1
    ):  # its verdicts are its output
        assert out.count("\n") == len(arguments) - 1
    else:
        assert err.startswith("ecd: ")
        assert err.count("\n") == 1
        assert len(err) > 25
    assert sorted(p.name for p in here.rglob("*")) == before


def test_several_parts_are_judged_one_after_the_other(here, capsys):
    pytest.importorskip("torch")
    parts = ("--part", "test_pairs", "--part", "test_types")
    assert run("evaluate", "ood", "-m", "charge3net-sample", *parts, "--limit", "1", "-q") == 0
    lines = capsys.readouterr().out.splitlines()
    titles = [line for line in lines if line.startswith("ood ")]
    assert [line.split(",")[0] for line in titles] == ["ood test_pairs", "ood test_types"]
    assert all("of the sample" in line for line in titles)
    assert sum(line.startswith("charge3net-sample ") for line in lines) == 2


def test_conversion_names_what_it_left_out(here, capsys):
    assert run("convert", "-q", "CHGCAR_good", "CHGCAR_cut", "new.ecd") == 1
    out, err = capsys.readouterr()
    assert err.startswith("left out: CHGCAR_cut: ")
    assert err.count("\n") == 1
    assert "1 added" in out
    assert "1 left out" in out
    assert Store("new.ecd").ids == ["good"]
    assert run("convert", "-q", "CHGCAR_good", "new.ecd") == 0
    assert "0 added, 1 there already, 0 left out" in capsys.readouterr().out


def test_data_verbs_do_what_they_say(here, capsys):
    assert run("info", "my.ecd") == 0
    assert "1 crystals" in capsys.readouterr().out
    assert run("info", "my.ecd", "good") == 0
    assert "lattice" in capsys.readouterr().out
    assert run("info", "CHGCAR_good") == 0
    assert "electrons" in capsys.readouterr().out
    assert run("check", "CHGCAR_good") == 0
    assert capsys.readouterr().out == "CHGCAR_good: ok (spin)\n"
    assert run("export", "good", "CHGCAR_out", "--store", "my.ecd", "--grid", "6", "8", "10") == 0
    assert read("CHGCAR_out").shape == (6, 8, 10)
    assert run("split", "ecd_hse") == 0
    assert run("split", "ecd_hse", "--part", "test") == 0
    assert run("leakage", "ecd_pbe_hse") == 0
    assert "975" in capsys.readouterr().out


NOT_THERE = {
    ("info", "nofile"): "nofile was not found",
    ("info", "CHGCAR_gut"): "near: CHGCAR_cut, CHGCAR_good",
    ("info", "nowhere/CHGCAR"): "there is no folder nowhere",
    ("info", "folder"): "folder is not a store, it has no index.parquet",
    ("info", "nothing.ecd::good"): "nothing.ecd is not a store, there is nothing of this name",
    ("export", "x.gz", "CHGCAR_out"): "x.gz was not found",
    ("plot", "run/CHGCAR", "-o", "x.png"): "run/CHGCAR was not found",
    ("plot", "MgO_sr", "-o", "x.png"): "no such id in pbe (near: MgO_rs",
    ("compare", "nothing", "CHGCAR_good"): "there is no such file here and no such id in pbe",
    ("verify", "nothing"): "nothing is not a store, there is nothing of this name",
}


@pytest.mark.parametrize("arguments", NOT_THERE, ids=" ".join)
def test_what_is_not_there_is_not_found_where_it_was_meant(here, capsys, arguments):
    assert run(*arguments) == 1
    err = capsys.readouterr().err
    assert NOT_THERE[arguments] in err
    assert arguments[0] == "compare" or "sample/pbe.ecd" not in err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("foo=1", "the setting 'foo=1' has an unknown key 'foo'"),
        ("step=5", "the setting 'step=5' has an unknown key 'step'; did you mean 'steps'"),
        ("steps=many", "the setting 'steps=many' has steps = 'many' where int is due"),
        ("options=3", "the setting 'options=3' has options = 3"),
    ],
)
def test_a_wrong_setting_is_blamed_and_not_the_file(here, capsys, setting, words):
    pytest.importorskip("torch")
    Path("good.toml").write_text('out = "run"')
    assert run("train", "good.toml", "--set", setting) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "good.toml" not in err
    Path("typo.toml").write_text("stepz = 3")
    assert run("train", "good.toml", "typo.toml", "--set", "steps=2") == 2
    err = capsys.readouterr().err
    assert "typo.toml has an unknown key" in err
    assert "good.toml" not in err


def test_an_export_takes_files_too_and_says_what_it_wrote(here, capsys):
    assert run("export", "good", "CHGCAR_out", "--store", "my.ecd", "--grid", "6", "8", "10") == 0
    assert "6x8x10" in capsys.readouterr().out
    assert run("export", "CHGCAR_out", "out.cube") == 0
    assert "6x8x10" in capsys.readouterr().out
    assert run("export", "my.ecd::good", "again_CHGCAR.gz") == 0
    assert read("again_CHGCAR.gz").shape == read("CHGCAR_good").shape
    Path("good").write_bytes(Path("CHGCAR_out").read_bytes())  # an id of the store that is a file as well
    assert run("export", "good", "one_CHGCAR", "--store", "my.ecd") == 0
    assert run("export", "good", "two_CHGCAR") == 0
    assert [read(f"{name}_CHGCAR").shape for name in ("one", "two")] == [(12, 10, 15), (6, 8, 10)]


def test_an_export_says_that_a_cube_has_no_magnetization(here, capsys):
    write("spin_CHGCAR", smooth_density(spin=True))
    assert run("export", "spin_CHGCAR", "out_CHGCAR") == 0
    assert capsys.readouterr().out.rstrip().endswith("electrons, spin)")
    assert run("export", "spin_CHGCAR", "out.cube") == 0
    said = capsys.readouterr().out
    assert "spin)" not in said
    assert "its magnetization is left out" in said
    assert read("out.cube").magnetization is None


def test_two_densities_are_compared(here, capsys):
    assert run("export", "good", "CHGCAR_out", "--store", "my.ecd", "--grid", "14", "8", "10") == 0
    capsys.readouterr()
    assert run("compare", "CHGCAR_out", "good", "--store", "my.ecd", "-o", "diff_CHGCAR") == 0
    out = capsys.readouterr().out
    for word in ("eps_mae ", "electrons ", "largest difference ", "compared on 14x10x15", "diff_CHGCAR: "):
        assert word in out
    assert Path("diff_CHGCAR").read_text().startswith("difference: CHGCAR_out - good")
    assert run("compare", "CHGCAR_good", "my.ecd::good", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["eps_mae_percent"] < 1e-3
    assert len(told["electrons"]) == len(told["largest_at"]) - 1 == 2


def test_pictures_of_files_and_ids(here, capsys):
    pytest.importorskip("matplotlib")
    for number, sources in enumerate([("CHGCAR_good",), ("CHGCAR_good", "my.ecd::good"), ("MgO_rs",)]):
        assert run("plot", *sources, "-o", f"{number}.png") == 0
        assert Path(f"{number}.png").stat().st_size > 5000
    assert run("plot", "good", "--store", "my.ecd", "-o", "x.svg", "--plane", "a", "--at", "0.3", "--scale", "log") == 0
    write("CHGCAR_big", replace(read("CHGCAR_good"), values=40 * read("CHGCAR_good").values))
    capsys.readouterr()
    assert run("plot", "CHGCAR_big", "CHGCAR_good", "-o", "big.png") == 0
    out = capsys.readouterr().out
    assert "note: the electron counts differ" in out
    assert "note: CHGCAR_big: " in out
    assert "above the colours" in out


def test_a_crystal_without_a_partner_is_not_a_bad_one(here, capsys):
    write("CHGCAR_alone", read("CHGCAR_good"))
    assert run("check", "my.ecd", "CHGCAR_alone", "--pair", "my.ecd") == 0
    out = capsys.readouterr().out
    assert "my.ecd::good: ok (spin, frozen-density)" in out
    assert "CHGCAR_alone: ok (spin, pair-missing" in out
    assert run("check", "CHGCAR_alone", "--pair", "my.ecd") == 2
    assert "none of the 1 densities has a partner in my.ecd" in capsys.readouterr().err


def test_the_status_of_a_fetch_that_was_not_begun(here, capsys):
    assert run("fetch", "--status", "new.ecd") == 0
    assert "no fetch was started" in capsys.readouterr().out
    assert run("fetch", "--status", "my.ecd") == 0
    assert run("fetch", "--status", "folder") == 2
    assert run("fetch", "--status", "CHGCAR_good") == 2


def test_a_computation_is_refused_before_its_engine_is_looked_for(here, capsys, monkeypatch):
    monkeypatch.setenv("ECD_PWX", str(here / "no-such-program"))
    for arguments in (
        ("nothing.cif", "new.ecd"),
        ("CHGCAR_good", "new.ecd", "-f", "lda"),
        ("CHGCAR_good", "new.ecd", "--kspacing", "7"),
        ("CHGCAR_good", "new.ecd", "--steps", "nscf"),
        ("CHGCAR_good", "new.ecd", "--spin", "--no-smearing"),
        ("CHGCAR_good", "new.ecd", "--engine", "abinit"),
        ("CHGCAR_good", "new.ecd", "-p", "0"),
    ):
        assert run("dft", "run", *arguments) == 2, arguments
        assert "no-such-program" not in capsys.readouterr().err
    assert run("dft", "run", "CHGCAR_good", "new.ecd") == 1
    assert "no-such-program" in capsys.readouterr().err
    assert not Path("new.ecd").exists()


def test_help_and_no_arguments(here, capsys):
    assert run("--help") == 0
    assert "convert" in capsys.readouterr().out
    assert run() == 2


def test_what_is_not_foreseen_is_one_sentence_unless_asked_for(here, capsys, monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr("ecd_data.checks.verdicts.check", broken)
    assert run("check", "CHGCAR_good") == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: first second" in err
    assert err.count("\n") == 1
    monkeypatch.setenv("ECD_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run("check", "CHGCAR_good")


def test_a_full_disk_and_an_interruption(here, capsys, monkeypatch):
    for error, code, word in [
        (OSError(28, "No space left on device", "x.ecd"), 1, "free some space"),
        (KeyboardInterrupt(), 130, "the same command continues"),
        (MemoryError("8 TB"), 1, "memory"),
    ]:

        def failing(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("ecd_data.convert", failing)
        assert run("convert", "-q", "CHGCAR_good", "new.ecd") == code
        assert word in capsys.readouterr().err


def test_the_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"ecd {ecd_data.__version__}\n"


def test_data_verbs_do_not_import_torch(here):
    code = (
        "import sys; from ecd_models.cli import _run\n"
        "for line in sys.argv[1:]: assert _run(line.split()) == 0, line\n"
        "heavy = {'torch', 'e3nn', 'matplotlib', 'ase'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    lines = ["info my.ecd", "info CHGCAR_good", "check CHGCAR_good", "convert -q CHGCAR_good new.ecd"]
    lines += ["export good CHGCAR_out --store new.ecd", "split ecd_hse", "leakage ecd_pbe_hse"]
    done = subprocess.run([sys.executable, "-c", code, *lines], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_option_of_several_values_may_be_given_several_times(here):
    assert run("-q", "subset", "my.ecd", "part.ecd", "--id", "good", "--id", "good") == 0
