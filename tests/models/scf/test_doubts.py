"""When a prediction is no start: each reason, and none for an ordinary prediction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ecd_data import Density
from ecd_models.scf.doubts import list_doubts, measure_negative_electrons
from tests.models.scf.engine import LIH

RHO = Density(LIH, np.ones((4, 4, 4)))


def test_an_ordinary_prediction_has_none():
    assert list_doubts(RHO, seen="composition") == []
    assert list_doubts(replace(RHO, meta={"never_seen": ["H-Li"]}), seen="unseen", network=False) == []


def test_each_reason_is_named():
    values = np.ones((4, 4, 4))
    values[0, 0, 0] = -1
    cases = {
        "never saw Xe in": list_doubts(replace(RHO, meta={"never_seen": ["Xe", "Li-Xe"]})),
        "never saw this composition": list_doubts(RHO, seen="unseen"),
        "1.6 % of the electrons are negative": list_doubts(Density(LIH, values)),
        "the run has spin": list_doubts(RHO, spin=True),
    }
    for words, doubts in cases.items():
        assert len(doubts) == 1
        assert words in doubts[0]
    assert measure_negative_electrons(RHO) == 0
