"""Self-consistent calculations of one crystal with Quantum ESPRESSO from several densities, with equal settings."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from ecd_data.crystal import Crystal, Floats
from ecd_data.density import Density
from ecd_data.density_error import eps_mae
from ecd_data.dft.engine import NotConvergedError, Result, Step
from ecd_data.dft.espresso import INPUT, Espresso
from ecd_data.dft.espresso_output import CHARGE_DENSITY, OCCUPATIONS, OUTPUT, XML, read_output, read_result
from ecd_data.dft.pseudopotentials import load_pseudopotentials, refuse_augmented
from ecd_data.dft.settings import Job
from ecd_data.errors import EcdError, UsageError
from ecd_data.formats.espresso_density import read_xml
from ecd_data.io.file_bytes import hash_file
from ecd_models.scf.charge_density import Waves
from ecd_models.scf.electrons import scale_to_electrons
from ecd_models.scf.scf_runs import (
    ScfRun,
    Start,
    count_loop_steps,
    count_solver_iterations,
    read_errors,
    time_call,
)
from ecd_models.scf.wave_order import find_grid, order_waves, refuse_other_order

CONV_THR = 1e-8  # Ry, the default convergence threshold
ATOMS, ORACLE, ENGINE = "atoms", "converged", "pw.x restart"
# Ry, `diago_thr_init` of every run from a density: the value with which predictions and converged densities together
# took the fewest iterations on crystals of the validation part (docs/scf.md); pw.x repeats a step where it is too large
FIRST_THRESHOLD = 1e-4
ORDER = "order"  # folder of the run without steps, whose files have superposed atoms in pw.x's order of waves
MAX_SHIFT = 1e-3  # Å: positions and lattice vectors that differ by more are of another crystal
NO_SPIN = 1e-3  # electrons: a converged magnetization that integrates to less is noise


class Bench:
    """The calculations of a crystal in a folder; finished ones of the same input are read and not repeated."""

    def __init__(self, engine: Espresso, job: Job, folder: Path, conv_thr: float = CONV_THR) -> None:
        self.engine, self.job, self.folder = engine, job, folder
        self.settings = replace(job.settings, conv_thr=conv_thr, forces=False)
        self._atoms: tuple[Density, dict[str, float]] | None = None
        self._waves: tuple[Waves, dict[str, float]] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """The smallest grid that holds the plane waves of the density."""
        return find_grid(self._order_waves()[0])

    @property
    def superposed_atoms(self) -> Density:
        """The density of pw.x's superposed atoms, with their starting magnetization if the run has spin."""
        return self._superpose_atoms()[0]

    def run_from_atoms(self) -> ScfRun:
        """The default run, from superposed atoms; raises NotConvergedError if it does not converge."""
        step = Step("density", self.job.id, self.job.crystal, self.settings)
        self.run(step, self.folder / ATOMS)
        spin = "atomic" if self.settings.start_magnetization else None
        channels = {"density": "atomic", "magnetization": spin}
        error = eps_mae(self.superposed_atoms, self.converged_density())
        return self._read_run(ATOMS, self.folder / ATOMS, channels, {}, error, 0.0)

    def converged_density(self) -> Density:
        """The density that the default run ended with."""
        folder = self.folder / ATOMS
        shape = read_xml(folder / XML)[1]
        values, magnetization = self.engine.density(folder, shape)
        return Density(self.job.crystal, values, magnetization)

    def run_from_own_file(self) -> ScfRun:
        """pw.x's own restart, from the density file of its default run."""
        step = Step("start", self.job.id, self.job.crystal, self.settings, (self.folder / ATOMS).absolute())
        self.run(step, self.folder / "engine")
        spin = "converged" if self.settings.start_magnetization else None
        channels = {"density": "converged", "magnetization": spin}
        return self._read_run(ENGINE, self.folder / "engine", channels, {}, 0.0, 0.0)

    def run_from_density(self, start: Start, first_threshold: float | None = FIRST_THRESHOLD) -> ScfRun:
        """The run from a density, which is scaled to the electrons of the potentials.

        A run that does not converge has steps None. first_threshold: of the orbitals in the first step, in Ry; None for
        pw.x's own.

        Raises
        ------
        UsageError : the density has another cell or other atoms, too coarse a grid, over 10 % more or fewer electrons,
            is non-collinear, or has a magnetization although the run has no spin; a pseudopotential is ultrasoft.
        """
        folder = self.folder / f"from-{self.name_folder(start)}"
        source, before = self.write_start(folder / "given", start)
        settings = replace(self.settings, first_threshold=first_threshold)
        step = Step("start", self.job.id, self.job.crystal, settings, source.absolute())
        rho, factor, channels = self._fit_density(start)
        error = eps_mae(rho.resample(self.superposed_atoms.shape), self.converged_density())
        converged = True
        try:
            self.run(step, folder)
        except NotConvergedError:
            converged = False
        self.refuse_wrong_order(folder)
        run = self._read_run(start.name, folder, channels, before, error, 1 / factor - 1)
        steps = run.steps if converged else None
        return replace(run, seen=start.seen, doubts=start.doubts, steps=steps, first_threshold=first_threshold)

    def name_folder(self, start: Start) -> str:
        """The end of the name of a folder for runs from a start."""
        return re.sub(r"\W+", "-", start.name)[-80:]

    def write_start(self, folder: Path, start: Start) -> tuple[Path, dict[str, float]]:
        """A folder for pw.x to start from, and the seconds of all that had to happen before.

        It has the density in pw.x's order of waves, and an input with its hash. Raises UsageError as
        `run_from_density`.
        """
        rho, _, channels = self._fit_density(start)
        waves, seconds = self._order_waves()
        if "atomic" in (channels["magnetization"], channels.get("occupations")):
            seconds = self._superpose_atoms()[1]  # they come from a run of pw.x, whose time counts
        (folder / CHARGE_DENSITY).parent.mkdir(parents=True, exist_ok=True)
        waves.write(folder / CHARGE_DENSITY, rho.values, rho.magnetization, start.name)
        if origin := channels.get("occupations"):
            shutil.copy(self.folder / (ORDER if origin == "atomic" else ATOMS) / OCCUPATIONS, folder / OCCUPATIONS)
        (folder / INPUT).write_text(f"! charge density sha256 {hash_file(folder / CHARGE_DENSITY)}\n")
        return folder, {"wall": start.wall_seconds + seconds["wall"], "cpu": start.cpu_seconds + seconds["cpu"]}

    def refuse_wrong_order(self, folder: Path) -> None:
        """Raises EcdError if the run in a folder kept its waves in another order than its start was written in."""
        refuse_other_order(self._order_waves()[0], folder / CHARGE_DENSITY, self.job.id)

    def run(self, step: Step, folder: Path) -> None:
        """Run a step unless the folder has its finished run."""
        text = self.engine.input_text(step)
        if not self.engine.is_finished(step, text, folder):
            self.engine.run(step, text, folder)

    def _order_waves(self) -> tuple[Waves, dict[str, float]]:
        """pw.x's order of plane waves and the seconds that it took to find it, if need be by a run without steps."""
        if self._waves is None:
            half, components = self._keeps_half_of_waves(), 2 if self.settings.start_magnetization else 1
            ecutrho = 4 * self.settings.ecutwfc
            waves, seconds = time_call(
                lambda: order_waves(self.job.crystal, ecutrho, gamma_only=half, components=components)
            )
            if waves is not None:
                self._waves = waves, {"wall": seconds["wall_seconds"], "cpu": seconds["cpu_seconds"]}
            else:
                spent = self._superpose_atoms()[1]
                self._waves = Waves.read(self.folder / ORDER / CHARGE_DENSITY), spent
        return self._waves

    def _keeps_half_of_waves(self) -> bool:
        """Whether pw.x keeps only one of G and -G, which it does with the Gamma point alone; see `pw_input`."""
        return set(self.settings.kmesh) == {1} and not self.settings.qmesh

    def _superpose_atoms(self) -> tuple[Density, dict[str, float]]:
        """pw.x's superposed atoms, and the seconds of the run without steps that writes them."""
        if self._atoms is None:
            folder = self.folder / ORDER
            # the density of atoms depends on nothing else of the mesh
            mesh = (1, 1, 1) if self._keeps_half_of_waves() else (2, 1, 1)
            settings = replace(self.settings, max_steps=0, kmesh=mesh, qmesh=None)
            with suppress(NotConvergedError):  # a run without steps never converges
                self.run(Step("density", self.job.id, self.job.crystal, settings), folder)
            self._atoms = self._read_atoms(folder)
        return self._atoms

    def _read_atoms(self, folder: Path) -> tuple[Density, dict[str, float]]:
        if not (folder / CHARGE_DENSITY).is_file():
            raise EcdError(
                f"{self.engine.pwx} writes no charge-density.dat (it was built with HDF5, or failed, see"
                f" {folder / OUTPUT}): name a pw.x without HDF5 with $ECD_PWX"
            )
        shape = read_xml(folder / XML)[1]
        values, magnetization = self.engine.density(folder, shape)
        seconds = _read_seconds(read_result(folder, bands_only=True))
        return Density(self.job.crystal, values, magnetization), seconds

    def _fit_density(self, start: Start) -> tuple[Density, float, dict[str, str | None]]:
        """The density scaled to the electrons of the run, the factor, and the origin of each of its parts."""
        rho, channels = start.rho, dict(start.channels)
        refuse_other_crystal(rho, self.job.crystal, start.name)
        for potential in load_pseudopotentials(self.engine.pseudo, self.job.crystal.elements).values():
            refuse_augmented(potential)
        due = self.engine.nelect(self.job.crystal)
        scaled, factor = scale_to_electrons(rho, due, "the pseudopotentials", start.name)
        magnetization = self._choose_magnetization(rho, start.name, channels)
        if self.settings.hubbard_u:  # without occupations pw.x stops, and only its own runs have them
            channels.setdefault("occupations", "atomic")
        else:
            channels.pop("occupations", None)
        return Density(self.job.crystal, scaled.values, magnetization), factor, channels

    def _choose_magnetization(self, rho: Density, name: str, channels: dict[str, str | None]) -> Floats | None:
        """The magnetization to start with, whose origin is set in `channels`."""
        if rho.magnetization is not None and rho.magnetization.ndim == 4:
            raise UsageError(f"{name} is non-collinear, which is not run here: give one of a collinear calculation")
        if not self.settings.start_magnetization:
            if rho.magnetization is not None and np.abs(rho.magnetization).mean() * rho.crystal.volume > NO_SPIN:
                raise UsageError(f"{name} has a magnetization and the run has no spin: leave it out, or run with spin")
            channels["magnetization"] = None
            return None
        if rho.magnetization is not None:
            return rho.magnetization
        channels["magnetization"] = "atomic"
        return self.superposed_atoms.resample(rho.shape).magnetization

    def _read_run(
        self,
        name: str,
        folder: Path,
        channels: dict[str, str | None],
        before: dict[str, float],
        error: float,
        off: float,
    ) -> ScfRun:
        result = read_result(folder)
        printed = read_output(folder)
        loops = count_loop_steps(printed)
        seconds = _read_seconds(result)
        return ScfRun(
            name,
            sum(loops),
            loops,
            seconds["wall"],
            seconds["cpu"],
            before.get("wall", 0.0),
            before.get("cpu", 0.0),
            float(result.properties["energy_eV"]),
            error,
            off,
            channels | {"augmentation": None},  # norm-conserving pseudopotentials have none
            iterations=count_solver_iterations(printed),
            errors_Ry=read_errors(printed),
        )


def _read_seconds(result: Result) -> dict[str, float]:
    return {clock: float(result.properties[f"{clock}_seconds"]) for clock in ("wall", "cpu")}


def refuse_other_crystal(rho: Density, crystal: Crystal, name: str) -> None:
    """Raises UsageError if a density has another cell or other atoms than a crystal; their order may differ."""
    if np.abs(rho.lattice - crystal.lattice).max() > MAX_SHIFT:
        raise UsageError(f"{name} is of another cell than the crystal to run: give the density of this very cell")
    if sorted(rho.numbers) != sorted(crystal.numbers):
        raise UsageError(f"{name} is of {rho.crystal.formula}, and {crystal.formula} is to be run")
    shift = rho.frac_coords[:, None] - crystal.frac_coords[None]
    distance = np.linalg.norm((shift - np.rint(shift)) @ crystal.lattice, axis=-1)
    distance[rho.numbers[:, None] != crystal.numbers[None]] = np.inf
    if distance.min(axis=0).max() > MAX_SHIFT:
        raise UsageError(f"{name} has its atoms elsewhere than the crystal to run: give the density of these positions")
