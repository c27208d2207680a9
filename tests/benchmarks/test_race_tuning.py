"""The trials of tuning: each network has the same, what is done is kept, and the least validation error is marked."""

from __future__ import annotations

import pytest
import race
import race_tuning
from race_training import MODELS, load_recipe

from ecd_models.checkpoint import load_checkpoint


def test_every_network_has_the_same_trials_and_none_of_the_seeds_of_the_race(tmp_path, monkeypatch, capsys):
    trials = []
    monkeypatch.setattr(race, "run_all", lambda work, entries, processes, word: trials.extend(entries))
    race_tuning.main(["--out", str(tmp_path)])
    assert len({trial.folder for trial in trials}) == 3 * len(MODELS)
    for model in MODELS:
        configs = [t.config(9, tmp_path) for t in trials if t.model == model]
        recipe = load_recipe(model).lr
        assert sorted(config.lr for config in configs) == [0.5 * recipe, recipe, 2 * recipe]
        assert {config.budget for config in trials} == {90.0}
        assert len({repr(config).replace(f"lr={config.lr!r}", "") for config in configs}) == 1
    assert not {trial.seed for trial in trials} & set(race.parse_arguments([]).seeds)
    assert "**" not in capsys.readouterr().out


def test_trials_are_kept_and_the_least_error_is_marked(data_root, small_recipes, here, tmp_path, capsys, monkeypatch):
    command = ["--minutes", "0.001", "--models", "fourier_density", "--factors", "1", "3", "--out", str(tmp_path)]
    command += ["--atoms", "pair_density"]
    race_tuning.main(command)
    row = capsys.readouterr().out.strip().split("\n")[-1]
    files = sorted(tmp_path.glob("*/*/best.safetensors"))
    errors = [100 * float(load_checkpoint(file).metadata["validation_error"]) for file in files]
    assert len(errors) == 2
    for error in errors:
        assert (f"**{error:.3f}**" if error == min(errors) else f"{error:.3f}") in row
    before = [file.stat().st_mtime_ns for file in files]
    race_tuning.main(command)
    assert capsys.readouterr().out.strip().split("\n")[-1] == row
    assert [file.stat().st_mtime_ns for file in files] == before
    monkeypatch.delenv("ECD_ROOT")
    with pytest.raises(SystemExit, match="are of other densities of pbe"):
        race_tuning.main([*command, "--table"])
