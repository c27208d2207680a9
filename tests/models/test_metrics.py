from __future__ import annotations

import numpy as np
import pytest

import ecd_data
from ecd_data.errors import UsageError
from ecd_models.metrics import compare_errors, eps_mae, summarize


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


@pytest.mark.parametrize("count", [6, 12])
def test_the_interval_of_few_compounds_covers_the_true_mean_as_often_too(count):
    """The mean difference of two equally good models, whose compounds have one to three crystals."""
    rng, covered = np.random.default_rng(count), 0
    for _ in range(300):
        sizes = rng.integers(1, 4, size=count)
        compounds = np.repeat(np.arange(count), sizes)
        b = dict.fromkeys(map(str, range(len(compounds))), 0.0)
        differences = np.repeat(rng.normal(size=count), sizes)
        a = dict(zip(b, differences, strict=True))
        found = compare_errors(a, b, dict(zip(b, compounds.tolist(), strict=True)))
        covered += found.low_percent <= 0 <= found.high_percent
    assert covered >= 0.91 * 300


def test_the_same_errors_give_the_same_interval_and_none_gives_an_error():
    assert summarize([0.1, 0.2]) == summarize([0.1, 0.2])
    with pytest.raises(ValueError, match="no errors"):
        summarize([])


def test_means_are_over_crystals_and_over_compounds():
    summary = summarize([0.01, 0.01, 0.01, 0.05], ["MgO", "MgO", "MgO", "Si"])
    assert (summary.count, summary.compounds) == (4, 2)
    assert summary.mean_percent == pytest.approx(2)
    assert summary.compound_mean_percent == pytest.approx(3)
    assert summary.p99_percent <= 5


def test_many_cells_of_a_compound_do_not_narrow_the_interval():
    rng = np.random.default_rng(3)
    errors = rng.exponential(0.02, size=12)
    once = summarize(errors)
    many = summarize(np.repeat(errors, 10), np.repeat(np.arange(12), 10))
    assert many.mean_percent == pytest.approx(once.mean_percent)
    assert many.high_percent - many.low_percent == pytest.approx(once.high_percent - once.low_percent)
    naive = summarize(np.repeat(errors, 10))
    assert naive.high_percent - naive.low_percent < 0.5 * (many.high_percent - many.low_percent)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_error_that_is_no_number_is_refused(bad):
    with pytest.raises(ValueError, match="not a finite number"):
        summarize([0.1, bad])


def test_the_number_of_compounds_is_checked():
    with pytest.raises(ValueError, match="one compound for each error"):
        summarize([0.1, 0.2], ["MgO"])


def test_a_difference_is_paired():
    """Two models that differ by little on crystals that differ by much: pairing finds the difference."""
    rng = np.random.default_rng(0)
    b = {f"c{k}": error for k, error in enumerate(rng.exponential(0.05, size=40))}
    a = {id: error - 0.001 for id, error in b.items()} | {"only a has it": 0.9}
    found = compare_errors(a, b, {id: id for id in a})
    assert (found.count, found.compounds) == (40, 40)
    assert found.mean_percent == pytest.approx(-0.1)
    assert found.significant
    assert found.better_share == 1
    back = compare_errors(b, a)
    assert back.mean_percent == pytest.approx(0.1)
    assert "+0.100" in str(back)
    equal = compare_errors(b, b)
    assert not equal.significant


def test_crystals_of_one_compound_make_no_interval_and_no_certainty():
    a, b = {"a": 0.1, "b": 0.2}, {"a": 0.2, "b": 0.4}
    found = compare_errors(a, b, dict.fromkeys(a, "MgO"))
    assert found.compounds == 1
    assert not found.significant
    for text in (str(found), str(summarize([0.1, 0.2], ["MgO", "MgO"]))):
        assert "[" not in text
        assert "one compound" in text
    assert "[" in str(compare_errors(a, b))


def test_equal_models_are_rarely_told_apart():
    """The signs of their differences are all equal by chance: in half of all cases with two compounds."""
    rng = np.random.default_rng(1)
    b = dict.fromkeys("abcdef", 0.1)
    for count in range(2, 7):
        ids = list(b)[:count]
        same_sign = compare_errors({id: 0.1 + rng.uniform(0.01, 0.02) for id in ids}, b)
        assert same_sign.low_percent > 0
        assert same_sign.significant == (count == 6)


def test_models_without_a_common_crystal_are_not_compared():
    with pytest.raises(UsageError, match="no crystal in common"):
        compare_errors({"a": 0.1}, {"b": 0.1})
