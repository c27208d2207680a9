"""What a start saves, from runs with known steps and times."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ecd_data.errors import UsageError
from ecd_models.cli import _run
from ecd_models.scf.bench import ATOMS, ORACLE, ScfRun
from ecd_models.scf.gains import CrystalRuns, measure_gain, measure_gains
from ecd_models.scf.run_table import format_table, report_runs


def run(name: str, steps: int | None, seconds: float, before: float = 0.0, energy: float = -1.0) -> ScfRun:
    return ScfRun(name, steps, (steps or 9,), seconds, 2 * seconds, before, 2 * before, energy, 0.01, 0.0, {})


def crystal(id: str, steps: int | None, seconds: float, before: float = 0.0, energy: float = -1.0) -> CrystalRuns:
    """Ten steps and 10 s from atoms, two and 2 s from the converged density; the rest as given."""
    runs = [run(ATOMS, 10, 10.0), run(ORACLE, 2, 2.0, 0.5), run("model", steps, seconds, before, energy)]
    return CrystalRuns(id, {"b": "Si2", "c": "C2"}.get(id, "Mg2O2"), 2, {r.name: r for r in runs})


def test_a_gain_is_what_its_words_say():
    gain = measure_gain("model", [crystal("a", 5, 5.0, 1.0), crystal("b", 10, 9.0, 2.0)])
    assert gain.achieved.mean == pytest.approx(0.75)
    assert gain.achieved.std == pytest.approx(0.25)
    assert gain.optimal.mean == pytest.approx(0.1)
    assert gain.time_saved.mean == pytest.approx((0.4 - 0.1) / 2)
    assert gain.total_time_saved == pytest.approx(1 - 17 / 20)
    assert gain.slowed == 0.5
    assert gain.oracle_share is not None
    assert gain.oracle_share.mean == pytest.approx(3 / 16)
    assert gain.oracle_steps is not None
    assert gain.oracle_steps.mean == pytest.approx(5 / 16)
    assert gain.oracle_iterations is None  # these runs have no counts
    assert gain.time_saved.low is not None
    assert gain.time_saved.low <= gain.time_saved.mean <= gain.time_saved.high


def test_the_share_of_the_iterations_is_that_of_their_sums():
    counts = {ATOMS: 30.0, ORACLE: 10.0, "model": 25.0}
    c = crystal("a", 5, 5.0)
    c = replace(c, runs={name: replace(run, iterations=counts[name]) for name, run in c.runs.items()})
    share = measure_gain("model", [c, c]).oracle_iterations
    assert share is not None
    assert share.mean == pytest.approx(5 / 20)


def test_shares_do_not_depend_on_the_unit_of_time():
    crystals = [crystal("a", 5, 5.0, 1.0), crystal("b", 10, 9.0, 2.0)]
    wall, cpu = (measure_gain("model", crystals, clock) for clock in ("wall", "cpu"))
    assert cpu.time_saved == wall.time_saved
    assert cpu.oracle_share == wall.oracle_share


def test_the_oracle_itself_has_the_whole_gain():
    crystals = [crystal("a", 5, 5.0), crystal("b", 7, 7.0)]
    gain = measure_gain(ORACLE, [replace(c, runs={**c.runs, ORACLE: run(ORACLE, 2, 2.0)}) for c in crystals])
    assert gain.oracle_share is not None
    assert gain.oracle_share.mean == gain.oracle_share.low == pytest.approx(1.0)


def test_runs_that_did_not_converge_are_slow_and_no_ratio():
    gain = measure_gain("model", [crystal("a", 5, 5.0), crystal("b", None, 50.0)])
    assert gain.ids == ("a",)
    assert gain.missing == ("b",)
    assert gain.slowed == 0.5
    assert gain.achieved.mean == pytest.approx(0.5)
    with pytest.raises(UsageError, match="nothing to compare"):
        measure_gain("model", [crystal("b", None, 50.0)])


def test_a_single_crystal_has_no_interval():
    gain = measure_gain("model", [crystal("a", 5, 5.0)])
    assert gain.time_saved.low is None
    assert str(gain.time_saved) == "0.500"


def test_the_interval_draws_compounds_with_all_their_crystals():
    cells = [
        replace(crystal(str(k), 5 + k, 5.0), formula=formula) for k, formula in enumerate(["SiC", "Si2C2", "Si4C4"])
    ]
    assert measure_gain("model", cells).achieved_interval.low is None  # three cells of one compound
    other = replace(crystal("other", 10, 10.0), formula="MgO")
    found = measure_gain("model", [*cells, other]).achieved_interval
    assert (found.low, found.high) == (pytest.approx(0.6), pytest.approx(1.0))  # one of the two is often drawn twice


def test_another_state_is_told():
    crystals = [crystal("a", 5, 5.0, energy=-1.0 - 1e-6), crystal("b", 5, 5.0, energy=-1.01)]
    assert measure_gain("model", crystals).other_state == ("b",)
    assert "ended in another state: b" in format_table(crystals)


def test_an_unknown_clock_is_refused():
    with pytest.raises(UsageError, match="wall or cpu"):
        measure_gain("model", [crystal("a", 5, 5.0)], "sun")


def test_an_unknown_clock_is_refused_before_anything_is_run(tmp_path, capsys):
    command = ["scf", "run", "pbe", "--id", "Si_diamond", "--pwx", str(tmp_path / "no-pw.x"), "--clock", "CPU"]
    assert _run(command) == 2
    assert "wall or cpu, not 'CPU'" in capsys.readouterr().err


def test_few_compounds_make_wider_intervals():
    """Six compounds and thirty with the same scatter, in units of the interval that many compounds have."""
    crystals = [replace(crystal("a", 4 + n % 6, 5.0), formula=f"Mg{2 * n + 1}O2") for n in range(30)]
    for count, least, most in ((6, 1.2, 1.6), (30, 1.0, 1.12)):
        interval = measure_gain("model", crystals[:count]).achieved_interval
        assert interval.low is not None
        assert interval.high is not None
        spread = np.std([0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
        assert least < (interval.high - interval.low) / (2 * 1.96 * spread / count**0.5) < most


def test_the_report_is_json_with_every_run_and_gain():
    crystals = [crystal("a", 5, 5.0, 1.0), crystal("b", None, 9.0, 2.0)]
    said = json.loads(json.dumps(report_runs(crystals, {"conv_thr_Ry": 1e-8})))
    assert said["crystals"]["a"]["runs"]["model"]["steps"] == 5
    assert {gain["name"] for gain in said["gains"]["wall"]} == {ORACLE, "model"}
    assert [gain.name for gain in measure_gains(crystals)] == [ORACLE, "model"]
    table = format_table([*crystals, replace(crystals[0], id="c", failed={"other": "why"})])
    assert "b: model did not converge" in table
    assert "c: no run from other: why" in table
