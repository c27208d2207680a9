"""The engine Quantum ESPRESSO: inputs of pw.x and its runs as an external program."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecd_data.crystal import Crystal, Floats
from ecd_data.dft.engine import NotConvergedError, Result, RunError, Step
from ecd_data.dft.espresso_output import (
    CHARGE_DENSITY,
    CHARGE_DENSITY_HDF5,
    LEVELS_NOT_CONVERGED,
    OUTPUT,
    SAVE,
    SCF_NOT_CONVERGED,
    failure_reason,
    read_functional,
    read_result,
)
from ecd_data.dft.pseudopotentials import Pseudopotential, load_pseudopotentials
from ecd_data.dft.settings import Settings
from ecd_data.errors import UsageError
from ecd_data.formats import read
from ecd_data.formats.espresso_density import read_charge_density
from ecd_data.io.file_bytes import hash_file
from ecd_data.work.child_processes import ChildProcesses

INPUT = "pw.in"
CALCULATION = {"relax": "vc-relax", "density": "scf", "restart": "scf", "start": "scf", "bands": "nscf"}
RELAX_STEPS = 100  # limit on the steps of one relaxation
FORCE_THRESHOLD, ENERGY_THRESHOLD, PRESSURE_THRESHOLD = 1e-4, 1e-5, 0.5  # Ry/bohr (2.6 meV/Å), Ry, kbar
# Ry, of levels in a fixed density. pw.x derives 1e-12 from conv_thr, at which empty bands often do not converge
BANDS_THRESHOLD = 1e-8
NOT_CONVERGED = (SCF_NOT_CONVERGED, LEVELS_NOT_CONVERGED)
MAX_LABELS = 9  # species of one element: a label of pw.x is a symbol and one digit
PBE_NAMES = ("PBE", "SLA PW PBX PBC", "SLA PW PBE PBE", "")  # of PBE in an output; "" names none
FIRST_HUBBARD_CARD = (7, 1)  # from this version on pw.x reads U from a card, which is not written here


class Espresso:
    """The Engine that runs pw.x with a folder of pseudopotentials; pickling leaves its running processes behind."""

    name = "Quantum ESPRESSO"

    def __init__(self, pwx: str, pseudo: Path, version: tuple[int, int] = (6, 7)) -> None:
        self.pwx, self.pseudo, self.version = pwx, pseudo, version
        self._processes = ChildProcesses()

    def input_text(self, step: Step) -> str:
        """The text of a pw.x input, with names and hashes of the pseudopotentials and no path of this machine."""
        if step.settings.hubbard_u and self.version >= FIRST_HUBBARD_CARD:
            raise UsageError(
                f"{step.id}: U can be written for Quantum ESPRESSO up to 7.0 only, and {self.pwx} is "
                f"{self.version[0]}.{self.version[1]}: take an older version, or no U"
            )
        text = pw_input(step.crystal, step.settings, self._pseudo(step.crystal), step.kind)
        if step.start is not None:
            text += f"! from the density of the input sha256 {hash_file(step.start / INPUT)}\n"
        return text

    def is_finished(self, step: Step, text: str, folder: Path) -> bool:
        """Whether `folder` holds the result of this input; a result without forces serves for an input with forces."""
        path = folder / INPUT
        there = path.read_text() if path.is_file() else None
        if there != text and not (step.kind == "density" and there == _remove_forces(text)):
            return False
        failure = failure_reason(folder, bands_only=step.kind == "bands")
        if failure in NOT_CONVERGED:
            raise NotConvergedError(f"{step.id}: {failure}; the output is in {folder / OUTPUT}")
        return failure is None

    def run(self, step: Step, text: str, folder: Path) -> None:
        """Run pw.x on one thread in `folder`; raises RunError with the reason if it leaves no converged result."""
        try:
            shutil.rmtree(
                folder / SAVE, ignore_errors=True
            )  # an older partial result must not be taken for the new one
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
                    f"{step.id}: the disk under {folder} is full: free some space or give another work folder"
                ) from None
            raise RunError(f"{step.id}: pw.x could not be started ({error}): name another one with $ECD_PWX") from None
        for wavefunctions in (*folder.glob(f"{SAVE}/wfc*"), *folder.glob("x.wfc*"), *folder.glob("x.hub*")):
            wavefunctions.unlink()  # large, and pw.x 6.7 has no disk_io that writes the density without them
        failure = failure_reason(folder, code, bands_only=step.kind == "bands")
        if failure:
            kind = NotConvergedError if failure in NOT_CONVERGED else RunError
            raise kind(f"{step.id}: {failure}; the output is in {folder / OUTPUT}")

    def read(self, step: Step, folder: Path) -> Result:
        """The result of a finished run; raises RunError where pseudopotentials are of another functional than PBE."""
        functional = read_functional(folder)
        if step.settings.functional == "PBE" and functional not in PBE_NAMES:  # that of a hybrid is in the input
            raise RunError(
                f"{step.id}: the pseudopotentials in {self.pseudo} are of the functional {functional}, and its density"
                " would be called one of PBE: give a folder with those of PBE"
            )
        return read_result(folder, bands_only=step.kind == "bands")

    def density(self, folder: Path, shape: tuple[int, ...]) -> tuple[Floats, Floats | None]:
        """The density and the magnetisation (None without spin), each [a, b, c] in e/Å^3 on the FFT grid."""
        if (folder / CHARGE_DENSITY).is_file():
            return read_charge_density(folder / CHARGE_DENSITY, shape)
        rho = read(folder / CHARGE_DENSITY_HDF5)  # written by a pw.x that was built with HDF5
        return rho.values, rho.magnetization

    def datasets(self, crystal: Crystal) -> dict[str, dict[str, str]]:
        """File and SHA-256 of the pseudopotential of every element."""
        return {s: {"file": p.path.name, "sha256": p.sha256} for s, p in self._pseudo(crystal).items()}

    def nelect(self, crystal: Crystal) -> float:
        """The number of valence electrons of the pseudopotentials."""
        pseudo = self._pseudo(crystal)
        return sum(pseudo[s].valence for s in crystal.symbols)

    def _pseudo(self, crystal: Crystal) -> dict[str, Pseudopotential]:
        return load_pseudopotentials(self.pseudo, crystal.symbols)

    def stop(self) -> None:
        """Stop all running steps; later ones stop at once."""
        self._processes.stop()


def pw_input(crystal: Crystal, settings: Settings, pseudo: Mapping[str, Pseudopotential], kind: str = "density") -> str:
    """The text of a pw.x input.

    The text determines the result: it has the names and hashes of the pseudopotentials and no path of this machine.

    Parameters
    ----------
    crystal, settings : the crystal and the settings of the calculation.
    pseudo : the pseudopotentials by element.
    kind : the kind of the step: "relax", "density", "restart", "start" or "bands".
    """
    labels = name_species(crystal, settings)
    species = dict(zip(labels, crystal.symbols, strict=True))
    gamma = set(settings.kmesh) == {1} and not settings.qmesh
    mesh = ["K_POINTS gamma"] if gamma else ["K_POINTS automatic", "{} {} {} 0 0 0".format(*settings.kmesh)]
    relax = [_namelist("IONS", {}), _namelist("CELL", {"press_conv_thr": PRESSURE_THRESHOLD})]
    return "\n".join(
        [
            _namelist("CONTROL", _control(settings, kind)),
            _namelist("SYSTEM", _system(crystal, settings, pseudo, labels)),
            _namelist("ELECTRONS", _electrons(settings, kind)),
            *(relax if kind == "relax" else []),
            # pw.x reads a mass even if no atom moves
            "ATOMIC_SPECIES",
            *(f"{label} 1.0 {pseudo[s].path.name}" for label, s in species.items()),
            "CELL_PARAMETERS angstrom",
            *(_format_vector(row) for row in crystal.lattice),
            "ATOMIC_POSITIONS crystal",
            *(f"{label} {_format_vector(f)}" for label, f in zip(labels, crystal.frac_coords, strict=True)),
            *mesh,
            *(f"! {pseudo[s].path.name} sha256 {pseudo[s].sha256}" for s in dict.fromkeys(crystal.symbols)),
            "",
        ]
    )


def name_species(crystal: Crystal, settings: Settings) -> list[str]:
    """The species of each atom in an input of pw.x: its symbol, with a number where atoms of an element start with
    different magnetizations, which pw.x knows by species only.

    Raises UsageError for more than nine of one element, since a label of pw.x has one character for them.
    """
    starts: dict[str, list[float]] = {}
    atoms = list(zip(crystal.symbols, settings.start_magnetizations(len(crystal)), strict=True))
    for symbol, start in atoms:
        if start not in starts.setdefault(symbol, []):
            starts[symbol].append(start)
    for symbol, different in starts.items():
        if len(different) > MAX_LABELS:
            raise UsageError(
                f"{len(different)} atoms of {symbol} start with different magnetizations, and pw.x has names for"
                f" {MAX_LABELS}: give fewer different numbers"
            )
    return [s if len(starts[s]) == 1 else f"{s}{starts[s].index(start) + 1}" for s, start in atoms]


FORCES = {"tprnfor": True, "tstress": True}


def _control(settings: Settings, kind: str) -> dict[str, Any]:
    control: dict[str, Any] = {"calculation": CALCULATION[kind], "prefix": "x", "outdir": "."}
    control |= {"disk_io": "low", "verbosity": "high"}
    if kind == "relax":
        control |= {"nstep": RELAX_STEPS, "forc_conv_thr": FORCE_THRESHOLD, "etot_conv_thr": ENERGY_THRESHOLD}
    if kind == "restart" or (kind == "density" and settings.forces):
        control |= FORCES
    return control


def _remove_forces(text: str) -> str:
    lines = {line for line in _namelist("", FORCES).splitlines() if line.startswith("  ")}
    return "\n".join(line for line in text.split("\n") if line not in lines)


def _system(
    crystal: Crystal, settings: Settings, pseudo: Mapping[str, Pseudopotential], labels: list[str]
) -> dict[str, Any]:
    species = dict(zip(labels, crystal.symbols, strict=True))
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
        starts = dict(zip(labels, settings.start_magnetizations(len(crystal)), strict=True))
        system |= {f"starting_magnetization({number})": starts[label] for number, label in enumerate(species, 1)}
    if settings.hubbard_u:
        table = dict(settings.hubbard_u)
        system["lda_plus_u"] = True
        system |= {f"Hubbard_U({number})": table[s] for number, s in enumerate(species.values(), 1) if s in table}
    if settings.qmesh:
        system |= {"input_dft": "hse", "ecutfock": settings.ecutwfc, "exxdiv_treatment": "gygi-baldereschi"}
        system |= {"x_gamma_extrapolation": True}
        system |= {f"nqx{axis}": n for axis, n in enumerate(settings.qmesh, 1)}
    return system


def _electrons(settings: Settings, kind: str) -> dict[str, Any]:
    electrons: dict[str, Any] = {"conv_thr": settings.conv_thr, "electron_maxstep": settings.max_steps}
    if (settings.mixing_beta, settings.mixing_mode) != (Settings.mixing_beta, Settings.mixing_mode):
        electrons |= {"mixing_beta": settings.mixing_beta, "mixing_mode": settings.mixing_mode}
    if kind == "bands":
        electrons["diago_thr_init"] = settings.first_threshold or BANDS_THRESHOLD
    if kind in ("restart", "start"):
        electrons["startingpot"] = "file"
        if settings.first_threshold is not None:
            electrons["diago_thr_init"] = settings.first_threshold
    return electrons


def _occupations(settings: Settings, electrons: float) -> dict[str, Any]:
    if settings.smearing:
        return {"occupations": "smearing", "smearing": "cold", "degauss": settings.degauss}
    occupied = round(electrons / 2)
    return {"occupations": "fixed", "nbnd": occupied + max(2, occupied // 8)}  # the gap needs empty bands


def _namelist(name: str, values: Mapping[str, Any]) -> str:
    def fortran(value: Any) -> str:
        if isinstance(value, bool):
            return ".true." if value else ".false."
        return f"'{value}'" if isinstance(value, str) else f"{value:g}"

    return "\n".join([f"&{name}", *(f"  {key} = {fortran(value)}" for key, value in values.items()), "/"])


def _format_vector(values: Floats) -> str:
    return " ".join(f"{x:.12f}" for x in values)
