"""Tables of gaps and of runs from known values, read back from their JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations

import pytest

from ecd_data import Crystal, open_store
from ecd_data.errors import FormatError, UsageError
from ecd_models.cli import _run
from ecd_models.evaluation.paper import read_paper
from ecd_models.scf.bench import ATOMS, ORACLE
from ecd_models.scf.crystal_loop import Report
from ecd_models.scf.doubts import replace_doubtful
from ecd_models.scf.energies import CrystalEnergies, EnergyError
from ecd_models.scf.energy_table import report_energies
from ecd_models.scf.gains import CrystalRuns
from ecd_models.scf.gap_table import format_gap_table, format_gaps, read_gap_report, report_gaps
from ecd_models.scf.gaps import HSE, SCF, CrystalGaps, Gap, measure_error
from ecd_models.scf.measured_gaps import (
    find_hse_gap,
    find_hse_mesh,
    find_measured_gap,
    make_gap_jobs,
    read_measured_gaps,
)
from ecd_models.scf.run_table import format_gain_table, format_run_table, format_table, list_origins, report_runs
from ecd_models.scf.saved_tables import load_runs
from tests.models.scf.test_gains import crystal

SILICON = CrystalGaps("Si", "Si2", 1.2, {SCF: Gap(0.6, 2.0, 2.0), "model": Gap(0.7, 1.0, 1.0), HSE: Gap(1.1, None, 9)})
GERMANIUM = CrystalGaps("Ge", "Ge2", 0.7, {SCF: Gap(0.0, 2.0, 2.0), "model": Gap(0.1, 1.0, 1.0)}, {"other": "why"})


def test_errors_are_mean_absolute_differences():
    assert measure_error([SILICON, GERMANIUM], SCF) == pytest.approx(0.65)
    assert measure_error([SILICON, GERMANIUM], HSE) == pytest.approx(0.1)
    with pytest.raises(UsageError, match="nothing to compare"):
        measure_error([GERMANIUM], HSE)


def test_the_table_has_own_and_common_crystals_and_what_the_paper_reports():
    table = format_gap_table([SILICON, GERMANIUM])
    assert f"| {SCF} | 2 | 0.65 | 0.60 | - | 2.0 |" in table
    assert "| model | 2 | 0.55 | 0.50 | 0.100 | 1.0 |" in table
    assert f"| {HSE} | 1 | 0.10 | 0.10 | - | 9.0 |" in table
    assert "Without a gap in PBE, counted as 0: Ge." in table
    assert "Ge: no gap from other: why" in table
    assert all(f"| {row[0]} | {row[1]} | {row[2]:.2f} |" in table for row in read_paper()["table5"]["rows"])
    assert "| Ge | 0.70 | 0.00 | 0.10 |  |" in format_gaps([SILICON, GERMANIUM])


def test_doubts_are_not_left_out_in_silence(tmp_path, capsys):
    file = tmp_path / "runs.json"
    file.write_text(json.dumps(report_runs([crystal("a", 5, 5.0)], {})))
    assert _run(["scf", "table", str(file), "--convergence"]) == 0
    assert _run(["scf", "table", str(file), "--convergence", "--apply-doubts"]) == 2
    assert "leave --apply-doubts out" in capsys.readouterr().err


def test_gaps_come_back_from_their_json():
    data = json.loads(json.dumps(report_gaps(Report([SILICON, GERMANIUM]))))
    assert read_gap_report(data) == [SILICON, GERMANIUM]
    assert data["mae_eV"][SCF] == pytest.approx(0.65)


def test_the_verb_prints_gaps_of_several_files_and_draws_them(tmp_path, capsys):
    for name, crystals in {"one": [SILICON], "two": [GERMANIUM, SILICON]}.items():
        (tmp_path / name).write_text(json.dumps(report_gaps(Report(crystals))))
    files = [str(tmp_path / name) for name in ("one", "two")]
    assert _run(["scf", "table", *files, "--every"]) == 0
    printed = capsys.readouterr().out
    assert f"| {SCF} | 2 | 0.65 |" in printed
    assert "| Ge | 0.70 |" in printed
    assert _run(["scf", "figure", *files, "-o", str(tmp_path / "gaps.png"), "--method", SCF, "--method", HSE]) == 0
    assert (tmp_path / "gaps.png").stat().st_size > 5000
    (tmp_path / "none").write_text("[]")
    for command in (
        ["table", str(tmp_path / "none")],
        ["figure", str(tmp_path / "none"), "-o", str(tmp_path / "x.png")],
    ):
        assert _run(["scf", *command]) == 1
        assert "none" in capsys.readouterr().err


def test_gaps_and_energies_of_other_settings_are_not_put_together(tmp_path, capsys):
    def write(name: str, record: dict) -> str:
        (tmp_path / name).write_text(json.dumps(record))
        return str(tmp_path / name)

    other = replace(SILICON, gaps={SCF: Gap(0.9, 2.0, 2.0), "other": Gap(0.91, 1.0, 1.0)})
    files = [write(str(n), report_gaps(Report([c]))) for n, c in enumerate((SILICON, other))]
    assert _run(["scf", "table", *files]) == 2
    assert "Si has a self-consistent gap of PBE of 0.6000 eV in one file and of 0.9000 eV" in capsys.readouterr().err
    errors = [{ATOMS: EnergyError(0.1, energy, None, 1.0)} for energy in (0.3, 0.4)]
    crystals = [CrystalEnergies("Si", "Si2", 2, False, (), 0.0, one) for one in errors]
    files = [write(f"e{n}", report_energies(Report([c]))) for n, c in enumerate(crystals)]
    assert _run(["scf", "table", *files]) == 2
    assert "Si has an error of superposed atoms of 0.3000 eV in one file" in capsys.readouterr().err


def test_files_of_different_verbs_are_not_put_together(tmp_path, capsys):
    energies = CrystalEnergies("Si", "Si2", 2, False, (), 0.0, {ATOMS: EnergyError(0.1, 0.3, None, 1.0)})
    records = {
        "run": report_runs([crystal("a", 5, 5.0)], {"conv_thr_Ry": 1e-8}),
        "gaps": report_gaps(Report([SILICON])),
        "energies": report_energies(Report([energies])),
    }
    for verb, record in records.items():
        (tmp_path / verb).write_text(json.dumps(record))
    for first, second in permutations(records, 2):
        assert _run(["scf", "table", str(tmp_path / first), str(tmp_path / second)]) == 1
        assert f"{tmp_path / second} is no file that `ecd scf {first} -o` wrote" in capsys.readouterr().err


def test_what_failed_in_any_file_is_told(tmp_path, capsys):
    for name, c in {"one": GERMANIUM, "two": replace(GERMANIUM, failed={})}.items():
        (tmp_path / name).write_text(json.dumps(report_gaps(Report([c]))))
    assert _run(["scf", "table", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    assert "Ge: no gap from other: why" in capsys.readouterr().out


def test_the_task_has_the_compounds_of_all_stores():
    jobs = make_gap_jobs(["exp"])
    assert len(jobs) == len({job.id for job in jobs}) == 54
    assert all(job.id in read_measured_gaps() for job in jobs)
    assert [job.id for job in make_gap_jobs(["exp"], ids=["ZnSe_zb", "MgO_rs"])] == ["ZnSe_zb", "MgO_rs"]
    with pytest.raises(UsageError, match="no crystal of the sample with a measured gap"):
        make_gap_jobs(["exp"], ids=["Al_fcc"])


def test_a_file_that_is_called_like_a_crystal_of_the_sample_does_not_get_its_gaps() -> None:
    store = open_store("pbe")
    silicon, oxide = store.crystal("Si_diamond"), store.crystal("MgO_rs")
    assert find_measured_gap("Si_diamond", silicon) == pytest.approx(1.17)
    strained = Crystal(1.01 * silicon.lattice, silicon.numbers, silicon.frac_coords)
    assert find_measured_gap("Si_diamond", strained) == pytest.approx(1.17)
    assert find_measured_gap("Si_diamond", oxide) is None
    assert find_hse_gap("Si_diamond", silicon) is not None
    assert find_hse_mesh("Si_diamond", silicon) == (6, 6, 6)
    for other in (oxide, strained):
        assert find_hse_gap("Si_diamond", other) is None
        assert find_hse_mesh("Si_diamond", other) is None


def test_runs_of_several_files_are_put_together(tmp_path, capsys):
    first, second = crystal("a", 5, 5.0), crystal("b", 7, 7.0)
    other = replace(first, runs={ATOMS: first.runs[ATOMS], "other": replace(first.runs["model"], name="other")})
    for name, crystals in {"one": [first], "two": [second, other]}.items():
        (tmp_path / name).write_text(json.dumps(report_runs(crystals, {"conv_thr_Ry": 1e-8})))
    found = load_runs([tmp_path / "one", tmp_path / "two"])
    assert [c.id for c in found] == ["a", "b"]
    assert set(found[0].runs) == {ATOMS, "converged", "model", "other"}
    assert _run(["scf", "table", str(tmp_path / "one"), str(tmp_path / "two"), "--every"]) == 0
    printed = capsys.readouterr().out
    assert "| model | 2 |" in printed
    assert "| a | model | 1.00 | 5 | 0.500 | 5.0 | 0.500 |" in printed


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
    (tmp_path / "one").write_text(json.dumps(report_runs([crystal("a", 5, 5.0)], {"conv_thr_Ry": 1e-8})))
    (tmp_path / "two").write_text(json.dumps(report_runs([crystal("b", 5, 5.0)], {"conv_thr_Ry": 1e-6})))
    again = crystal("a", 5, 5.0)
    again = replace(again, runs={**again.runs, ATOMS: replace(again.runs[ATOMS], cpu_seconds=1.0)})
    (tmp_path / "three").write_text(json.dumps(report_runs([again], {"conv_thr_Ry": 1e-8})))
    (tmp_path / "none").write_text("{}")
    for name, error, words in [
        ("two", UsageError, "other settings"),
        ("three", UsageError, "another run of a from"),
        ("none", FormatError, "no file that"),
        ("missing", FormatError, "no file that"),
    ]:
        with pytest.raises(error, match=words):
            load_runs([tmp_path / "one", tmp_path / name])


def predicted(c: CrystalRuns, natoms: int, *doubts: str) -> CrystalRuns:
    """A crystal of so many atoms whose start "model" is a prediction with doubts."""
    run = replace(c.runs["model"], channels={"density": "predicted"}, doubts=doubts)
    return replace(c, natoms=natoms, runs={**c.runs, "model": run})


def test_a_prediction_with_doubts_is_not_used_and_its_time_still_counts():
    sure, doubtful = predicted(crystal("a", 5, 5.0, 1.0), 3), predicted(crystal("b", 20, 20.0, 1.0), 3, "why")
    kept, replaced = replace_doubtful([sure, doubtful])
    assert kept == sure
    assert replaced.runs["model"].steps == replaced.runs[ATOMS].steps
    assert replaced.runs["model"].seconds("wall") == 11.0
    assert "| model | 2 | 0.750 ± 0.250" in format_gain_table([kept, replaced], "wall")
    assert "| b | model | 1.00 | 10 | 1.000 | 11.0 | -0.100 |" in format_run_table([kept, replaced], "wall")


def test_the_origin_of_each_part_of_a_start_is_told_and_which_crystals_differ():
    plain, spin = crystal("a", 5, 5.0), crystal("b", 5, 5.0)
    for c, m in ((plain, None), (spin, "atomic")):
        channels = {"density": "predicted", "magnetization": m, "augmentation": None}
        c.runs["model"] = replace(c.runs["model"], channels=channels)
    assert list_origins([plain]) == ["model: density predicted, no magnetization, no augmentation"]
    assert list_origins([plain, spin]) == [
        "model: density predicted, no magnetization, no augmentation (a)",
        "model: density predicted, magnetization atomic, no augmentation (b)",
    ]
    assert list_origins([spin])[0] in format_table([spin])


def test_for_a_small_cell_nothing_is_predicted():
    (found,) = replace_doubtful([predicted(crystal("a", 20, 20.0, 1.0), 2, "small")])
    assert found.runs["model"].seconds("wall") == found.runs[ATOMS].seconds("wall")
    assert found.runs[ORACLE].steps == 2


@pytest.mark.parametrize("verb", ["gaps", "energies"])
def test_without_an_engine_there_is_one_sentence(verb, monkeypatch, capsys):
    monkeypatch.setenv("ECD_PWX", "/nowhere/pw.x")
    assert _run(["scf", verb, "pbe", "--id", "Si_diamond", "-q"]) == 1
    assert "is not installed" in capsys.readouterr().err
