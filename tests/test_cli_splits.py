"""The verb `split`: shares in both spellings, nothing replaced unasked, options that would do nothing refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecd_models import cli

MAKE = ["split", "make", "pbe"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECD_ROOT", raising=False)


def sizes(file: str) -> dict[str, int]:
    return {part: len(ids) for part, ids in json.loads(Path(file).read_text()).items() if part != "about"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["pbe", "--fractions", "0.6,0.2,0.2"],
        ["--fractions=0.6,0.2,0.2", "pbe"],
        ["pbe", "--fractions", "0.6", "0.2", "0.2"],
        ["--fractions", ".6", ".2", ".2", "pbe"],
    ],
)
def test_shares_are_taken_with_commas_and_in_a_row(arguments):
    assert cli._run(["split", "make", *arguments, "-o", "a.json"]) == 0
    assert cli._run([*MAKE, "--fractions", "0.6,0.2,0.2", "-o", "b.json"]) == 0
    assert Path("a.json").read_text() == Path("b.json").read_text()
    assert sizes("a.json")["train"] > 100


@pytest.mark.parametrize(
    "shares",
    [["0.8"], ["0.8", "0.2"], ["0.8,0.2"], ["a,b,c"], ["nan,1,0"], ["2,-1,0"], ["0.5,0.5,0.5"], ["1", "0", "x"]],
)
def test_other_shares_are_refused(shares, capsys):
    assert cli._run([*MAKE, "--fractions", *shares, "-o", "a.json"]) == 2
    assert not Path("a.json").exists()
    assert len(capsys.readouterr().err.strip().splitlines()) <= 2  # the embedded sample may be named


def test_a_file_that_is_there_is_replaced_only_when_told(capsys):
    Path("a.json").write_text("mine")
    assert cli._run([*MAKE, "-o", "a.json"]) == 2
    assert "a.json is there already: name another file, or say --force" in capsys.readouterr().err
    assert Path("a.json").read_text() == "mine"
    assert cli._run([*MAKE, "-o", "a.json", "--force"]) == 0
    assert sizes("a.json")["train"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--seed", "4"], "--seed belongs to"),
        (["--seed", "0"], "--seed belongs to"),
        (["--rule", "random"], "--rule belongs to"),
        (["--fractions", "0.8,0.1,0.1"], "--fractions belongs to"),
        (["--force", "-o", "a.json"], "-o, --force belong to"),
        (["pbe"], "takes no store"),
    ],
)
def test_options_that_do_nothing_for_a_task_are_refused(options, word, capsys):
    assert cli._run(["split", "ecd_hse", *options]) == 2
    assert word in capsys.readouterr().err


def test_a_part_is_of_a_task_alone(capsys):
    assert cli._run([*MAKE, "-o", "a.json", "--part", "train"]) == 2
    assert "--part prints a part of a task" in capsys.readouterr().err
    assert cli._run([*MAKE, "more", "-o", "a.json"]) == 2
    assert "takes one store, not 2" in capsys.readouterr().err


def test_one_formula_is_counted_in_the_singular(capsys):
    assert cli._run(["subset", "-q", "pbe", "one.ecd", "--id", "MgO_rs"]) == 0
    assert cli._run(["split", "make", "one.ecd", "-o", "a.json"]) == 2
    assert "has 1 formula, too few for 3 parts" in capsys.readouterr().err
