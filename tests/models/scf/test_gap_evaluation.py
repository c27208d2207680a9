"""`ecd evaluate exp`: gaps of its compounds beside measured ones, with the real engine; what it refuses without one."""

from __future__ import annotations

import json

import pytest

from ecd_data.dft import make_jobs
from ecd_data.sample.cells import load_structures
from ecd_models.cli import _run
from ecd_models.cli.gap_evaluation import GapPlan, compute_gaps
from ecd_models.cli.models import name_files
from ecd_models.scf import gaps
from ecd_models.scf.crystal_loop import Report
from ecd_models.scf.gaps import HSE, SCF, CrystalGaps, make_mesh_even
from ecd_models.scf.saved_tables import load_gaps
from tests.models.scf.engine import real

MODELS = ["pair_density", "fourier_density"]
SILICON = ["evaluate", "exp", "--id", "Si_diamond", "-q"]


def count_crystals(path) -> int:
    return len(json.loads(path.read_text())["crystals"])


def test_meshes_of_gaps_have_the_zone_boundary():
    (job,) = make_jobs({"Si": load_structures()["Si_diamond"] | {"kmesh": [5, 4, 1]}}, "pbe")
    assert make_mesh_even(job).settings.kmesh == (6, 4, 1)
    assert make_mesh_even(job).crystal is job.crystal


def test_each_results_file_has_gaps_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(gaps, "run_gaps", lambda jobs, starts, **options: Report())
    for name in ("run.1.json", "run.2.json", "run.json.gz"):
        compute_gaps(GapPlan([], None, {}), {}, tmp_path / name, show=False, quiet=True)
    assert {file.name for file in tmp_path.iterdir()} == {"run.1_gaps.json", "run.2_gaps.json", "run_gaps.json"}


def test_the_files_of_several_models_end_as_the_one_that_is_named(tmp_path):
    for name, due in {"a.json": "a_deepdft.json", "a.1.json.gz": "a.1_deepdft.json.gz", "a": "a_deepdft"}.items():
        assert name_files(["deepdft", "charge3net"], tmp_path / name)["deepdft"] == tmp_path / due


@real
def test_errors_of_densities_and_gaps_of_several_models(tmp_path, capsys):
    output = tmp_path / "errors.json"
    named = [word for name in MODELS for word in ("-m", name)]
    assert _run([*SILICON, *named, "-o", str(output), "--work", str(tmp_path / "work")]) == 0
    printed = capsys.readouterr().out
    assert "eps_mae" in printed
    assert "| ECD-PBE_HSE | predicted density | 0.65 | 14.4 min |" in printed
    (silicon,) = load_gaps([tmp_path / "errors_gaps.json"])
    assert list(silicon.gaps) == [SCF, HSE, *MODELS]
    assert silicon.measured_eV == pytest.approx(1.17)
    for name in MODELS:
        assert silicon.gaps[name].gap_eV == pytest.approx(silicon.gaps[SCF].gap_eV, abs=0.2)
        assert count_crystals(tmp_path / f"errors_{name}.json") == 1


@real
def test_a_compound_of_another_store_has_gaps_alone(monkeypatch, capsys):
    """Some compounds are test crystals of another store of the sample, where densities are not evaluated for exp."""

    def list_jobs(jobs, starts, **options):
        return Report([CrystalGaps(job.id, job.crystal.formula, 2.7) for job in jobs])

    monkeypatch.setattr(gaps, "run_gaps", list_jobs)
    command = ["evaluate", "exp", "--id", "AgBr_rs", "--id", "Si_diamond", "--limit", "1", "-m", "pair_density", "-q"]
    assert _run([*command, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert [crystal["id"] for crystal in found["gaps"]["crystals"]] == ["AgBr_rs"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["evaluate", "pbe", "--limit", "1", "--gaps"], "`ecd scf gaps` takes other crystals"),
        (["evaluate", "pbe", "--limit", "1", "--work", "w"], "belong to the gaps"),
        (["evaluate", "exp", "--no-gaps", "--pwx", "pw.x"], "belong to the gaps"),
    ],
)
def test_options_of_gaps_elsewhere_are_refused(command, words, capsys):
    assert _run([*command, "-m", "pair_density", "-q"]) == 2
    assert words in capsys.readouterr().err


@real
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--id", "Al_fcc"], "is no crystal of the sample with a measured gap"),
        (["--limit", "0"], "limit is a positive whole number"),
        (["--part", "train"], "no crystals in part 'train'"),
    ],
)
def test_crystals_without_a_measured_gap_are_refused(options, words, capsys):
    assert _run(["evaluate", "exp", *options, "-m", "pair_density", "-q"]) == 2
    assert words in capsys.readouterr().err


def test_without_an_engine_the_densities_can_still_be_measured(monkeypatch, capsys):
    monkeypatch.setenv("ECD_PWX", "/nowhere/pw.x")
    assert _run([*SILICON, "-m", "pair_density"]) == 1
    message = capsys.readouterr().err
    assert "is not installed" in message
    assert "--no-gaps measures the densities alone" in message
    assert _run([*SILICON, "-m", "pair_density", "--no-gaps"]) == 0
    assert "eps_mae" in capsys.readouterr().out
