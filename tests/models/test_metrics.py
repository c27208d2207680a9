from __future__ import annotations

import numpy as np
import pytest

import ecd_data
from ecd_models.metrics import eps_mae, summarize


def test_there_is_one_eps_mae():
    assert eps_mae is ecd_data.eps_mae


def test_statistics_of_known_errors():
    summary = summarize([0.01, 0.02, 0.03, 0.10])
    assert summary.count == 4
    assert summary.mean_percent == pytest.approx(4)
    assert summary.median_percent == pytest.approx(2.5)
    assert summary.p90_percent == pytest.approx(7.9)
    assert summary.low_percent <= summary.mean_percent <= summary.high_percent
    assert str(summary).startswith("mean 4.000 %")


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = [summarize(rng.exponential(0.02, size=60), seed=k) for k in range(60)]
    covered = sum(s.low_percent <= 2.0 <= s.high_percent for s in draws)
    assert 50 <= covered <= 60


def test_the_same_errors_give_the_same_interval_and_none_gives_an_error():
    assert summarize([0.1, 0.2]) == summarize([0.1, 0.2])
    with pytest.raises(ValueError, match="no errors"):
        summarize([])
