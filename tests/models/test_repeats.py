"""The ± of a training: several seeds, each in a folder of its own, judged on parts of the task."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ecd_data.errors import UsageError
from ecd_models.cli import app
from ecd_models.evaluation.results import read_results
from ecd_models.evaluation.seeds import SeedErrors, make_seed_configs, summarize_seeds
from ecd_models.report.shipped import STORED


def test_seeds_have_folders_of_their_own_and_start_from_runs_of_the_same_seed(config, tmp_path):
    start = tmp_path / "pbe" / "best.safetensors"
    (tmp_path / "pbe" / "seed-4").mkdir(parents=True)
    (tmp_path / "pbe" / "seed-4" / "best.safetensors").touch()
    runs = make_seed_configs(replace(config, seed=3, start=str(start)), 2)
    assert [(run.seed, Path(run.out).name) for run in runs] == [(3, "seed-3"), (4, "seed-4")]
    assert [Path(run.start).parent.name for run in runs] == ["pbe", "seed-4"]
    assert make_seed_configs(config, 1) == [config]
    with pytest.raises(UsageError, match="at least 1"):
        make_seed_configs(config, 0)


def test_every_part_that_is_asked_for_gets_a_mean_and_a_deviation(small_root, tmp_path):
    out = tmp_path / "run"
    file = tmp_path / "brief.toml"
    file.write_text(
        f'out = "{out}"\ntask = "pbe"\ndata_dir = "{small_root}"\nsteps = 2\nbatch_size = 1\nprobes = 10\n'
        "validate_every = 2\nvalidation_probes = 10\nthreads = 1\n[options]\nmul = 9\nlmax = 1\nnum_interactions = 1\n"
    )
    command = ["train", str(file), "--seeds", "2", "--evaluate", "test", "--evaluate", "test_geometries", "-q"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.output.count("±") == 3  # with the validation of the training
    errors = json.loads((out / "errors.json").read_text())
    for part in ("test", "test_geometries"):
        percents = errors[part]["eps_mae_percent"]
        assert len(set(percents)) == 2
        assert errors[part]["text"] == str(SeedErrors(tuple(percents))) in done.output
        assert f"± {np.std(percents, ddof=1):.3f} % (2 seeds)" in errors[part]["text"]
        assert all((out / f"seed-{seed}" / f"{part}.json").exists() for seed in (42, 43))


def test_crystals_without_a_result_are_named_beside_the_mean(small_root, tmp_path):
    """The atoms are fitted on crystals without Al and N, so that the model has no density for AlN."""
    split = {"train": ["Li_bcc-d1"], "validation": ["Li_bcc-d2"], "test": ["Li_bcc", "AlN_zb"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    (tmp_path / "t.toml").write_text(
        f'out = "{tmp_path / "run"}"\nstore = "{small_root / "pbe.ecd"}"\nsplit = "{tmp_path / "split.json"}"\n'
        "difference = true\nsteps = 1\nbatch_size = 1\nprobes = 10\nvalidate_every = 1\nvalidation_probes = 10\n"
        "[options]\nmul = 9\nlmax = 1\nnum_interactions = 1\n"
    )
    done = CliRunner().invoke(app, ["train", str(tmp_path / "t.toml"), "--evaluate", "test", "-q"])
    assert done.exit_code == 1
    assert "with no result for 1 of the crystals" in done.output
    assert "AlN_zb: no atomic density for Al, N" in done.output
    text = json.loads((tmp_path / "run" / "errors.json").read_text())["test"]["text"]
    assert text.endswith("with no result for 1 of the crystals")


def test_evaluations_with_several_seeds_have_a_mean_and_a_deviation_of_each_mean():
    one, two, other = (
        read_results(STORED / f"{name}.json.gz")
        for name in ("invdeepdft-sample_test_pairs", "charge3net-sample_test_pairs", "charge3net-sample_test_types")
    )
    found = summarize_seeds([one, two])
    means = [result.summary.mean_percent for result in (one, two)]
    assert found.over_crystals.percents == tuple(means)
    assert found.summary.mean_percent == pytest.approx(np.mean(means))
    assert (found.summary.count, found.summary.compounds) == (one.summary.count, one.summary.compounds)
    assert summarize_seeds([one]).summary == one.summary
    assert str(found).startswith(f"{np.mean(means):.3f} ± {np.std(means, ddof=1):.3f} % (2 seeds), 95 %")
    for wrong, message in (([one, other], "different crystals"), ([], "no results")):
        with pytest.raises(UsageError, match=message):
            summarize_seeds(wrong)


def test_the_command_adds_a_line_over_seeds(small_root):
    where = ["evaluate", "pbe", "--data", str(small_root), "--limit", "2", "-q", "--seeds"]
    models = ["-m", "pair_density", "-m", "fourier_density"]
    done = CliRunner().invoke(app, [*where, *models], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "over seeds: " in done.output
    assert "(2 seeds)" in done.output
    for wrong in (models[:2], [*models, "--json"]):
        assert isinstance(CliRunner().invoke(app, [*where, *wrong]).exception, UsageError)
