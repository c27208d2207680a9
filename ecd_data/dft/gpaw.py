"""The engine GPAW: its inputs and its runs, each in a process of its own, for PBE with PAW."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.crystal import Crystal, Floats
from ecd_data.dft import gpaw_run
from ecd_data.dft.engine import NotConvergedError, Result, RunError, Step, find_extremes
from ecd_data.dft.gpaw_run import DENSITY, INPUT, LEVELS, LOG, RESULT
from ecd_data.dft.gpaw_setups import PawSetup, load_setups
from ecd_data.dft.settings import Settings
from ecd_data.errors import FormatError, UsageError
from ecd_data.formats.bands import find_band_edges
from ecd_data.formats.units import RYDBERG
from ecd_data.io.file_bytes import hash_file
from ecd_data.work.child_processes import ChildProcesses

MAX_MOVES = 100  # limit on the steps of one relaxation
MAX_FORCE = 2.5e-3  # eV/Å, as with pw.x; as a limit on the strain it leaves less than 0.1 GPa at 5 Å^3 an atom
MIXING = {"mixing_mode": "msr1", "mixing_beta": 0.05}  # GPAW's default
SLOW_MIXING = {"mixing_mode": "pulay", "mixing_beta": 0.02}
DISK_FULL = re.compile(r"No space left on device|\d+ requested and \d+ written")  # the latter is numpy's message


class Gpaw:
    """The Engine that runs the GPAW of an interpreter with folders of PAW setups, for PBE without U."""

    name = "GPAW"
    hybrids = False

    def __init__(self, python: str, folders: Sequence[Path]) -> None:
        self.python, self.folders = python, tuple(folders)
        self._processes = ChildProcesses()

    def input_text(self, step: Step) -> str:
        """The JSON of a step, with names and hashes of the setups and without a path of this machine."""
        settings = step.settings
        if settings.qmesh is not None:
            raise UsageError(
                f"{step.id}: {settings.functional} is not computed with GPAW here: take PBE, or Quantum ESPRESSO"
            )
        if settings.hubbard_u:
            raise UsageError(f"{step.id}: U is not supported with GPAW here: leave it out, or take Quantum ESPRESSO")
        if settings.start_magnetization and not settings.smearing:
            raise UsageError(
                f"{step.id} is spin-polarised and its moment is not known before the run: take smearing, or no spin"
            )
        inputs = gpaw_input(step.crystal, settings, self._setups(step.crystal), step.kind)
        if step.start is not None:
            inputs["start_sha256"] = hash_file(step.start / INPUT)
        return json.dumps(inputs, indent=1) + "\n"

    def is_finished(self, step: Step, text: str, folder: Path) -> bool:
        """Whether `folder` holds the result of this input; a result without forces serves for an input with forces."""
        path = folder / INPUT
        there = path.read_text() if path.is_file() else None
        if there != text and not (step.kind == "density" and there == _remove_forces(text)):
            return False
        try:
            return _failure_reason(step, folder) is None
        except FormatError:
            return False

    def run(self, step: Step, text: str, folder: Path) -> None:
        """Run GPAW on one thread in `folder`; raises RunError with the reason if it leaves no converged result."""
        full = f"{step.id}: the disk under {folder} is full: free some space or give another work folder"
        try:
            (folder / RESULT).unlink(missing_ok=True)  # an older result must not be taken for the new one
            folder.mkdir(parents=True, exist_ok=True)
            (folder / INPUT).write_text(text)
            command = [self.python, "-P", gpaw_run.__file__, *([str(step.start)] if step.start is not None else [])]
            paths = os.pathsep.join(map(str, self.folders))
            code, errors = self._processes.run(command, folder, {"GPAW_SETUP_PATH": paths})
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise RunError(full) from None
            raise RunError(
                f"{step.id}: {self.python} could not be started ({error}): name another one with $ECD_GPAW_PYTHON"
            ) from None
        if code and DISK_FULL.search(errors):
            raise RunError(full)
        failure = _failure_reason(step, folder, code, errors)
        if failure:
            raise RunError(f"{step.id}: {failure}; the log is {folder / LOG}")

    def read(self, step: Step, folder: Path) -> Result:
        """The result of a finished run, with the gaps on its k points."""
        found = _read_result(folder)
        try:
            with np.load(folder / LEVELS, allow_pickle=False) as levels:
                edges = find_band_edges(levels["energies"], levels["occupations"])
            properties, arrays = dict(found["properties"]), dict(found["arrays"])
            if edges is not None:
                properties |= {"gap_eV": edges.gap, "gap_direct_eV": edges.direct_gap}
            crystal = Crystal(**found["crystal"])
            shape = tuple(found.get("shape", ()))
            version, convergence = found["version"], found["convergence"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FormatError(
                f"{folder / RESULT} is not the result of a finished run ({error!r}): run it again"
            ) from None
        return Result(
            crystal,
            shape,
            version,
            properties | find_extremes(arrays),
            arrays,
            convergence,
            _gpaw_settings(step.settings),
            edges,
        )

    def density(self, folder: Path, shape: tuple[int, ...]) -> tuple[Floats, Floats | None]:
        """The valence density and the magnetisation (None without spin), each [a, b, c] in e/Å^3.

        It has plane waves up to four times the cutoff, and is the pseudo density of the valence electrons with the
        compensation charges of PAW, like that of a CHGCAR: smooth, with the right multipoles, but not the all-electron
        density near the nuclei.
        """
        try:
            spins = np.load(folder / DENSITY, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise FormatError(f"{folder / DENSITY} cannot be read ({error}): run it again") from None
        return (spins[0], None) if len(spins) == 1 else (spins[0] + spins[1], spins[0] - spins[1])

    def datasets(self, crystal: Crystal) -> dict[str, dict[str, str]]:
        """File and SHA-256 of the PAW setup of every element."""
        return _list_setups(self._setups(crystal))

    def nelect(self, crystal: Crystal) -> float:
        """The number of valence electrons of the PAW setups."""
        setups = self._setups(crystal)
        return sum(setups[s].valence for s in crystal.symbols)

    def _setups(self, crystal: Crystal) -> dict[str, PawSetup]:
        return load_setups(self.folders, crystal.symbols)

    def stop(self) -> None:
        """Stop all running steps; later ones stop at once."""
        self._processes.stop()


def gpaw_input(crystal: Crystal, settings: Settings, setups: Mapping[str, PawSetup], kind: str) -> dict[str, Any]:
    """The input of a step as a dictionary: crystal, parameters of GPAW, names and hashes of the setups, no paths."""
    valence = [setups[s].valence for s in crystal.symbols]
    starts = settings.start_magnetizations(len(crystal))
    spin = [start * v for start, v in zip(starts, valence, strict=True)] if any(starts) else None
    inputs = {
        "kind": kind,
        "crystal": crystal.to_record(),
        "magmoms": spin,
        "parameters": _parameters(settings, sum(valence), sum(spin or [])),
        "ecutrho_eV": 4 * settings.ecutwfc * RYDBERG,
        "forces": kind in ("relax", "restart") or (kind == "density" and settings.forces),
        "setups": _list_setups(setups),
    }
    return inputs | ({"max_force_eV_A": MAX_FORCE, "max_moves": MAX_MOVES} if kind == "relax" else {})


def _parameters(settings: Settings, electrons: float, moment: float) -> dict[str, Any]:
    """The keywords of a GPAW calculator; bands are converged up to the upper edge of the gap."""
    occupied = int(np.ceil((electrons + moment) / 2))
    upper: str | int
    if settings.smearing:
        occupations = {"name": "marzari-vanderbilt", "width": settings.degauss * RYDBERG}
        bands, upper = occupied + max(6, occupied // 4), "CBM+0.5"  # eV
    else:
        occupations = {"name": "fixed-uniform"}
        bands, upper = occupied + max(4, occupied // 8), occupied + 1
    mixing = _choose_mixing(settings)
    return {
        "mode": {"name": "pw", "ecut": settings.ecutwfc * RYDBERG},
        "xc": settings.functional,
        "kpts": {"size": list(settings.kmesh), "gamma": True},
        "symmetry": {"point_group": settings.symmetry},
        "occupations": occupations,
        "nbands": bands,
        "convergence": {"density": _density_error(settings), "eigenstates": 1e-9, "bands": upper},
        "maxiter": settings.max_steps,
        "mixer": {"name": mixing["mixing_mode"], "beta": mixing["mixing_beta"]},
    }


def _choose_mixing(settings: Settings) -> dict[str, Any]:
    """GPAW's default mixing, or a slower one if the settings ask for a slower mixing than the default of pw.x."""
    return SLOW_MIXING if settings.mixing_beta < Settings.mixing_beta else MIXING


