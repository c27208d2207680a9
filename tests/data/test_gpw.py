"""GPAW's restart files, in the container that ase writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecd_data import Crystal, Density, check, read
from ecd_data.errors import FormatError
from tests.conftest import smooth_density

ulm = pytest.importorskip("ase.io.ulm")


def write_gpw(path: Path, rho: Density, pbc: tuple[bool, bool, bool] = (True, True, True)) -> None:
    """A .gpw with the density of `rho` on the grid that GPAW keeps, and little else."""
    kept = tuple(slice(0 if periodic else 1, None) for periodic in pbc)
    spins = rho.values[None]
    if rho.magnetization is not None:
        spins = np.stack([(rho.values + sign * rho.magnetization) / 2 for sign in (1, -1)])
    with ulm.open(path, "w", tag="gpaw") as writer:
        writer.write(version=6)
        positions = rho.crystal.cart_coords
        writer.child("atoms").write(
            cell=rho.lattice, pbc=list(pbc), numbers=rho.numbers, positions=positions, version=1
        )
        writer.child("density").write(density=np.ascontiguousarray(spins[:, *kept]))
        writer.child("parameters").write(xc="PBE", mode={"name": "pw", "ecut": 200.0})


@pytest.mark.parametrize("spin", [False, True])
def test_densities_and_spins(tmp_path, spin):
    rho = smooth_density(spin=spin)
    write_gpw(tmp_path / "x.gpw", rho)
    again = read(tmp_path / "x.gpw")
    np.testing.assert_allclose(again.values, rho.values, atol=1e-15)
    np.testing.assert_allclose(again.frac_coords, rho.frac_coords, atol=1e-12)
    np.testing.assert_array_equal(again.numbers, rho.numbers)
    assert (again.magnetization is None) == (not spin)
    if spin:
        np.testing.assert_allclose(again.magnetization, rho.magnetization, atol=1e-15)
    assert again.meta["functional"] == "PBE"
    assert "pseudo-density" in check(again).flags


def test_a_file_that_gpaw_wrote(tmp_path):
    rho = read(Path(__file__).with_name("fe_gpaw_26.7.gpw.gz"))  # PW(200), k mesh 2x2x2: made to be small
    assert (rho.crystal.formula, rho.shape) == ("Fe", (9, 9, 9))
    assert rho.crystal.volume == pytest.approx(2.87**3 / 2)
    assert rho.nelect == pytest.approx(4.9618, abs=1e-4)  # 8 with the compensation charges
    assert rho.moment == pytest.approx(1.0792, abs=1e-4)
    assert rho.meta["functional"] == "PBE"


def test_the_boundary_of_a_slab_is_put_back(tmp_path):
    values = np.random.default_rng(0).random((6, 6, 8))
    values[:, :, 0] = 0
    rho = Density(Crystal(np.diag([3.0, 3.0, 9.0]), [13], [[0, 0, 0.5]]), values)
    write_gpw(tmp_path / "x.gpw", rho, (True, True, False))
    again = read(tmp_path / "x.gpw")
    np.testing.assert_array_equal(again.values, values)
    assert again.crystal.pbc == (True, True, False)


def test_other_and_cut_files_are_named(tmp_path):
    path = tmp_path / "x.gpw"
    write_gpw(path, smooth_density())
    good = path.read_bytes()
    for bad in (good[:40], good[: len(good) // 2], good[:-20]):
        path.write_bytes(bad)
        with pytest.raises(FormatError, match=r"x\.gpw"):
            read(path)
    with ulm.open(path, "w") as writer:
        writer.write(a=1)
    with pytest.raises(FormatError, match="no density"):
        read(path)
