"""pw.x's file of waves: what is written is read again, in the order that pw.x gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecd_data.errors import FormatError, UsageError
from ecd_data.formats.espresso_density import read_charge_density
from ecd_models.scf.bench import count_loop_steps
from ecd_models.scf.charge_density import Waves
from tests.data.dft.espresso_files import random_density, write_charge_density

GRID = (9, 9, 9)


def order_of(path: Path, spin: bool = False, gamma_only: bool = False) -> Waves:
    write_charge_density(path, [random_density(8.0, seed) for seed in range(1 + spin)], gamma_only)
    return Waves.read(path)


@pytest.mark.parametrize("gamma_only", [False, True])
@pytest.mark.parametrize("spin", [False, True])
def test_what_is_written_is_read_again(spin, gamma_only, tmp_path):
    waves = order_of(tmp_path / "order.dat", spin, gamma_only)
    values, moment = random_density(8.0, 5), random_density(1.0, 6)
    waves.write(tmp_path / "new.dat", values, moment if spin else None)
    again = Waves.read(tmp_path / "new.dat")
    assert np.array_equal(again.miller, waves.miller)  # the order is pw.x's
    assert (again.gamma_only, again.components) == (gamma_only, 1 + spin)
    read, magnetization = read_charge_density(tmp_path / "new.dat", GRID)
    assert np.allclose(read, values, atol=1e-12)
    assert (magnetization is not None) == spin
    assert magnetization is None or np.allclose(magnetization, moment, atol=1e-12)


def test_a_finer_grid_gives_the_same_waves_and_a_coarser_one_is_refused(tmp_path):
    from ecd_data.fourier import resample

    waves = order_of(tmp_path / "order.dat")
    values = random_density(8.0, 5)
    assert np.allclose(waves.coefficients(resample(values, (16, 15, 12))), waves.coefficients(values), atol=1e-12)
    with pytest.raises(UsageError, match="has a grid of 8x9x9 points where the cutoff needs 9x9x9"):
        waves.coefficients(resample(values, (8, 9, 9)))


def test_a_run_with_spin_needs_a_magnetization(tmp_path):
    waves = order_of(tmp_path / "order.dat", spin=True)
    with pytest.raises(UsageError, match="no magnetization"):
        waves.write(tmp_path / "new.dat", random_density(8.0), None)


@pytest.mark.parametrize("content", [b"", b"words", b"\x0c\0\0\0" * 5])
def test_another_file_is_refused(content, tmp_path):
    (tmp_path / "x.dat").write_bytes(content)
    with pytest.raises(FormatError, match=r"run pw\.x again"):
        Waves.read(tmp_path / "x.dat")
    with pytest.raises(FormatError):
        Waves.read(tmp_path / "nowhere.dat")


def test_steps_of_a_hybrid_are_counted_by_loop():
    step, back = "     iteration #  {}     ecut= 40.00 Ry\n", "     EXX: now go back to refine exchange calculation\n"
    loops = [5, 3, 1]
    text = back.join("".join(step.format(n + 1) for n in range(count)) for count in loops)
    assert count_loop_steps(text) == (5, 3, 1)
    assert count_loop_steps(step.format(1)) == (1,)