def _density_error(settings: Settings) -> float:
    """The convergence of the density in electrons per electron; the threshold in Ry is quadratic in the density."""
    return 1e-6 * float(np.sqrt(settings.conv_thr / Settings.conv_thr))


def _gpaw_settings(settings: Settings) -> dict[str, Any]:
    """The settings that GPAW uses in place of those of pw.x."""
    return {**_choose_mixing(settings), "conv_thr_Ry": None, "conv_density": _density_error(settings)}


def _list_setups(setups: Mapping[str, PawSetup]) -> dict[str, dict[str, str]]:
    return {symbol: {"file": item.path.name, "sha256": item.sha256} for symbol, item in setups.items()}


def _remove_forces(text: str) -> str:
    return text.replace(' "forces": true', ' "forces": false')


def _failure_reason(step: Step, folder: Path, code: int = 0, errors: str = "") -> str | None:
    """The reason why the run in `folder` left no result, None if it left one; raises NotConvergedError."""
    if code < 0:
        return f"GPAW was killed by signal {-code}, perhaps for lack of memory, and its output is partial; run it again"
    if code:
        return f"GPAW stopped with “{_last_error(errors) or f'status {code} and no message'}”"
    if not (folder / RESULT).is_file():
        return "GPAW ended before its job was done; run it again"
    if not _read_result(folder)["convergence"]["converged"]:
        raise NotConvergedError(f"{step.id}: the self-consistency did not converge; the log is {folder / LOG}")
    return None


def _last_error(errors: str) -> str:
    """The line of a traceback with the error itself."""
    lines = errors.strip().splitlines() or [""]
    raised = [line for line in lines if re.match(r"[A-Za-z][\w.]*: ", line)]
    return (raised or lines)[-1][:300]


def _read_result(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / RESULT).read_text())
        if isinstance(found, dict) and isinstance(found["convergence"]["converged"], bool):
            return found
        error: Any = "it has another form"
    except (OSError, ValueError, KeyError, TypeError) as caught:
        error = caught
    raise FormatError(f"{folder / RESULT} is damaged ({error}): run it again")
