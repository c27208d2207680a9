"""Wrong arguments of predict and evaluate: one UsageError that names what is wanted, before anything is computed."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from ase.build import bulk

from ecd_data import Crystal, open_store
from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.formats.structure import read_structure
from ecd_models import evaluate, load_model, predict
from ecd_models.model import DensityModel
from ecd_models.networks import build_model

MGO = Crystal(np.eye(3) * 4.2, [12, 8], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture(scope="module")
def model() -> DensityModel:
    torch.manual_seed(0)
    return DensityModel(build_model("charge3net", mul=6, lmax=1, num_interactions=1, num_basis=4))


WRONG = [
    *({"shape": shape} for shape in ("abc", (8, 8), (8, 8, 8.5), (8, 8, -1), 8, {"a": 8}, (True, 8, 8), (10**5,) * 3)),
    *({"encut": encut} for encut in ("x", "520", -5, 0, float("nan"), float("inf"), 1e9, True, [520])),
    *({"points": points} for points in ([[0, 0]], [0] * 6, np.zeros((2, 2, 3)), [[np.nan, 0, 0]], "x", 5)),
    *({"encut": 100, "prec": prec} for prec in (5, "", None, "x")),
    *({"shape": (4, 4, 4), "valences": v} for v in ("x", [1], {"Mg": "x", "O": 6}, {"Mg": float("nan"), "O": 6})),
    *({"like": like} for like in ("x", 5, MGO)),
    {},
    {"shape": (4, 4, 4), "encut": 100},
]


@pytest.mark.parametrize("options", WRONG)
def test_wrong_options_of_predict(model, options):
    with pytest.raises(UsageError):
        predict(model, MGO, **options)


@pytest.mark.parametrize("given", [5, None, "MgO.cif", np.eye(3), [MGO]])
def test_what_is_no_crystal_or_no_model(model, given):
    with pytest.raises(UsageError, match="a prediction wants"):
        predict(model, given, shape=(4, 4, 4))
    with pytest.raises(UsageError, match="predict wants a model"):
        predict(given, MGO, shape=(4, 4, 4))


def coincident():
    """Crystals of which no density can be, with a word of the reason, also through ASE and pymatgen."""
    moved = bulk("Si")
    moved.positions[1] = moved.positions[0] + [0.2, 0, 0]
    far = bulk("NaCl", "rocksalt", 5.6)
    far.positions[1] = far.positions[0] + far.cell[0] * 3 + far.cell[1]  # on an image of the other
    yield moved, "Si1 and Si2 lie on top of each other"
    yield far, "lie on top of each other"
    yield Crystal(MGO.lattice, [12, 8], np.zeros((2, 3))), "lie on top of each other"
    yield Crystal(np.diag([0.2, 4, 4]), [14], np.zeros((1, 3))), "lies on its own image"
    yield Crystal(np.diag([1e-3, 4e3, 4]), [14], np.zeros((1, 3))), "the cell is 0.001 Å thick"
    yield Crystal(MGO.lattice, [], np.zeros((0, 3))), "it has no atoms"


@pytest.mark.parametrize(("given", "reason"), list(coincident()))
@pytest.mark.parametrize("how", [{"shape": (4, 4, 4)}, {"encut": 100}, {"points": [[0, 0, 0]]}])
def test_coincident_atoms_are_refused(model, given, reason, how):
    with pytest.raises(UsageError, match=f"no density can be predicted for .*{reason}"):
        predict(model, given, **how)


def test_structure_files_are_judged_by_the_same_distance(model, tmp_path):
    for distance, refused in ((0.0, True), (0.29, True), (0.31, False)):
        atoms = bulk("Si")
        atoms.positions[1] = atoms.positions[0] + [distance, 0, 0]
        atoms.write(tmp_path / "POSCAR")
        for act, kind in (
            (lambda: read_structure(tmp_path / "POSCAR"), FormatError),
            (lambda atoms=atoms: predict(model, atoms, shape=(4, 4, 4)), UsageError),
        ):
            if refused:
                with pytest.raises(kind, match="lie on top of each other"):
                    act()
            else:
                act()


def test_who_judges_predictions_is_warned_instead(model, caplog):
    crystal = Crystal(MGO.lattice, [12, 8], [[0, 0, 0], [0.01, 0, 0]])
    with caplog.at_level(logging.WARNING, "ecd_models"):
        predict(model, crystal, shape=(4, 4, 4), refuse=False)
    assert "not to be trusted" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        *({"limit": limit} for limit in ("x", 1.5, True, 0, float("nan"))),
        *({"ids": ids} for ids in ("MgO_rs", 5, [5], [], ["x"])),
        *({"part": part} for part in (7, "x")),
        {"split": 7},
        {"split": "x.json"},
        {"data_dir": "/nothing/here"},
    ],
)
def test_wrong_options_of_evaluate(model, options):
    with pytest.raises(EcdError):
        evaluate(model, "pbe", **options)


def test_wrong_tasks_and_models_of_evaluate(model):
    for task in (7, None, [], "", "/nothing/here.ecd"):
        with pytest.raises(EcdError):
            evaluate(model, task)
    with pytest.raises(UsageError, match="evaluate wants a model"):
        evaluate("charge3net-sample", "pbe")
    for shares in ({"train": "x", "test": 1}, {"train": float("nan"), "test": 1}, {"train": 2}):
        with pytest.raises(UsageError):
            evaluate(model, open_store("pbe"), split=shares)
    for name in (7, "", "/nothing/here.safetensors"):
        with pytest.raises(UsageError):
            load_model(name)
