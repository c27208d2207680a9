"""Levels, energies and forces in a fixed density with the real engine, held to its own self-consistency."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ecd_data import Density
from ecd_data.crystal import Crystal
from ecd_data.dft.engine import Step
from ecd_data.dft.engines import load_engine
from ecd_data.dft.espresso_output import read_result
from ecd_data.dft.settings import Job, Settings
from ecd_data.errors import EcdError, UsageError
from ecd_models.cli import _run
from ecd_models.scf.bench import ATOMS, ORACLE, Bench, Start
from ecd_models.scf.energies import run_energies
from ecd_models.scf.energy_table import format_energies, format_energy_table, read_energy_report, report_energies
from ecd_models.scf.fixed_density import find_forces, find_hybrid_levels, find_levels
from ecd_models.scf.gaps import SCF, run_gaps
from ecd_models.scf.scf_runs import ScfRun
from tests.data.dft.records import SILICON
from tests.models.scf.engine import LIH, SI, real

CHEAP = Settings("PBE", ecutwfc=20.0, kmesh=(2, 2, 2))
MOVED = replace(LIH, frac_coords=np.array([[0.0, 0.0, 0.0], [0.53, 0.5, 0.5]]))
NO_SPIN = {"density": "converged", "magnetization": None}


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    found = Bench(load_engine(), Job("Si", SI, CHEAP), tmp_path_factory.mktemp("Si"))
    found.run_from_atoms()
    return found


def mix(bench: Bench, share: float) -> Start:
    """The converged density with a share of superposed atoms in it."""
    rho, atoms = bench.converged_density(), bench.superposed_atoms
    values = rho.values + share * (atoms.values * rho.nelect / atoms.nelect - rho.values)
    return Start(f"mixed {share}", replace(rho, values=values), NO_SPIN)


@real
def test_the_converged_density_has_its_own_energy_and_gap(bench):
    scf: ScfRun = bench.run_from_atoms()
    levels = find_levels(bench, mix(bench, 0.0))
    assert levels.energy_eV == pytest.approx(scf.energy_eV, abs=1e-4)
    gap = read_result(bench.folder / ATOMS, bands_only=True).properties["gap_eV"]
    assert levels.gap_eV == pytest.approx(gap, abs=2e-3)
    assert levels.seconds("wall") >= levels.wall_seconds


@real
def test_the_energy_is_off_by_the_square_of_the_density(bench):
    converged = bench.run_from_atoms().energy_eV
    first, second = (find_levels(bench, mix(bench, share)).energy_eV - converged for share in (0.1, 0.2))
    assert abs(first) > 1e-4
    assert second / first == pytest.approx(4.0, rel=0.15)


@real
def test_forces_of_the_converged_density_are_those_of_the_self_consistency(tmp_path):
    bench = Bench(load_engine(), Job("LiH", MOVED, replace(CHEAP, ecutwfc=30.0)), tmp_path)
    bench.run_from_atoms()
    forces = find_forces(bench, mix(bench, 0.0))
    settings = replace(bench.settings, forces=True)
    bench.run(Step("density", "LiH", MOVED, settings), tmp_path / "again")
    expected = np.array(read_result(tmp_path / "again").arrays["forces_eV_A"])
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(forces, expected, atol=2e-3)


@real
def test_energies_of_a_list_with_their_table(tmp_path):
    jobs = [Job("Si", SI, CHEAP), Job("LiH", MOVED, replace(CHEAP, ecutwfc=30.0))]
    report = run_energies(jobs, {"mixed": lambda bench: mix(bench, 0.1)}, work=tmp_path)
    silicon, hydride = report.crystals
    assert not report.failed
    assert silicon.errors["mixed"].force_error_eV_A is None  # zero by symmetry
    assert hydride.errors["mixed"].force_error_eV_A > 1e-3
    assert abs(silicon.errors[ORACLE].energy_eV_atom) < 1e-4 < abs(silicon.errors[ATOMS].energy_eV_atom)
    assert 0 < silicon.errors["mixed"].eps_mae < silicon.errors[ATOMS].eps_mae
    again = read_energy_report(json.loads(json.dumps(report_energies(report))))
    assert format_energy_table(again) == format_energy_table(report.crystals)
    assert "with a gap" in format_energies(again, "mixed")


@real
def test_one_exchange_loop_opens_the_gap(bench):
    start = mix(bench, 0.0)
    mesh = bench.settings.kmesh
    assert find_hybrid_levels(bench, start, mesh).gap_eV > find_levels(bench, start).gap_eV + 0.2


def test_crystals_without_a_mesh_for_the_hybrid_loop_are_named(tmp_path, caplog):
    job = Job("mine", SI, CHEAP)
    with pytest.raises(UsageError, match="which has no mine: leave out --one-loop"):
        run_gaps([job], {}, one_loop=True, pwx=tmp_path / "none")
    with pytest.raises(EcdError, match="none"):  # there is no pw.x, and the warning comes before it is started
        run_gaps([job, replace(job, id="Si_diamond")], {}, one_loop=True, pwx=tmp_path / "none")
    assert "no loop of HSE06 for mine: " in caplog.text


@real
def test_gaps_of_a_list_name_what_has_none(tmp_path):
    aluminium = Crystal((1 - np.eye(3)) * 2.02, np.array([13]), np.zeros((1, 3)))
    squeezed = replace(SI, lattice=SI.lattice * 0.8)
    jobs = [
        Job("Al", aluminium, replace(CHEAP, smearing=True)),
        Job("metal", squeezed, replace(CHEAP, smearing=True)),
        Job("Si_diamond", SI, CHEAP),
    ]
    wrong = Start("wrong", Density(LIH, np.ones((24, 24, 24))), {})
    starts = {"mixed": lambda bench: mix(bench, 0.1), "wrong": lambda bench: wrong}
    report = run_gaps(jobs, starts, work=tmp_path)
    assert "odd number" in report.failed["Al"]
    assert "is a metal with PBE" in report.failed["metal"]
    (silicon,) = report.crystals
    assert "another cell" in silicon.failed["wrong"]
    assert silicon.measured_eV == pytest.approx(1.17)
    assert silicon.gaps["mixed"].gap_eV == pytest.approx(silicon.gaps[SCF].gap_eV, abs=0.2)


@real
@pytest.mark.parametrize(("verb", "words"), [("gaps", "from self-consistent PBE"), ("energies", "eps_mae, %")])
def test_the_verbs_from_the_command_line(verb, words, tmp_path, capsys):
    records = tmp_path / "records.json"
    records.write_text(json.dumps({"Si": {**SILICON, "ecutwfc_Ry": 20.0, "kmesh": [2, 2, 2], "metal": False}}))
    output = tmp_path / "found.json"
    command = ["scf", verb, str(records), "-m", "pair_density", "--work", str(tmp_path / "work"), "-q"]
    assert _run([*command, "-o", str(output)]) == 0
    assert words in capsys.readouterr().out
    (crystal,) = json.loads(output.read_text())["crystals"]
    assert "pair_density" in crystal["gaps" if verb == "gaps" else "errors"]
