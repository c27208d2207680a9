"""The verdict on a density: what makes it unfit, and what is only flagged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ecd_data import Crystal, Density, check, read

CRYSTAL = Crystal(np.eye(3) * 2, np.array([12, 8]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
GOOD = Density(CRYSTAL, np.full((4, 4, 4), 1.0))  # 8 electrons


@pytest.mark.parametrize(
    "name",
    ["Al_atomate", "LiH_scan", "Si_static", "aiida_converge", "mv_NiO_SOC", "pmg_nospin", "pmg_spin", "pyiron_spin"],
)
def test_real_files_are_fit(shared, name):
    rho = read(shared / "real" / f"{name}.CHGCAR.gz")
    report = check(rho)
    assert report.ok, report.problems
    assert ("non-collinear" in report.flags) == (rho.magnetization is not None and rho.magnetization.ndim == 4)


def test_a_plain_density_is_fit_and_has_no_flags():
    assert check(GOOD).ok
    assert check(GOOD).flags == ()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(bad):
    values = GOOD.values.copy()
    values[1, 2, 3] = bad
    assert "not finite" in check(replace(GOOD, values=values)).problems[0]
    assert "not finite" in check(replace(GOOD, magnetization=values)).problems[0]


@pytest.mark.parametrize(
    ("factor", "word"), [(0.0, "0.0000 electrons"), (-1.0, "-8.0000 electrons"), (8.0, "nuclear charge 20")]
)
def test_electron_counts_that_cannot_be(factor, word):
    assert any(word in problem for problem in check(replace(GOOD, values=factor * GOOD.values)).problems)


def test_the_stated_count_decides():
    assert check(replace(GOOD, meta={"nelect": 8.0})).ok
    assert "where 9.0000 are stated" in check(replace(GOOD, meta={"nelect": 9.0})).problems[0]


def test_a_little_negative_charge_is_a_flag_and_much_is_a_problem():
    values = GOOD.values.copy()
    values[0, 0, 0] = -0.1
    assert check(replace(GOOD, values=values)).flags == ("negative",)
    values[0, 0, 0] = -10
    assert any("negative" in p for p in check(replace(GOOD, values=values)).problems)


def test_unknown_elements_are_a_flag():
    crystal = Crystal(np.eye(3) * 2, np.array([0]), np.zeros((1, 3)))
    report = check(replace(GOOD, crystal=crystal))
    assert report.ok
    assert report.flags == ("no-elements",)


def test_spin_cannot_exceed_the_density():
    assert check(replace(GOOD, magnetization=-GOOD.values)).flags == ("spin",)
    assert "exceeds" in check(replace(GOOD, magnetization=1.1 * GOOD.values)).problems[0]
    vector = np.stack([GOOD.values, 0 * GOOD.values, 0 * GOOD.values])
    assert check(replace(GOOD, magnetization=vector)).flags == ("non-collinear",)
    assert "exceeds" in check(replace(GOOD, magnetization=1.1 * vector)).problems[0]
