"""The errors of superposed atoms fitted on the sample's training crystals, the least that a network has to beat.

`python -m ecd_models.leaderboard.superposed_atoms` fits them and writes `superposed_atoms.json` again.
"""

from __future__ import annotations

import json
from pathlib import Path

from ecd_data.errors import FormatError
from ecd_data.io.atomic_write import write_json
from ecd_data.release.formula import reduce_formula
from ecd_data.work.programs import run_program
from ecd_models.atoms.fitted import SuperposedAtoms, fit_superposed_atoms
from ecd_models.evaluation.results import Results
from ecd_models.metrics import Summary, eps_mae, summarize
from ecd_models.report.shipped import PARTS
from ecd_models.task_data import TaskData, task_data

STORED = Path(__file__).with_name("superposed_atoms.json")


def measure_part(atoms: SuperposedAtoms, data: TaskData, part: str) -> dict[str, object]:
    """The errors in percent of superposed atoms on a part by id, with the compounds and what identifies the data."""
    errors, compounds = {}, {}
    for id in data.ids(part):
        rho = data.store[id]
        errors[id] = 100 * eps_mae(atoms(rho.crystal, rho.shape), rho)
        compounds[id] = reduce_formula(rho.crystal.formula)
    return {
        "store_hash": data.origin.store_hash,
        "split_hash": data.origin.split_hash,
        "eps_mae_percent": errors,
        "compounds": compounds,
    }


def write_errors(path: Path = STORED) -> None:
    """Fit superposed atoms on the training crystals of the sample and write their errors on its test parts."""
    training = task_data("ecd_pbe", sample=True)
    ids = training.ids("train")
    atoms = fit_superposed_atoms(training.store[id] for id in ids)
    parts = {part: measure_part(atoms, task_data(task, sample=True), part) for part, task in PARTS.items()}
    split_hash = training.origin.split_hash
    write_json(path, {"training_crystals": len(ids), "training_split_hash": split_hash, "parts": parts})


def read_summary(results: Results, path: Path = STORED) -> Summary:
    """The statistics of the fitted superposed atoms on the part of some results.

    Raises
    ------
    FormatError : the stored errors are of other crystals, or of another store or split, than the results.
    """
    found = json.loads(path.read_text(encoding="utf-8"))["parts"].get(results.part)
    same_data = found is not None and (found["store_hash"], found["split_hash"]) == results.data[2:]
    if not same_data or found["eps_mae_percent"].keys() != results.eps_mae_percent.keys():
        raise FormatError(
            f"{path} is of other data than the results of {results.model} on {results.part}: write it again with"
            " `python -m ecd_models.leaderboard.superposed_atoms`"
        )
    errors, compounds = found["eps_mae_percent"], found["compounds"]
    return summarize([error / 100 for error in errors.values()], [compounds[id] for id in errors])


if __name__ == "__main__":
    run_program(write_errors)
