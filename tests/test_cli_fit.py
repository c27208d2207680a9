"""The verb `ecd fit`: the error that functions on atoms leave of a density."""

from __future__ import annotations

import json

import pytest

from ecd_data import open_store, read
from ecd_models import cli


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = cli._run(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_more_functions_leave_less_of_a_density(capsys, tmp_path):
    errors = {}
    for count in ("4", "10"):
        code, out, _ = run(
            capsys, "fit", "C_diamond", "--functions", count, "--json", "-o", str(tmp_path / "fit_CHGCAR")
        )
        assert code == 0
        errors[count] = json.loads(out)
    assert errors["10"]["error_percent"] < errors["4"]["error_percent"] < errors["4"]["start_error_percent"]
    assert errors["10"]["error_percent"] < 0.2
    assert read(tmp_path / "fit_CHGCAR").nelect == pytest.approx(open_store("pbe")["C_diamond"].nelect, rel=1e-4)


def test_the_atoms_of_a_model_are_a_start(capsys):
    code, out, _ = run(capsys, "fit", "C_diamond", "-m", "pair_density", "--functions", "4", "--lmax", "2")
    assert code == 0
    assert "superposed atoms: eps_mae" in out
    assert "36 coefficients an atom" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--functions", "0"), "functions = 0 must be at least 1"),
        (("--ridge", "0"), "positive"),
        (("--widest", "3", "--sharpest", "1"), "widest not above sharpest"),
    ],
)
def test_wrong_settings_are_usage_errors(capsys, words, said):
    code, _, err = run(capsys, "fit", "C_diamond", *words)
    assert code == 2
    assert said in err
