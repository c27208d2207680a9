"""The script that runs one step with GPAW: `python -P gpaw_run.py [folder of the run to start from]`.

It reads its input from the working folder and writes the result there. It imports only numpy, ase and GPAW, so that
GPAW may be installed in another environment than this package.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

INPUT, LOG, RESTART = "gpaw.json", "gpaw.txt", "x.gpw"
DENSITY, LEVELS, RESULT = "density.npy", "levels.npz", "result.json"  # the result is written last: it marks the end
EV_PER_A3 = 160.2176634  # GPa


def main() -> None:
    """Run the step of the input and write its result; a calculation that does not converge is a result too."""
    from gpaw import ConvergenceError

    inputs = json.loads(Path(INPUT).read_text())
    start = Path(sys.argv[1]) / RESTART if len(sys.argv) > 1 else None
    began = time.perf_counter()
    try:
        result = STEPS[inputs["kind"]](inputs, start)
    except ConvergenceError:
        result = {"convergence": {"converged": False}, "properties": {}}
    seconds = {"cpu_seconds": time.process_time(), "wall_seconds": time.perf_counter() - began}
    result["properties"] |= {name: round(value, 2) for name, value in seconds.items()}
    aside = Path(f"{RESULT}.writing")
    aside.write_text(json.dumps(result))
    os.replace(aside, RESULT)


def run_density(inputs: dict[str, Any], start: Path | None) -> dict[str, Any]:
    """The result of a self-consistent calculation that starts from superposed atoms."""
    return _compute_ground_state(_make_calculator(inputs), inputs)


def run_restart(inputs: dict[str, Any], start: Path | None) -> dict[str, Any]:
    """The result of a self-consistent calculation that starts from the density and on-site matrices of a finished run.

    A restart file has no orbitals, so they converge in the fixed density first; only the steps after that are counted.
    """
    from gpaw.new.scf import create_convergence_criteria

    calc = _load_fixed_density(inputs, start)
    loop = calc.dft.scf_loop
    wanted = inputs["parameters"]["convergence"]
    loop.convergence = create_convergence_criteria({name: wanted[name] for name in wanted if name != "bands"})
    loop.update_density_and_potential = True
    return _compute_ground_state(calc, inputs)


def run_bands(inputs: dict[str, Any], start: Path | None) -> dict[str, Any]:
    """The result with the levels on the k mesh of the input, in the fixed density of a finished run."""
    calc = _load_fixed_density(inputs, start)
    _write_levels(calc)
    return _make_result(calc, {}, {})


def _load_fixed_density(inputs: dict[str, Any], start: Path | None) -> Any:
    """A calculator with orbitals converged in the fixed density of a finished run."""
    from gpaw import GPAW

    names = ("kpts", "symmetry", "nbands", "occupations", "convergence", "maxiter")
    parameters = {name: inputs["parameters"][name] for name in names}
    return GPAW(start, txt=None).fixed_density(txt=LOG, update_fermi_level=True, **parameters)


def run_relaxation(inputs: dict[str, Any], start: Path | None) -> dict[str, Any]:
    """The result for the relaxed cell and atoms, or for those of the last step allowed."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    calc = _make_calculator(inputs)
    atoms = calc.atoms.copy()
    atoms.calc = calc
    cell_and_atoms: Any = FrechetCellFilter(atoms)
    moves = BFGS(cell_and_atoms, logfile="moves.txt")
    relaxed = moves.run(fmax=inputs["max_force_eV_A"], steps=inputs["max_moves"])
    result = _compute_ground_state(calc, inputs)
    result["convergence"] |= {"relaxed": bool(relaxed), "relax_steps": moves.nsteps}
    return result


STEPS: dict[str, Callable[[dict[str, Any], Path | None], dict[str, Any]]] = {
    "density": run_density,
    "restart": run_restart,
    "bands": run_bands,
    "relax": run_relaxation,
}


def _make_calculator(inputs: dict[str, Any]) -> Any:
    from ase import Atoms
    from gpaw import GPAW

    crystal = inputs["crystal"]
    atoms = Atoms(
        numbers=crystal["numbers"],
        cell=crystal["lattice"],
        scaled_positions=crystal["frac_coords"],
        magmoms=inputs["magmoms"],
        pbc=True,
    )
    calc = GPAW(**inputs["parameters"], txt=LOG, legacy_gpaw=False)
    calc.create_new_calculation(atoms)
    return calc


