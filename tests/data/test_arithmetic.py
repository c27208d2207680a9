"""Sums, differences, multiples and supercells: exact, of one crystal and grid, recognized for what they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ecd_data import Crystal, Density, check, compare, convert, read, write
from ecd_data.comparison import DifferentCrystalsError
from ecd_data.errors import UsageError
from tests.conftest import smooth_density

RHO = smooth_density(spin=True, meta={"comment": "one", "settings": {"nelect": 18}, "functional": "PBE"})
OTHER = replace(RHO, values=RHO.values[::-1], magnetization=0.5 * RHO.magnetization, meta={"comment": "two"})


def test_sums_and_differences_are_exact():
    assert np.array_equal((RHO - OTHER).values, RHO.values - OTHER.values)
    assert np.array_equal((RHO + OTHER).values, RHO.values + OTHER.values)
    assert np.array_equal((RHO - OTHER).magnetization, RHO.magnetization - OTHER.magnetization)
    assert (RHO - RHO).nelect == 0
    assert sum([RHO, OTHER, RHO]).nelect == pytest.approx(2 * RHO.nelect + OTHER.nelect)
    assert (RHO - OTHER).crystal is RHO.crystal
    assert np.array_equal((RHO - OTHER).values, compare(RHO, OTHER).difference.values)


@pytest.mark.parametrize("factor", [2, 0.5, -1, np.float64(3), np.int32(2), np.float32(0.25)])
def test_multiples(factor):
    for multiple in (factor * RHO, RHO * factor):
        assert isinstance(multiple, Density)
        assert np.allclose(multiple.values, float(factor) * RHO.values)
        assert multiple.moment == pytest.approx(float(factor) * RHO.moment, abs=1e-9)
    assert (RHO / 4).nelect == pytest.approx(RHO.nelect / 4)
    assert (-RHO).nelect == -RHO.nelect


def test_the_arrays_stay_unchanged_and_read_only():
    before = RHO.values.copy()
    result = 2 * RHO - OTHER
    assert not result.values.flags.writeable
    assert np.array_equal(RHO.values, before)


def test_what_a_result_is_called():
    assert dict((RHO - OTHER).meta) == {"kind": "difference", "comment": "difference: one - two"}
    assert dict((RHO + OTHER).meta) == {"kind": "sum", "comment": "sum: one + two"}
    assert dict((2 * RHO).meta) == {"kind": "multiple", "comment": "multiple: 2 * one"}
    assert (RHO - OTHER - RHO).meta["comment"] == "difference: (one - two) - one"
    assert (2 * (RHO - OTHER)).meta["kind"] == "difference"
    assert (RHO + (OTHER - RHO)).meta["kind"] == "sum"
    core, valence = (replace(RHO, meta={"kind": "all-electron", "comment": name}) for name in ("AECCAR0", "AECCAR2"))
    assert (core + valence).meta["kind"] == "all-electron"
    assert (core + RHO).meta["kind"] == "sum"  # core electrons and a pseudo-density of the valence make neither


@pytest.mark.parametrize("result", [RHO - OTHER, RHO + OTHER, 2 * RHO, 0.5 * (RHO - OTHER)])
def test_a_check_finds_what_is_no_density_of_a_run(result, tmp_path):
    assert "derived" in [problem.name for problem in check(result).problems]
    for name in ("CHGCAR_diff", "diff.cube"):
        write(tmp_path / name, result)
        for again in (read(tmp_path / name), read(tmp_path / name).supercell((1, 2, 1))):
            assert "derived" in [problem.name for problem in check(again).problems]
            assert again.meta["kind"] == result.meta["kind"]
    assert "derived" not in [problem.name for problem in check(RHO).problems]


def test_the_sum_of_all_electron_densities_is_one(shared):
    rho = read(shared / "real/Si_AECCAR2.AECCAR2.gz")
    total = rho + rho
    assert total.meta["kind"] == rho.meta["kind"] == "all-electron"
    assert "derived" not in [problem.name for problem in check(total).problems]


def test_atoms_may_be_listed_in_another_order():
    order = [2, 0, 1]
    other = Density(Crystal(RHO.lattice, RHO.numbers[order], RHO.frac_coords[order] + 1), RHO.values)
    assert (RHO - other).nelect == 0


def test_a_magnetization_that_one_density_lacks_is_unknown_in_the_result():
    plain = replace(RHO, magnetization=None)
    vector = replace(RHO, magnetization=np.stack([RHO.magnetization] * 3))
    for other in (plain, vector):
        assert (RHO - other).magnetization is None
        assert (other + RHO).magnetization is None
    assert (vector - vector).magnetization.shape == (3, *RHO.shape)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: RHO - RHO.resample((6, 6, 6)), "12x10x15 and 6x6x6 points: bring one to the other's grid"),
        (lambda: RHO + 1, "to or subtracted from a Density, not int"),
        (lambda: 1 - RHO, "not int"),
        (lambda: RHO + RHO.values, "not ndarray"),
        (lambda: RHO.values + RHO, "not ndarray"),
        (lambda: RHO * RHO, "finite numbers, not by Density"),
        (lambda: RHO * RHO.values, "finite numbers, not by array"),
        (lambda: RHO.values * RHO, "finite numbers, not by array"),
        (lambda: RHO * True, "finite numbers, not by True"),
        (lambda: RHO * "2", "finite numbers, not by '2'"),
        (lambda: RHO * 2j, "finite numbers, not by 2j"),
        (lambda: RHO * float("nan"), "finite numbers, not by nan"),
        (lambda: RHO / 0, "divided by zero"),
        (lambda: RHO / None, "finite numbers, not by None"),
        (lambda: RHO.supercell((2, 1)), "three positive whole numbers"),
        (lambda: RHO.supercell((2, 0, 1)), "three positive whole numbers"),
        (lambda: RHO.supercell((2.5, 1, 1)), "three positive whole numbers"),
        (lambda: RHO.supercell((10000, 10000, 10000)), "at most"),
    ],
)
def test_wrong_operands_are_refused(act, words):
    with pytest.raises(UsageError, match=words):
        act()


def test_other_crystals_are_refused():
    strained = replace(RHO, crystal=replace(RHO.crystal, lattice=1.02 * RHO.lattice))
    moved = replace(RHO, crystal=replace(RHO.crystal, frac_coords=RHO.frac_coords + [[0.1, 0, 0], [0] * 3, [0] * 3]))
    for other in (strained, moved):
        for act in (lambda: RHO - other, lambda: RHO + other):  # noqa: B023 - called at once
            with pytest.raises(DifferentCrystalsError, match="added or subtracted"):
                act()


@pytest.mark.parametrize("counts", [(1, 1, 1), (2, 1, 1), (1, 3, 2)])
def test_a_supercell_repeats_the_density(counts):
    large = RHO.supercell(counts)
    number = np.prod(counts)
    assert large.shape == tuple(np.multiply(RHO.shape, counts))
    assert large.nelect == pytest.approx(number * RHO.nelect)
    assert large.moment == pytest.approx(number * RHO.moment, abs=1e-9)
    assert len(large.crystal) == number * len(RHO.crystal)
    assert np.array_equal(large.numbers, np.repeat(RHO.numbers, number))
    points = np.random.default_rng(0).random((5, 3))
    assert np.allclose(large.at(points), RHO.at(points * counts))
    assert np.allclose(large.at(large.frac_coords), np.repeat(RHO.at(RHO.frac_coords), number))
    assert large.meta["functional"] == "PBE"
    assert "settings" not in large.meta  # its NELECT is that of one cell
    assert np.array_equal((large - large).values, 0 * large.values)


def test_a_supercell_of_a_prediction_is_one(tmp_path):
    """In its file, too; and it keeps what the model never saw."""
    comment = "predicted by a model " + "x" * 90
    predicted = replace(RHO, meta={"functional": "predicted", "comment": comment, "never_seen": ["O"]})
    large = predicted.supercell((2, 1, 1)).supercell((1, 2, 1))
    assert large.meta["never_seen"] == ["O"]
    for name in ("x_CHGCAR", "x.cube"):
        write(tmp_path / name, large)
        assert "predicted" in check(read(tmp_path / name)).flags
    with pytest.raises(UsageError, match="no density of a crystal's own"):
        convert(tmp_path, tmp_path / "out.ecd")


def test_a_supercell_keeps_the_doubts_about_its_density():
    provenance = {"engine": "VASP", "frozen_density": True, "finished": False}
    meta = {"provenance": provenance, "guesses": {"unit-guessed": "perhaps e/Å^3"}, "functional": "HSE06"}
    flags = check(replace(RHO, meta=meta).supercell((2, 1, 1))).flags
    assert {"frozen-density", "unfinished", "unit-guessed"} <= set(flags)


def test_a_supercell_of_a_difference_is_one():
    large = (RHO - OTHER).supercell((2, 1, 1))
    assert large.meta["kind"] == "difference"
    assert large.meta["comment"].startswith("difference: ")
    vector = replace(RHO, magnetization=np.stack([RHO.magnetization] * 3))
    assert vector.supercell((1, 2, 1)).magnetization.shape == (3, 12, 20, 15)
