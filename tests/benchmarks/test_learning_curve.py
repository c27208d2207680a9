"""The learning curve: nested splits, networks that start from the pair model of their split, and their table."""

from __future__ import annotations

import json
from pathlib import Path

import learning_curve
import pytest
from curve_table import draw_curve, fit_slope, format_curve, read_curve
from learning_curve import list_entries, make_splits
from race_training import load_recipe

from ecd_data.release.formula import reduce_formula
from ecd_models import load_model
from ecd_models.evaluation.results import read_results, write_results
from ecd_models.task_data import task_data
from ecd_models.training.trained_on import TrainedOn

STORED = Path(__file__).parents[2] / "docs/learning_curve"


@pytest.fixture
def small_curve(data_root, small_recipes, here):
    """The folders of entries that were run, with small data and small recipes."""
    return here


def test_splits_are_nested_and_keep_whole_formulas():
    data = task_data("pbe")
    small, large = make_splits(data, [5, 9], seed=42).values()
    assert set(small["train"]) < set(large["train"]) < set(data.ids("train"))
    formulas = {id: reduce_formula(data.store.row(id)["formula"]) for id in data.ids("train")}
    chosen = {formulas[id] for id in small["train"]}
    assert len(chosen) == 5
    assert {id for id in formulas if formulas[id] in chosen} == set(small["train"])
    assert small["test"] == data.ids("test")


@pytest.mark.slow
def test_a_curve_from_its_splits_to_its_table(small_curve, tmp_path, capsys):
    folder = str(tmp_path)
    learning_curve.main(["splits", folder, "--formulas", "1", "2"])
    command = ["run", folder, "--models", "fourier_density", "--seeds", "42", "--steps", "2"]
    learning_curve.main(command)
    table = capsys.readouterr().out.split("| part | ")[-1]
    assert table.startswith("model | 1 formulas | 2 formulas | slope | 4 formulas |")
    assert table.count("| test_pairs | ") == 2  # the pair model and the network
    for count in (1, 2):
        ids = set(json.loads((tmp_path / f"{count}.json").read_text())["train"])
        for name in ("pair_density", "fourier_density-42-2-steps"):
            model = load_model(tmp_path / str(count) / name / "best.safetensors")
            assert TrainedOn.from_metadata(model.metadata).ids == ids  # also those of the pair model below it
    files = sorted(tmp_path.rglob("*.json.gz"))
    before = {file: file.stat().st_mtime_ns for file in files}
    files[0].unlink()
    learning_curve.main(command)
    assert [file for file in files if file.stat().st_mtime_ns != before[file]] == files[:1]
    learning_curve.main(["table", folder, "--figure", str(tmp_path / "curve.png")])
    assert capsys.readouterr().out.split("| part | ")[-1] == table
    assert (tmp_path / "curve.png").stat().st_size > 1000
    with pytest.raises(SystemExit, match=r"other lengths of the trainings \(2 steps\) than now \(3 steps\)"):
        learning_curve.main([*command[:-1], "3"])
    first = (tmp_path / "1.json").read_text()
    for seed in range(9):  # until it is the other formula
        if (tmp_path / "1.json").read_text() == first:
            learning_curve.main(["splits", folder, "--formulas", "1", "--seed", str(seed)])
    with pytest.raises(SystemExit, match=r"other crystals of 1\.json"):
        learning_curve.main(command)


def test_networks_of_a_split_start_from_its_pair_model_with_its_recipe(tmp_path):
    options = learning_curve.parse_arguments(["run", str(tmp_path), "--seeds", "1", "2", "--models", "deepdft"])
    pair, *networks = list_entries(tmp_path / "20.json", options)
    assert [entry.seed for entry in networks] == [1, 2]
    for entry in networks:
        config = entry.config(entry.steps, entry.folder)
        assert config.atoms == str(pair.checkpoint)
        assert config.split == str(tmp_path / "20.json") == pair.config(3, pair.folder).split
        assert config.steps == load_recipe("deepdft").steps == entry.steps


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "no splits such as 20.json"), (["3.json"], "has 2 training formulas: its name should be 2.json")],
)
def test_splits_that_are_missing_or_misnamed_are_refused(names, message, data_root, tmp_path):
    for name in names:
        learning_curve.write_splits(tmp_path, [2], seed=42)
        (tmp_path / "2.json").rename(tmp_path / name)
    with pytest.raises(SystemExit, match=message):
        learning_curve.main(["run", str(tmp_path)])


def test_the_stored_results_make_a_curve(tmp_path):
    curve = read_curve(STORED)
    errors = {count: of_seeds[0] for count, of_seeds in curve["test_pairs"]["pair_density"].items()}
    assert list(errors) == [20, 40]
    slope, last = fit_slope(errors, 80)
    assert slope < 0
    assert last == pytest.approx(errors[40] * 2**slope)
    assert f"| test_pairs | pair_density | {errors[20]:.2f} % |" in format_curve(curve)
    draw_curve(curve, tmp_path / "curve.png")


def test_errors_against_other_densities_and_of_other_crystals_do_not_meet(tmp_path):
    results = read_results(STORED / "20_test_pairs.json.gz")
    write_results(results, tmp_path / "20_test_pairs.json.gz")
    write_results(results.model_copy(update={"store_hash": "0" * 16}), tmp_path / "40_test_pairs.json.gz")
    with pytest.raises(SystemExit, match="errors against different densities"):
        learning_curve.main(["table", str(tmp_path)])
    (tmp_path / "40_test_pairs.json.gz").unlink()
    other = read_results(STORED / "40_test_types.json.gz").model_copy(update={"part": "test_pairs"})
    write_results(other, tmp_path / "40_test_pairs.json.gz")
    with pytest.raises(SystemExit, match="errors of different crystals"):
        learning_curve.main(["table", str(tmp_path)])
    (tmp_path / "40_test_pairs.json.gz").rename(tmp_path / "errors.json.gz")
    with pytest.raises(SystemExit, match="should begin with its number of formulas"):
        learning_curve.main(["table", str(tmp_path)])


def test_a_folder_without_results_says_how_to_get_them(tmp_path):
    with pytest.raises(SystemExit, match="no results files yet"):
        learning_curve.main(["table", str(tmp_path)])