def _compute_ground_state(calc: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """The result of a self-consistent calculation that is run now; writes its density, levels and restart file."""
    energy = float(calc.get_potential_energy(force_consistent=True))
    iterations = int(calc.get_number_of_iterations())
    spins = compute_charge_density(calc.dft, inputs["ecutrho_eV"])
    np.save(DENSITY, spins)
    _write_levels(calc)
    properties = {"energy_eV": energy, "scf_steps": iterations}
    properties |= {"total_magnetization": float(calc.get_magnetic_moment()), "absolute_magnetization": 0.0}
    arrays: dict[str, Any] = {}
    if len(spins) == 2:
        properties["absolute_magnetization"] = float(np.abs(spins[0] - spins[1]).mean() * calc.atoms.get_volume())
        arrays["site_moments"] = calc.get_magnetic_moments().round(6).tolist()
    if inputs["forces"]:
        arrays |= _forces_and_stress(calc)
    calc.write(RESTART)
    return {"shape": spins.shape[1:], **_make_result(calc, properties, arrays)}


def _forces_and_stress(calc: Any) -> dict[str, Any]:
    """Forces in eV/Å, and the stress in GPa, positive under compression."""
    xx, yy, zz, yz, xz, xy = -EV_PER_A3 * calc.get_stress()
    stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return {"forces_eV_A": calc.get_forces().round(8).tolist(), "stress_GPa": stress.round(6).tolist()}


def _make_result(calc: Any, properties: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    from gpaw import __version__

    atoms = calc.atoms
    return {
        "version": __version__,
        "crystal": {
            "lattice": atoms.cell.array.tolist(),
            "numbers": atoms.numbers.tolist(),
            "frac_coords": atoms.get_scaled_positions(wrap=False).tolist(),
        },
        "properties": properties,
        "arrays": arrays,
        "convergence": {"converged": True},
    }


def _write_levels(calc: Any) -> None:
    """Write the energies in eV and the occupations, [spin, k point, band] each."""
    np.savez(LEVELS, energies=calc.eigenvalues(), occupations=calc.occupations())


def compute_charge_density(dft: Any, cutoff: float) -> Any:
    """The valence density of each spin [spins, a, b, c] in e/Å^3, with plane waves up to `cutoff` in eV.

    It is the pseudo density without the pseudo core, plus the compensation charges of the valence electrons: Bloechl,
    Phys. Rev. B 50, 17953 (1994), in GPAW's form, J. Phys. Condens. Matter 22, 253202 (2010), eq. 26.
    """
    from ase.units import Bohr, Ha
    from gpaw.core import PWDesc
    from gpaw.core.atom_arrays import AtomArraysLayout

    pseudo, matrices = dft.density.nt_sR, dft.density.D_asii
    coarse, atomdist = pseudo.desc, matrices.layout.atomdist
    fine = coarse.new(size=2 * coarse.size_c)
    waves = PWDesc(ecut=cutoff / Ha, cell=coarse.cell)
    grid = coarse.new(size=waves.new(dtype=complex).minimal_uniform_grid().size_c)
    multipoles = [setup.Delta_iiL for setup in dft.setups]
    shapes = dft.setups.create_compensation_charges(waves, dft.relpos_ac, atomdist)
    spins = []
    for spin, smooth in enumerate(pseudo):
        valence = smooth.new()
        valence.data[:] = smooth.data - dft.density.nct_R.data
        charges = AtomArraysLayout([m.shape[2] for m in multipoles], atomdist=atomdist).empty()
        for atom, matrix in matrices.items():
            charges[atom] = np.einsum("ij,ijL->L", matrix[spin].real, multipoles[atom])
        electrons = valence.integrate() + sum(q[0] for q in charges.values()) * np.sqrt(4 * np.pi)
        rho = valence.interpolate(grid=fine).fft(pw=waves)
        shapes.add_to(rho, charges)
        rho.data[0] = electrons / coarse.volume  # exact: the tabulated shapes integrate to one only within 1e-6
        spins.append(rho.ifft(grid=grid).data / Bohr**3)
    return np.stack(spins)


if __name__ == "__main__":
    main()
