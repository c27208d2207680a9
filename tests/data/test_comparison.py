"""Two densities beside each other: the same numbers however they are given, and a refusal of other crystals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ecd_data import Crystal, Density, compare, eps_mae, read, write
from ecd_data.comparison import DifferentCrystalsError
from tests.conftest import smooth_density

RHO = smooth_density((12, 10, 16))


def moved(crystal: Crystal, **changes: object) -> Crystal:
    return replace(crystal, **changes)


def test_a_density_and_itself():
    found = compare(RHO, RHO)
    assert (found.eps_mae, found.largest, found.mean_absolute, found.atom_displacement) == (0, 0, 0, 0)
    assert found.notes == []


def test_the_second_is_the_reference():
    found = compare(replace(RHO, values=2 * RHO.values), RHO)
    assert found.eps_mae == pytest.approx(1.0)
    assert compare(RHO, replace(RHO, values=2 * RHO.values)).eps_mae == pytest.approx(0.5)
    assert found.difference.nelect == pytest.approx(RHO.nelect)
    assert "electron counts differ by +" in found.notes[0]
    assert f"electrons {2 * RHO.nelect:.4f} and {RHO.nelect:.4f}: +" in str(found)


def test_the_largest_difference_has_its_place_and_its_atom():
    values = RHO.values.copy()
    values[3, 5, 8] -= 0.7
    found = compare(replace(RHO, values=values), RHO)
    assert found.largest == pytest.approx(-0.7)
    assert found.point == (0.25, 0.5, 0.5)
    images = np.array(list(np.ndindex(5, 5, 5))) - 2
    distances = [
        np.linalg.norm((place + images - found.point) @ RHO.lattice, axis=1).min() for place in RHO.frac_coords
    ]
    nearest = int(np.argmin(distances))
    assert found.atom == f"{RHO.crystal.symbols[nearest]}{nearest + 1}"
    assert found.distance == pytest.approx(distances[nearest])


def test_the_nearest_atom_does_not_depend_on_the_choice_of_the_cell():
    """The cell of vectors a, b + 4 a and c - 3 b is the same crystal; points move with their fractional coordinates."""
    basis = np.array([[1, 0, 0], [4, 1, 0], [0, -3, 1]])
    lattice = np.diag([3.0, 4.0, 5.0])
    frac = np.array([[0.1, 0.45, 0.3], [0.6, 0.05, 0.8]])
    for index in np.ndindex(4, 4, 4):
        values = np.ones((4, 4, 4))
        values[index] += 1.0
        plain = np.array(index) / 4 @ basis  # the point in the cell before it was skewed
        apart = frac - plain
        distances = np.linalg.norm((apart - np.round(apart)) @ lattice, axis=1)
        skewed = Density(Crystal(basis @ lattice, [12, 8], frac @ np.linalg.inv(basis)), np.ones((4, 4, 4)))
        found = compare(replace(skewed, values=values), skewed)
        assert found.distance == pytest.approx(distances.min())
        assert found.atom == ("Mg1", "O2")[distances.argmin()]


def test_other_grids_are_compared_on_the_finer_one_along_each_axis():
    coarse, fine = RHO.resample((12, 20, 9)), RHO
    found = compare(coarse, fine)
    assert found.b.shape == found.difference.shape == (12, 20, 16)
    assert found.eps_mae == pytest.approx(eps_mae(coarse.resample((12, 20, 16)), fine.resample((12, 20, 16))))
    assert found.eps_mae < 1e-9
    assert "compared on 12x20x16" in found.notes[0]


@pytest.mark.parametrize(
    "alike",
    [
        replace(RHO.crystal, frac_coords=RHO.frac_coords + np.array([[1, 0, -2], [0, 0, 0], [3, 0, 0]])),
        Crystal(RHO.lattice, RHO.numbers[[0, 2, 1]], RHO.frac_coords[[0, 2, 1]]),
        Crystal(RHO.lattice, RHO.numbers[[1, 2, 0]], RHO.frac_coords[[1, 2, 0]]),
        replace(RHO.crystal, numbers=0 * RHO.numbers),
        replace(RHO.crystal, lattice=np.round(RHO.lattice, 4)),
        replace(RHO.crystal, lattice=RHO.lattice @ np.linalg.qr(np.arange(9).reshape(3, 3) + np.eye(3))[0]),
    ],
    ids=["other images", "two swapped", "sorted", "no elements", "rounded", "turned in space"],
)
def test_one_crystal_written_in_another_way(alike):
    assert compare(Density(alike, RHO.values), RHO).eps_mae == 0
    assert compare(RHO, Density(alike, RHO.values)).eps_mae == 0


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(RHO.crystal, lattice=1.01 * RHO.lattice), "the cells have sides of"),
        (replace(RHO.crystal, lattice=1.003 * RHO.lattice), "the cells have sides of"),
        (replace(RHO.crystal, lattice=RHO.lattice * [1, 1, -1] + [[0, 0, 0], [0, 0, 0], [1, 0, 0]]), "the cells have"),
        (replace(RHO.crystal, numbers=np.array([12, 8, 16])), "the second has no"),
        (replace(RHO.crystal, frac_coords=RHO.frac_coords + [[0.1, 0, 0], [0, 0, 0], [0, 0, 0]]), "has no Mg at"),
        (Crystal(RHO.lattice, RHO.numbers[:2], RHO.frac_coords[:2]), "2 and 3 atoms"),
        (Crystal(RHO.lattice[[1, 2, 0]], RHO.numbers, RHO.frac_coords[:, [1, 2, 0]]), "in the order cab"),
        (Crystal(RHO.lattice, [], np.zeros((0, 3))), "0 and 3 atoms"),
    ],
)
def test_other_crystals_are_refused(other, words):
    with pytest.raises(DifferentCrystalsError, match=words) as error:
        compare(Density(other, RHO.values), RHO)
    assert "give two densities of the same cell and atoms" in str(error.value)


def test_atoms_a_little_apart_are_told():
    near = replace(RHO.crystal, frac_coords=RHO.frac_coords + [[0.005, 0, 0], [0, 0, 0], [0, 0, 0]])
    found = compare(Density(near, RHO.values), RHO)
    assert found.atom_displacement == pytest.approx(0.005 * np.linalg.norm(RHO.lattice[0]))
    assert any("by up to 0.021 Å" in note for note in found.notes)


def test_magnetizations_are_compared_where_both_have_one():
    spin = smooth_density((12, 10, 16), spin=True)
    double = replace(spin, magnetization=2 * spin.magnetization)
    assert np.allclose(compare(double, spin).difference.magnetization, spin.magnetization)
    assert "moments" in str(compare(double, spin))
    assert "magnetizations were not compared" in compare(spin, replace(spin, magnetization=None)).notes[0]
    vector = replace(spin, magnetization=np.stack([spin.magnetization] * 3))
    assert "non-collinear" in compare(vector, spin).notes[0]
    assert compare(vector, vector).difference.magnetization.shape == (3, 12, 10, 16)


def test_vectors_are_not_compared_between_two_orientations_of_the_cell():
    """A density and the same turned by 90 degrees have the same charge; their vectors have other components."""
    turn = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    vectors = np.stack([smooth_density((12, 10, 16), seed, spin=True).magnetization for seed in range(3)])
    rho = replace(RHO, magnetization=vectors)
    turned = replace(
        rho,
        crystal=replace(RHO.crystal, lattice=RHO.lattice @ turn),
        magnetization=np.einsum("iabc,ij->jabc", vectors, turn),
    )
    found = compare(turned, rho)
    assert (found.eps_mae, found.difference.magnetization) == (0, None)
    assert "not compared: the cells have two orientations" in found.notes[0]
    assert (turned - rho).magnetization is None
    assert (turned + rho).magnetization is None
    assert np.array_equal(compare(rho, rho).difference.magnetization, 0 * vectors)


def test_the_difference_can_be_written_and_says_what_it_is(tmp_path):
    found = compare(replace(RHO, values=1.1 * RHO.values, meta={"comment": "mine"}), RHO)
    write(tmp_path / "diff_CHGCAR", found.difference)
    again = read(tmp_path / "diff_CHGCAR")
    assert again.meta["comment"].startswith("difference: mine - Mg")
    assert np.allclose(again.values, 0.1 * RHO.values, atol=1e-9)


def test_a_reference_of_zeros_has_no_relative_error():
    found = compare(RHO, replace(RHO, values=0 * RHO.values))
    assert np.isnan(found.eps_mae)
    assert "undefined" in str(found)
    assert found.as_dict()["eps_mae_percent"] is None


def test_densities_without_atoms():
    bare = Density(Crystal(RHO.lattice, [], np.zeros((0, 3))), RHO.values)
    assert compare(bare, bare).atom is None
    assert "largest difference" in str(compare(bare, bare))
