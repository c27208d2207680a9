from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ecd_data.errors import FormatError, UsageError
from ecd_models.atoms.fitted import fit_superposed_atoms
from ecd_models.evaluation.results import read_results
from ecd_models.leaderboard.shipped_table import make_table, read_summaries, write_table
from ecd_models.leaderboard.superposed_atoms import STORED, measure_part, read_summary
from ecd_models.metrics import eps_mae
from ecd_models.report.shipped import STORED as RESULTS
from ecd_models.report.shipped import list_shipped
from ecd_models.task_data import task_data

ROOT = Path(__file__).parents[3]


def test_the_pages_have_the_table_of_the_stored_results():
    summaries = read_summaries()
    assert set(list_shipped()) < set(summaries)
    for page, intervals in (("README.md", False), ("docs/results.md", True)):
        assert "\n".join(make_table(summaries, intervals)) in (ROOT / page).read_text(encoding="utf-8"), page


def test_a_page_without_a_place_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(UsageError, match="no place for the table"):
        write_table(page, intervals=True)
    assert page.read_text() == "nothing"


def test_superposed_atoms_are_those_of_the_data_of_the_results():
    atoms = json.loads(STORED.read_text())
    training = task_data("ecd_pbe", sample=True)
    assert atoms["training_crystals"] == len(training.ids("train"))
    assert atoms["training_split_hash"] == training.origin.split_hash
    results = read_results(RESULTS / "pair_density_test_types.json.gz")
    errors = atoms["parts"]["test_types"]["eps_mae_percent"]
    assert read_summary(results).mean_percent == pytest.approx(sum(errors.values()) / len(errors))
    for changed in ({"split_hash": "another"}, {"part": "test_pairs"}, {"part": "validation"}):
        with pytest.raises(FormatError, match="is of other data"):
            read_summary(results.model_copy(update=changed))


def test_superposed_atoms_are_measured_on_each_crystal_of_a_part():
    data = task_data("pbe", sample=True)
    ids = [id for id in data.ids("train") if id.startswith("LiF")][:2]
    atoms = fit_superposed_atoms([data.store[ids[0]]])
    found = measure_part(atoms, replace(data, parts={"test_types": ids}), "test_types")
    for id in ids:
        rho = data.store[id]
        assert found["eps_mae_percent"][id] == 100 * eps_mae(atoms(rho.crystal, rho.shape), rho)
    assert set(found["compounds"].values()) == {"FLi"}
