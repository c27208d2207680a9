"""Gaussian cubes: their units, origins and faults."""

from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np
import pytest

from ecd_data import Crystal, Density, check, read, write
from ecd_data.errors import FormatError
from tests.conftest import smooth_density
from tests.data.test_formats import close


def test_a_real_cube(shared):
    rho = read(shared / "real" / "baderkit_cube.cube.gz")
    assert (rho.crystal.formula, rho.shape) == ("Ca2N", (60, 60, 60))
    assert rho.nelect == pytest.approx(25, abs=1e-3)
    assert check(rho).ok


def test_cubes_survive_a_round_trip_and_ase_reads_them(tmp_path):
    from ase.io.cube import read_cube
    from ase.units import Bohr

    rho = smooth_density(spin=True)
    write(tmp_path / "rho.cube.gz", rho)
    close(read(tmp_path / "rho.cube.gz"), rho)
    with gzip.open(tmp_path / "rho.cube.gz", "rt") as file:
        theirs = read_cube(file)
    np.testing.assert_allclose(theirs["data"] / Bohr**3, rho.values, rtol=1e-7)
    np.testing.assert_allclose(theirs["atoms"].positions, rho.crystal.cart_coords, atol=1e-6)


def test_densities_without_atoms_are_written_as_cubes_alone(tmp_path):
    rho = Density(Crystal(np.eye(3) * 4, [], np.zeros((0, 3))), np.full((4, 5, 6), 0.1))
    write(tmp_path / "x.cube", rho)
    again = read(tmp_path / "x.cube")
    assert len(again.crystal) == 0
    assert np.allclose(again.values, rho.values)
    with pytest.raises(FormatError, match="this density has none: write a cube"):
        write(tmp_path / "x_CHGCAR", rho)
    assert not (tmp_path / "x_CHGCAR").exists()


def test_a_cube_says_what_it_holds_in_which_unit(tmp_path):
    rho = smooth_density()
    for comment, quantity in (("mine", "electron density"), ("difference: a - b", "difference of electron densities")):
        write(tmp_path / "diff.cube", replace(rho, meta={"comment": comment}))
        first, second = (tmp_path / "diff.cube").read_text().splitlines()[:2]
        assert (first, second) == (comment, f"{quantity} in e/bohr^3, the last axis fastest")


def test_cubes_in_angstrom_and_with_a_shifted_origin(tmp_path):
    rho = smooth_density()
    shift = np.array([0.3, -0.2, 0.5])
    lines = ["c", "c", " {} {} {} {}".format(len(rho.crystal), *shift)]
    lines += [" {} {} {} {}".format(-n, *row / n) for n, row in zip(rho.shape, rho.lattice, strict=True)]
    lines += [
        " {} 0.0 {} {} {}".format(z, *x) for z, x in zip(rho.numbers, rho.crystal.cart_coords + shift, strict=True)
    ]
    lines += [" ".join(map(repr, row.tolist())) for row in rho.values.reshape(-1, rho.shape[2])]
    (tmp_path / "a.cube").write_text("\n".join(lines) + "\n")
    again = read(tmp_path / "a.cube")
    np.testing.assert_allclose(again.frac_coords, rho.frac_coords, atol=1e-12)
    np.testing.assert_allclose(again.lattice, rho.lattice, atol=1e-12)
    ratio = again.values / rho.values
    assert ratio.max() - ratio.min() < 1e-9 * ratio.max()


BAD = {
    "orbitals.cube": (" 1 0 0 0", " -1 0 0 0", "orbitals"),
    "signs.cube": (" 2 2 0 0", " -2 2 0 0", "both signs"),
    "huge.cube": (" 2 2 0 0", " 999999 2 0 0", "too short"),
    "atoms.cube": (" 1 0 0 0", " 99999999 0 0 0", "atoms"),
    "element.cube": (" 1 1 0 0 0", " 1.5 1 0 0 0", "whole numbers"),
    "more.cube": ("8\n", "8 9\n", "more numbers"),
    "fewer.cube": (" 7 8", " 7", "cut|numbers"),
}
CUBE = "c\nc\n 1 0 0 0\n 2 2 0 0\n 2 0 2 0\n 2 0 0 2\n 1 1 0 0 0\n 1 2 3 4\n 5 6 7 8\n"


@pytest.mark.parametrize("name", BAD)
def test_bad_cubes_are_named(tmp_path, name):
    old, new, word = BAD[name]
    (tmp_path / name).write_text(CUBE.replace(old, new, 1))
    with pytest.raises(FormatError, match=word) as error:
        read(tmp_path / name)
    assert name in str(error.value)


def test_a_cube_that_is_cut_inside_its_last_number_is_named(tmp_path):
    write(tmp_path / "a.cube", smooth_density())
    text = (tmp_path / "a.cube").read_bytes().rstrip()
    (tmp_path / "a.cube").write_bytes(text)
    read(tmp_path / "a.cube")  # whole, if without a line end
    (tmp_path / "a.cube").write_bytes(text[:-1])
    with pytest.raises(FormatError, match="cut inside its last number"):
        read(tmp_path / "a.cube")
