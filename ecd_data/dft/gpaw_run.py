"""One step of GPAW in a process of its own: `python -P gpaw_run.py [folder of the run to start from]`.

It reads the input in the working folder and leaves the result there. It needs numpy, ase and GPAW alone, so that these
may live in another environment than this package.
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
DENSITY, LEVELS, RESULT = "density.npy", "levels.npz", "result.json"  # the result comes last: with it a run is finished
EV_PER_A3 = 160.2176634  # GPa


def main() -> None:
    """Run the step of the input and write its result, or that it did not converge."""
    from gpaw import ConvergenceError

    given = json.loads(Path(INPUT).read_text())
    start = Path(sys.argv[1]) / RESTART if len(sys.argv) > 1 else None
    began = time.perf_counter()
    try:
        result = STEPS[given["kind"]](given, start)
    except ConvergenceError:
        result = {"convergence": {"converged": False}, "properties": {}}
    seconds = {"cpu_seconds": time.process_time(), "wall_seconds": time.perf_counter() - began}
    result["properties"] |= {name: round(value, 2) for name, value in seconds.items()}
    aside = Path(f"{RESULT}.writing")
    aside.write_text(json.dumps(result))
    os.replace(aside, RESULT)


def density(given: dict[str, Any], start: Path | None) -> dict[str, Any]:
    """The result of a self-consistency from superposed atoms."""
    return _ground_state(_calculator(given), given)


def restart(given: dict[str, Any], start: Path | None) -> dict[str, Any]:
    """The result of a self-consistency from the density and on-site matrices of a finished run.

    A restart file has no orbitals, so these converge in that density first; the steps are those that move the density.
    """
    from gpaw.new.scf import create_convergence_criteria

    calc = _in_density(given, start)
    loop = calc.dft.scf_loop
    wanted = given["parameters"]["convergence"]
    loop.convergence = create_convergence_criteria({name: wanted[name] for name in wanted if name != "bands"})
    loop.update_density_and_potential = True
    return _ground_state(calc, given)


def bands(given: dict[str, Any], start: Path | None) -> dict[str, Any]:
    """The levels on the mesh of the input in the density of a finished run."""
    calc = _in_density(given, start)
    _write_levels(calc)
    return _result(calc, {}, {})


def _in_density(given: dict[str, Any], start: Path | None) -> Any:
    """A calculator with orbitals converged in the density of a finished run."""
    from gpaw import GPAW

    named = ("kpts", "symmetry", "nbands", "occupations", "convergence", "maxiter")
    chosen = {name: given["parameters"][name] for name in named}
    return GPAW(start, txt=None).fixed_density(txt=LOG, update_fermi_level=True, **chosen)


def relax(given: dict[str, Any], start: Path | None) -> dict[str, Any]:
    """The result on the cell and atoms at rest, or on those where the steps ended."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    calc = _calculator(given)
    atoms = calc.atoms.copy()
    atoms.calc = calc
    cell_and_atoms: Any = FrechetCellFilter(atoms)
    moves = BFGS(cell_and_atoms, logfile="moves.txt")
    rests = moves.run(fmax=given["max_force_eV_A"], steps=given["max_moves"])
    result = _ground_state(calc, given)
    result["convergence"] |= {"relaxed": bool(rests), "relax_steps": moves.nsteps}
    return result


STEPS: dict[str, Callable[[dict[str, Any], Path | None], dict[str, Any]]] = {
    "density": density,
    "restart": restart,
    "bands": bands,
    "relax": relax,
}


def _calculator(given: dict[str, Any]) -> Any:
    from ase import Atoms
    from gpaw import GPAW

    crystal = given["crystal"]
    atoms = Atoms(
        numbers=crystal["numbers"],
        cell=crystal["lattice"],
        scaled_positions=crystal["frac_coords"],
        magmoms=given["magmoms"],
        pbc=True,
    )
    calc = GPAW(**given["parameters"], txt=LOG, legacy_gpaw=False)
    calc.create_new_calculation(atoms)
    return calc


def _ground_state(calc: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The result of a self-consistency run now; its density, levels and restart file are written."""
    energy = float(calc.get_potential_energy(force_consistent=True))
    iterations = int(calc.get_number_of_iterations())
    spins = charge_density(calc.dft, given["ecutrho_eV"])
    np.save(DENSITY, spins)
    _write_levels(calc)
    properties = {"energy_eV": energy, "scf_steps": iterations}
    properties |= {"total_magnetization": float(calc.get_magnetic_moment()), "absolute_magnetization": 0.0}
    arrays: dict[str, Any] = {}
    if len(spins) == 2:
        properties["absolute_magnetization"] = float(np.abs(spins[0] - spins[1]).mean() * calc.atoms.get_volume())
        arrays["site_moments"] = calc.get_magnetic_moments().round(6).tolist()
    if given["forces"]:
        arrays |= _mechanics(calc)
    calc.write(RESTART)
    return {"shape": spins.shape[1:], **_result(calc, properties, arrays)}


def _mechanics(calc: Any) -> dict[str, Any]:
    """Forces, and the stress with the sign of a pressure."""
    xx, yy, zz, yz, xz, xy = -EV_PER_A3 * calc.get_stress()
    stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return {"forces_eV_A": calc.get_forces().round(8).tolist(), "stress_GPa": stress.round(6).tolist()}


def _result(calc: Any, properties: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
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
    """Energies in eV and occupations [spin, k point, band]."""
    np.savez(LEVELS, energies=calc.eigenvalues(), occupations=calc.occupations())


def charge_density(dft: Any, cutoff: float) -> Any:
    """Valence density of each spin in e/Å^3 [spins, a, b, c]: plane waves up to `cutoff` in eV.

    The pseudo density without the pseudo core, plus the compensation charges of the valence electrons: Bloechl, Phys.
    Rev. B 50, 17953 (1994), and GPAW's form in J. Phys. Condens. Matter 22, 253202 (2010), eq. 26.
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
        rho.data[0] = electrons / coarse.volume  # the tabulated shapes integrate to one within 1e-6 alone
        spins.append(rho.ifft(grid=grid).data / Bohr**3)
    return np.stack(spins)


if __name__ == "__main__":
    main()
