"""When a prediction is no start: each reason, and none for an ordinary prediction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ecd_data import Density
from ecd_data.crystal import Crystal
from ecd_models import load_model
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from ecd_models.prediction.plausibility import measure_negative_share
from ecd_models.scf.doubts import doubt_cell, has_pairs, list_doubts
from tests.models.scf.engine import LIH

LITHIA = Crystal((1 - np.eye(3)) * 2.31, np.array([8, 3, 3]), np.array([[0.0] * 3, [0.25] * 3, [0.75] * 3]))
RHO = Density(LITHIA, np.ones((4, 4, 4)))


def test_an_ordinary_prediction_has_none():
    assert list_doubts(RHO, seen="composition") == []
    assert list_doubts(replace(RHO, meta={"never_seen": ["Li-O"]}), seen="unseen", rests_on_pairs=True) == []


def test_each_reason_is_named():
    values = np.ones((4, 4, 4))
    values[0, 0, 0] = -1
    cases = {
        "never saw Xe in": list_doubts(replace(RHO, meta={"never_seen": ["Xe", "Li-Xe"]})),
        "never saw this composition": list_doubts(RHO, seen="unseen"),
        "1.6 % of the electrons are negative": list_doubts(Density(LITHIA, values)),
        "the run has spin": list_doubts(RHO, spin=True),
        "a cell of 2 atoms": list_doubts(Density(LIH, np.ones((4, 4, 4)))),
    }
    for words, doubts in cases.items():
        assert len(doubts) == 1
        assert words in doubts[0]
    assert measure_negative_share(RHO.values) == 0


def test_small_cells_are_doubted_before_the_prediction():
    assert doubt_cell(1)
    assert doubt_cell(2)
    assert doubt_cell(3) is None


def test_which_models_rest_on_pairs():
    assert all(has_pairs(load_model(name)) for name in ("pair_density", "fourier_density", "deepdft-sample"))
    assert not has_pairs(DensityModel(build_model("deepdft")))
