"""Cells that pw.x makes of ibrav: vectors with the lengths and angles that were given, and those of pw.x itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from ecd_data.dft.pseudopotentials import find_pwx, pseudo_folder
from ecd_data.errors import FormatError
from ecd_data.formats.espresso_density import read_xml
from ecd_data.formats.units import BOHR
from ecd_models.scf.bravais import make_cell
from ecd_models.scf.charge_density import Waves
from ecd_models.scf.espresso_input import PwInput
from ecd_models.scf.namelists import Namelists
from ecd_models.scf.wave_order import order_waves
from tests.models.scf.engine import real

LENGTHS = ", celldm(2) = 1.1, celldm(3) = 1.3"
PARAMETERS = {1: "", 2: "", 3: "", -3: "", 4: ", celldm(3) = 1.3", 5: ", celldm(4) = 0.3", -5: ", celldm(4) = 0.3"}
PARAMETERS |= {6: ", celldm(3) = 1.2", 7: ", celldm(3) = 1.2"}
PARAMETERS |= dict.fromkeys((8, 9, -9, 91, 10, 11), LENGTHS)
PARAMETERS |= dict.fromkeys((12, 13), f"{LENGTHS}, celldm(4) = 0.2")
PARAMETERS |= {-12: f"{LENGTHS}, celldm(5) = 0.2", 14: f"{LENGTHS}, celldm(4) = 0.1, celldm(5) = 0.15, celldm(6) = 0.2"}
# of the conventional cell that the parameters state, as a share of it
PRIMITIVE = {2: 4, 3: 2, -3: 2, 7: 2, 9: 2, -9: 2, 91: 2, 10: 4, 11: 2, 13: 2}


def cell(ibrav: int, parameters: str):
    return make_cell(Namelists(f"&system\n ibrav = {ibrav}, {parameters}\n/\n", "pw.in"))


def sides_and_cosines(ibrav: int) -> tuple[tuple[float, float], tuple[float, float, float]]:
    """b / a, c / a, and the cosines between b and c, a and c, a and b, of the conventional cell."""
    cosines = {12: (0, 0, 0.2), 13: (0, 0, 0.2), -12: (0, 0.2, 0), 14: (0.1, 0.15, 0.2)}
    cosines |= {5: (0.3, 0.3, 0.3), -5: (0.3, 0.3, 0.3), 4: (0, 0, -0.5)}
    sides = {4: (1, 1.3), 6: (1, 1.2), 7: (1, 1.2)} | dict.fromkeys((8, 9, -9, 91, 10, 11, 12, 13, -12, 14), (1.1, 1.3))
    return sides.get(ibrav, (1, 1)), cosines.get(ibrav, (0, 0, 0))


@pytest.mark.parametrize("ibrav", PARAMETERS)
def test_a_cell_has_the_volume_that_its_parameters_state(ibrav):
    lattice, alat = cell(ibrav, f"celldm(1) = 7.7{PARAMETERS[ibrav]}")
    (b, c), (bc, ac, ab) = sides_and_cosines(ibrav)
    volume = b * c * np.sqrt(1 + 2 * bc * ac * ab - bc**2 - ac**2 - ab**2) / PRIMITIVE.get(ibrav, 1)
    assert alat == pytest.approx(7.7 * BOHR, rel=1e-14)
    assert np.linalg.det(lattice) / alat**3 == pytest.approx(volume, rel=1e-12)
    if ibrav not in PRIMITIVE:
        lengths = np.linalg.norm(lattice, axis=1) / alat
        np.testing.assert_allclose(lengths, [1, b, c], rtol=1e-12)
        angles = (lattice @ lattice.T / np.outer(lengths, lengths) / alat**2)[[1, 0, 0], [2, 2, 1]]
        np.testing.assert_allclose(angles, [bc, ac, ab], atol=1e-12)


@pytest.mark.parametrize("ibrav", PARAMETERS)
def test_lengths_and_cosines_mean_the_same_as_celldm(ibrav):
    names = {12: "cosAB = 0.2", 13: "cosAB = 0.2", -12: "cosAC = 0.2", 14: "cosBC = 0.1, cosAC = 0.15, cosAB = 0.2"}
    names |= {5: "cosAB = 0.3", -5: "cosAB = 0.3"}
    (b, c), _ = sides_and_cosines(ibrav)
    words = [f"A = 4.0, B = {4 * b}, C = {4 * c}", *([names[ibrav]] if ibrav in names else [])]
    expected, _ = cell(ibrav, f"celldm(1) = {4 / BOHR!r}{PARAMETERS[ibrav]}")
    np.testing.assert_allclose(cell(ibrav, ", ".join(words))[0], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("ibrav", "parameters", "words"),
    [
        (-13, f"celldm(1) = 7.7{LENGTHS}, celldm(5) = 0.2", "differ between versions"),
        (15, "celldm(1) = 7.7", "no lattice of pw.x"),
        (4, "celldm(1) = 7.7", r"without celldm\(3\)"),
        (8, "A = 4.0", r"without celldm\(2\) and celldm\(3\)"),
        (2, "nat = 1", "one of celldm"),
        (2, "A = 4.0, celldm(1) = 7.7", "one of celldm"),
        (2, "A = -4.0", "negative length"),
        (5, "celldm(1) = 7.7, celldm(4) = -0.7", "angles"),
        (14, f"celldm(1) = 7.7{LENGTHS}, celldm(4) = 0.9, celldm(5) = 0.9, celldm(6) = -0.9", "angles"),
        (14, f"celldm(1) = 7.7{LENGTHS}, celldm(6) = 1.0", "angles"),
    ],
)
def test_impossible_parameters_are_refused(ibrav, parameters, words):
    with pytest.raises(FormatError, match=words):
        cell(ibrav, parameters)


@real
@pytest.mark.parametrize("ibrav", PARAMETERS)
def test_cells_atoms_and_waves_are_those_of_pwx(ibrav, tmp_path: Path):
    system = f"ibrav = {ibrav}, celldm(1) = 7.7{PARAMETERS[ibrav]}, nat = 1, ntyp = 1, ecutwfc = 8"
    (tmp_path / "pw.in").write_text(
        f"&control\n outdir = '.', pseudo_dir = '{pseudo_folder()}'\n/\n&system\n {system}\n/\n"
        "&electrons\n electron_maxstep = 0\n/\nATOMIC_SPECIES\nHe 4.0 He.upf\nATOMIC_POSITIONS alat\nHe 0.1 0.2 0.3\n"
        "K_POINTS automatic\n1 1 1 0 0 0\n"
    )
    subprocess.run([find_pwx(), "-i", "pw.in"], cwd=tmp_path, capture_output=True)
    run, saved = PwInput.read(tmp_path / "pw.in"), tmp_path / "pwscf.save"
    crystal = read_xml(saved / "data-file-schema.xml")[0]
    np.testing.assert_allclose(run.crystal.lattice, crystal.lattice, atol=1e-11)
    np.testing.assert_allclose(run.crystal.frac_coords, crystal.frac_coords, atol=1e-11)
    waves = order_waves(run.crystal, run.ecutrho, alat=run.geometry.alat)
    assert waves is not None
    np.testing.assert_array_equal(waves.miller, Waves.read(saved / "charge-density.dat").miller)
