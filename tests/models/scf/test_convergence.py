"""The error of a self-consistency after each step: read from pw.x's output, counted to looser thresholds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ecd_models.cli import _run
from ecd_models.scf.bench import ATOMS, ORACLE
from ecd_models.scf.convergence import count_steps_to, format_convergence_table
from ecd_models.scf.gains import CrystalRuns
from ecd_models.scf.run_table import report_runs
from ecd_models.scf.saved_tables import load_runs
from ecd_models.scf.scf_runs import read_errors
from tests.models.scf.test_gains import crystal

OUTPUT = """     iteration #  1     ecut=    84.00 Ry     beta= 0.70
     estimated scf accuracy    <       0.86992629 Ry
     iteration #  2     ecut=    84.00 Ry     beta= 0.70
!    total energy              =    -902.41573588 Ry
     estimated scf accuracy    <          3.4E-09 Ry
"""
ERRORS = {ATOMS: [0.5 * 10.0**-k for k in range(9)], ORACLE: [1e-9], "model": [0.5 * 10.0**-k for k in range(2, 9)]}


def converge(id: str) -> CrystalRuns:
    """A crystal whose error falls by a decade a step: from 0.5 Ry from superposed atoms, 0.005 Ry from the model."""
    c = crystal(id, 7, 7.0)
    return replace(c, runs={name: replace(run, errors_Ry=tuple(ERRORS[name])) for name, run in c.runs.items()})


def test_errors_are_read_from_the_output():
    assert read_errors(OUTPUT) == (0.86992629, 3.4e-9)
    assert read_errors("") == ()


def test_steps_to_a_looser_threshold():
    run = converge("a").runs[ATOMS]
    assert count_steps_to(run, 2e-4) == 5
    assert count_steps_to(run, 2.0) == 1
    assert count_steps_to(run, 1e-12) is None


def test_the_table_has_rates_and_ratios(tmp_path, capsys):
    table = format_convergence_table([converge("a"), converge("b")])
    assert "| atoms | 2 | 5.0e-01 | 1.00 |" in table
    row = next(line for line in table.splitlines() if line.startswith("| model |"))
    first, rate, *shares = (cell.strip() for cell in row.split("|")[3:-1])
    assert (first, rate) == ("5.0e-03", "1.00")
    ratios, of_oracle = ([float(share) for share in shares[k::2]] for k in (0, 1))
    assert ratios == pytest.approx([3 / 5, 5 / 7, 7 / 9], abs=1e-3)
    assert of_oracle == pytest.approx([2 / 4, 2 / 6, 2 / 8], abs=1e-3)
    (tmp_path / "runs.json").write_text(json.dumps(report_runs([converge("a")], {})))
    assert load_runs([tmp_path / "runs.json"])[0].runs["model"].errors_Ry == tuple(ERRORS["model"])
    assert _run(["scf", "table", str(tmp_path / "runs.json"), "--convergence"]) == 0
    assert "decades a step" in capsys.readouterr().out


def test_runs_without_recorded_errors_have_no_row():
    assert "model" not in format_convergence_table([crystal("a", 5, 5.0)])
