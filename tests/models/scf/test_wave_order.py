"""pw.x's order of plane waves from the cell alone, against its own files, and what happens where it differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ecd_data.crystal import Crystal
from ecd_data.dft.engines import load_engine
from ecd_data.dft.espresso_output import CHARGE_DENSITY
from ecd_data.dft.settings import Job, Settings
from ecd_data.errors import EcdError
from ecd_models.scf.bench import Bench, Start
from ecd_models.scf.charge_density import Waves
from ecd_models.scf.wave_order import find_grid, order_waves, refuse_other_order
from tests.models.scf.engine import LIH, SI, real

TRICLINIC = Crystal(
    np.array([[3.1, 0.1, 0.2], [0.4, 3.6, -0.3], [-0.2, 0.5, 4.3]]), np.array([3, 1]), np.array([[0.0] * 3, [0.5] * 3])
)
CELLS = {"Si": SI, "LiH": LIH, "triclinic": TRICLINIC}


@real
@pytest.mark.parametrize("kmesh", [(1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("name", CELLS)
def test_the_order_is_that_of_pwx(name, kmesh, tmp_path):
    job = Job(name, CELLS[name], Settings("PBE", ecutwfc=20.0, kmesh=kmesh))
    bench = Bench(load_engine(), job, tmp_path)
    atoms = bench.superposed_atoms
    own = Waves.read(tmp_path / "order" / CHARGE_DENSITY)
    waves = order_waves(CELLS[name], 80.0, gamma_only=kmesh == (1, 1, 1))
    assert waves is not None
    np.testing.assert_array_equal(waves.miller, own.miller)
    np.testing.assert_allclose(waves.reciprocal, own.reciprocal, atol=1e-12)
    assert waves.gamma_only is own.gamma_only
    assert all(n >= due for n, due in zip(bench.shape, own.smallest_shape, strict=True))
    assert atoms.nelect == pytest.approx(8 if name == "Si" else 4, rel=0.05)


@pytest.mark.parametrize("name", CELLS)
def test_waves_come_by_length_and_each_once(name):
    waves = order_waves(CELLS[name], 60.0)
    assert waves is not None
    lengths = np.linalg.norm(waves.miller @ waves.reciprocal.reshape(3, 3), axis=1)
    assert (np.diff(lengths) > -1e-6).all()
    assert lengths.max() ** 2 <= 60.0
    assert len(np.unique(waves.miller, axis=0)) == len(waves.miller)
    half = order_waves(CELLS[name], 60.0, gamma_only=True)
    assert half is not None
    assert 2 * len(half.miller) - 1 == len(waves.miller)
    assert min(find_grid(waves)) >= min(waves.smallest_shape)


@real
def test_where_the_order_is_not_certain_it_is_taken_from_a_run(tmp_path):
    """A hexagonal cell of eight digits: waves of one length are so in pw.x to 1e-8 only."""
    lattice = np.array([[3.076, 0, 0], [-1.538, 2.66389414, 0], [0, 0, 5.048]])
    crystal = Crystal(lattice, np.array([3, 1]), np.array([[0.0] * 3, [0.5] * 3]))
    assert order_waves(crystal, 160.0) is None
    job = Job("LiH", crystal, Settings("PBE", ecutwfc=40.0, kmesh=(2, 2, 1)))
    bench = Bench(load_engine(), job, tmp_path)
    steps = bench.run_from_atoms().steps
    run = bench.run_from_density(Start("oracle", bench.converged_density(), {"magnetization": None}))
    assert run.steps < steps
    assert run.before_cpu_seconds > 0


def test_another_order_is_refused(tmp_path):
    waves = order_waves(LIH, 40.0)
    assert waves is not None
    rho = np.random.default_rng(0).random(find_grid(waves))
    waves.write(tmp_path / "charge-density.dat", rho, None)
    refuse_other_order(waves, tmp_path / "charge-density.dat", "LiH")
    swapped = replace(waves, miller=waves.miller[::-1])
    with pytest.raises(EcdError, match="another order") as error:
        refuse_other_order(swapped, tmp_path / "charge-density.dat", "LiH")
    assert "\n" not in str(error.value)
