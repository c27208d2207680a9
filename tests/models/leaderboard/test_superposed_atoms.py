from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ecd_data.errors import FormatError
from ecd_models.atoms.fitted import fit_superposed_atoms
from ecd_models.evaluation.results import read_results
from ecd_models.leaderboard.superposed_atoms import STORED, measure_part, read_summary
from ecd_models.metrics import eps_mae
from ecd_models.report.shipped import STORED as RESULTS
from ecd_models.task_data import task_data


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
