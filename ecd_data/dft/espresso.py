"""Quantum ESPRESSO as an external program: its inputs and its runs."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecd_data.crystal import Crystal, Floats
from ecd_data.dft.engine import NotConvergedError, Result, RunError, Step
from ecd_data.dft.espresso_output import (
    CHARGE_DENSITY,
    CHARGE_DENSITY_HDF5,
    OUTPUT,
    SAVE,
    UNCONVERGED,
    failure_reason,
    output_text,
    read_result,
)
from ecd_data.dft.pseudopotentials import Pseudopotential, load_pseudopotentials
from ecd_data.dft.settings import Settings
from ecd_data.errors import UsageError
from ecd_data.formats import read
from ecd_data.formats.espresso_density import read_charge_density
from ecd_data.work.child_processes import ChildProcesses

INPUT = "pw.in"
CALCULATION = {"relax": "vc-relax", "density": "scf", "restart": "scf", "bands": "nscf"}
RELAX_STEPS = 100
FORCE_THRESHOLD, ENERGY_THRESHOLD, PRESSURE_THRESHOLD = 1e-4, 1e-5, 0.5  # Ry/bohr (2.6 meV/Å), Ry, kbar
HUBBARD_CARD = (7, 1)  # from this version on, U stands in a card that is not written here


class Espresso:
    """pw.x with a folder of pseudopotentials; an Engine. It goes to other processes without its runs under way."""

    name = "Quantum ESPRESSO"

    def __init__(self, pwx: str, pseudo: Path, version: tuple[int, int] = (6, 7)) -> None:
        self.pwx, self.pseudo, self.version = pwx, pseudo, version
        self._processes = ChildProcesses()

    def input_text(self, step: Step) -> str:
        """The text of a pw.x input, with pseudopotentials by name and hash and without a path of this machine."""
        if step.settings.hubbard_u and self.version >= HUBBARD_CARD:
            raise UsageError(
                f"{step.id}: U is written for Quantum ESPRESSO up to 7.0 and {self.pwx} is {self.version[0]}."
                f"{self.version[1]}: take another version, or no U"
            )
        text = pw_input(step.crystal, step.settings, self._pseudo(step.crystal), step.kind)
        if step.start is not None:
            text += f"! from the density of the input sha256 {_sha256(step.start / INPUT)}\n"
        return text

    def finished(self, step: Step, text: str, folder: Path) -> bool:
        """Whether `folder` holds the result of this input; one without forces serves where they were asked for."""
        path = folder / INPUT
        there = path.read_text() if path.is_file() else None
        if there != text and not (step.kind == "density" and there == _without_forces(text)):
            return False
        failure = failure_reason(folder)
        if failure and UNCONVERGED in output_text(folder):
            raise NotConvergedError(f"{step.id}: {failure}; the output is in {folder / OUTPUT}")
        return failure is None

    def run(self, step: Step, text: str, folder: Path) -> None:
        """Runs pw.x on one thread in `folder`; raises RunError with the reason if no converged result is left there."""
        try:
            shutil.rmtree(folder / SAVE, ignore_errors=True)  # a partial result must not pass for the new one
            folder.mkdir(parents=True, exist_ok=True)
            if step.start is not None:
                shutil.copytree(step.start / SAVE, folder / SAVE, ignore=shutil.ignore_patterns("wfc*", "*.upf"))
            (folder / INPUT).write_text(text)
            with open(folder / OUTPUT, "w") as out:
                code, _ = self._processes.run(
                    [self.pwx, "-i", INPUT], folder, {"ESPRESSO_PSEUDO": str(self.pseudo)}, out
                )
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise RunError(
                    f"{step.id}: the disk under {folder} is full; free some space or give another work folder"
                ) from None
            raise RunError(f"{step.id}: pw.x could not be started: {error}; give another with $ECD_PWX") from None
        for wavefunctions in (*folder.glob(f"{SAVE}/wfc*"), *folder.glob("x.wfc*"), *folder.glob("x.hub*")):
            wavefunctions.unlink()  # 6.7 has no disk_io that keeps the density alone
        failure = failure_reason(folder, code)
        if failure:
            kind = NotConvergedError if UNCONVERGED in output_text(folder) else RunError
            raise kind(f"{step.id}: {failure}; the output is in {folder / OUTPUT}")

    def read(self, step: Step, folder: Path) -> Result:
        """The result of a finished run."""
        return read_result(folder, bands_only=step.kind == "bands")

    def density(self, folder: Path, shape: tuple[int, ...]) -> tuple[Floats, Floats | None]:
        """Density and magnetisation (None without spin) in e/Å^3 on the FFT grid [shape]."""
        if (folder / CHARGE_DENSITY).is_file():
            return read_charge_density(folder / CHARGE_DENSITY, shape)
        rho = read(folder / CHARGE_DENSITY_HDF5)  # as pw.x built with HDF5 writes it
        return rho.values, rho.magnetization

    def datasets(self, crystal: Crystal) -> dict[str, dict[str, str]]:
        """File and SHA-256 of the pseudopotential of every element."""
        return {s: {"file": p.path.name, "sha256": p.sha256} for s, p in self._pseudo(crystal).items()}

    def nelect(self, crystal: Crystal) -> float:
        """The valence electrons of the pseudopotentials."""
        pseudo = self._pseudo(crystal)
        return sum(pseudo[s].valence for s in crystal.symbols)

    def _pseudo(self, crystal: Crystal) -> dict[str, Pseudopotential]:
        return load_pseudopotentials(self.pseudo, crystal.symbols)

    def stop(self) -> None:
        """Ends the runs under way; later ones end at once."""
        self._processes.stop()


def pw_input(crystal: Crystal, settings: Settings, pseudo: Mapping[str, Pseudopotential], kind: str = "density") -> str:
    """The text of a pw.x input for a step: "relax", "density", "restart" or "bands".

    It determines the result: pseudopotentials stand in it by name and hash, and no path of this machine does.
    """
    species = list(dict.fromkeys(crystal.symbols))
    gamma = set(settings.kmesh) == {1} and not settings.qmesh
    mesh = ["K_POINTS gamma"] if gamma else ["K_POINTS automatic", "{} {} {} 0 0 0".format(*settings.kmesh)]
    relax = [_namelist("IONS", {}), _namelist("CELL", {"press_conv_thr": PRESSURE_THRESHOLD})]
    return "\n".join(
        [
            _namelist("CONTROL", _control(settings, kind)),
            _namelist("SYSTEM", _system(crystal, settings, pseudo, species)),
            _namelist("ELECTRONS", _electrons(settings, kind)),
            *(relax if kind == "relax" else []),
            # pw.x wants a mass even where nothing moves
            "ATOMIC_SPECIES",
            *(f"{s} 1.0 {pseudo[s].path.name}" for s in species),
            "CELL_PARAMETERS angstrom",
            *(_vector(row) for row in crystal.lattice),
            "ATOMIC_POSITIONS crystal",
            *(f"{s} {_vector(f)}" for s, f in zip(crystal.symbols, crystal.frac_coords, strict=True)),
            *mesh,
            *(f"! {pseudo[s].path.name} sha256 {pseudo[s].sha256}" for s in species),
            "",
        ]
    )


FORCES = {"tprnfor": True, "tstress": True}


def _control(settings: Settings, kind: str) -> dict[str, Any]:
    control: dict[str, Any] = {"calculation": CALCULATION[kind], "prefix": "x", "outdir": "."}
    control |= {"disk_io": "low", "verbosity": "high"}
    if kind == "relax":
        control |= {"nstep": RELAX_STEPS, "forc_conv_thr": FORCE_THRESHOLD, "etot_conv_thr": ENERGY_THRESHOLD}
    if kind == "restart" or (kind == "density" and settings.forces):
        control |= FORCES
    return control


def _without_forces(text: str) -> str:
    lines = {line for line in _namelist("", FORCES).splitlines() if line.startswith("  ")}
    return "\n".join(line for line in text.split("\n") if line not in lines)


def _system(
    crystal: Crystal, settings: Settings, pseudo: Mapping[str, Pseudopotential], species: list[str]
) -> dict[str, Any]:
    system = {
        "ibrav": 0,
        "nat": len(crystal),
        "ntyp": len(species),
        "ecutwfc": settings.ecutwfc,
        **_occupations(settings, sum(pseudo[s].valence for s in crystal.symbols)),
    }
    if not settings.symmetry:
        system["nosym"] = True
    if settings.start_magnetization:
        system["nspin"] = 2
        for number in range(1, len(species) + 1):
            system[f"starting_magnetization({number})"] = settings.start_magnetization
    if settings.hubbard_u:
        table = dict(settings.hubbard_u)
        system["lda_plus_u"] = True
        system |= {f"Hubbard_U({number})": table[s] for number, s in enumerate(species, 1) if s in table}
    if settings.qmesh:
        system |= {"input_dft": "hse", "ecutfock": settings.ecutwfc, "exxdiv_treatment": "gygi-baldereschi"}
        system |= {"x_gamma_extrapolation": True}
        system |= {f"nqx{axis}": n for axis, n in enumerate(settings.qmesh, 1)}
    return system


def _electrons(settings: Settings, kind: str) -> dict[str, Any]:
    electrons: dict[str, Any] = {"conv_thr": settings.conv_thr, "electron_maxstep": settings.max_steps}
    if (settings.mixing_beta, settings.mixing_mode) != (Settings.mixing_beta, Settings.mixing_mode):
        electrons |= {"mixing_beta": settings.mixing_beta, "mixing_mode": settings.mixing_mode}
    if kind == "restart":
        electrons["startingpot"] = "file"
    return electrons


def _occupations(settings: Settings, electrons: float) -> dict[str, Any]:
    if settings.smearing:
        return {"occupations": "smearing", "smearing": "cold", "degauss": settings.degauss}
    occupied = round(electrons / 2)
    return {"occupations": "fixed", "nbnd": occupied + max(2, occupied // 8)}  # empty bands show the gap


def _namelist(name: str, values: Mapping[str, Any]) -> str:
    def fortran(value: Any) -> str:
        if isinstance(value, bool):
            return ".true." if value else ".false."
        return f"'{value}'" if isinstance(value, str) else f"{value:g}"

    return "\n".join([f"&{name}", *(f"  {key} = {fortran(value)}" for key, value in values.items()), "/"])


def _vector(values: Floats) -> str:
    return " ".join(f"{x:.12f}" for x in values)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
