"""Quantum ESPRESSO as an external program: its input, its run, its results."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ecd_data.crystal import Crystal, Floats
from ecd_data.dft.pseudopotentials import Pseudopotential
from ecd_data.dft.settings import Settings
from ecd_data.errors import EcdError, FormatError

HARTREE = 27.211386245988  # eV
INPUT, OUTPUT = "pw.in", "pw.out"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
SAVE = "x.save"
XML = f"{SAVE}/data-file-schema.xml"
CHARGE_DENSITY = f"{SAVE}/charge-density.dat"


class RunError(EcdError):
    """A calculation that did not start, did not converge or did not end."""


class DiskFullError(EcdError, OSError):
    """No space for a density; what was finished before stays."""


def pw_input(crystal: Crystal, settings: Settings, pseudo: Mapping[str, Pseudopotential]) -> str:
    """The text of a pw.x input for a self-consistent density.

    It determines the result: pseudopotentials stand in it by name and hash, and no path of this machine does.
    """
    species = list(dict.fromkeys(crystal.symbols))
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
    if settings.qmesh:
        system |= {"input_dft": "hse", "ecutfock": settings.ecutwfc, "exxdiv_treatment": "gygi-baldereschi"}
        system |= {"x_gamma_extrapolation": True}
        system |= {f"nqx{axis}": n for axis, n in enumerate(settings.qmesh, 1)}
    control = {"calculation": "scf", "prefix": "x", "outdir": "."}
    electrons = {"conv_thr": settings.conv_thr, "electron_maxstep": settings.max_steps}
    gamma = set(settings.kmesh) == {1} and not settings.qmesh
    mesh = ["K_POINTS gamma"] if gamma else ["K_POINTS automatic", "{} {} {} 0 0 0".format(*settings.kmesh)]
    return "\n".join(
        [
            _namelist("CONTROL", {**control, "disk_io": "low", "verbosity": "high"}),
            _namelist("SYSTEM", system),
            _namelist("ELECTRONS", electrons),
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


def run_pw(
    pwx: str,
    pseudo_dir: Path,
    folder: Path,
    text: str,
    label: str,
    watch: Callable[[subprocess.Popen], None] | None = None,
) -> None:
    """Runs pw.x on one thread in `folder`; raises RunError with the reason if no converged result is left there.

    `watch` is called with the process once it runs, so that a caller can end it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INPUT).write_text(text)
        with open(folder / OUTPUT, "w") as out:
            process = subprocess.Popen(
                [pwx, "-i", INPUT],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ESPRESSO_PSEUDO": str(pseudo_dir), **ONE_THREAD},
                start_new_session=True,  # Ctrl-C goes to us; we end the engine
            )
            if watch:
                watch(process)
            code = process.wait()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise RunError(_disk_full(label, folder)) from None
        raise RunError(f"{label}: pw.x could not be started: {error}; give another with $ECD_PWX") from None
    for wavefunctions in (folder / SAVE).glob("wfc*"):  # 6.7 has no disk_io that keeps the density alone
        wavefunctions.unlink()
    failure = failure_reason(folder, code)
    if failure:
        raise RunError(f"{label}: {failure}; the output is in {folder / OUTPUT}")


def _disk_full(label: str, folder: Path) -> str:
    return f"{label}: the disk under {folder} is full; free some space or give another work folder"


def failure_reason(folder: Path, code: int = 0) -> str | None:
    """Why the run in `folder` left no result, None where it did; `code` is the exit status of pw.x."""
    path = folder / OUTPUT
    text = path.read_text(errors="replace") if path.is_file() else ""
    if "No space left on device" in text:
        return "the disk is full; free some space or give another work folder"
    if "convergence NOT achieved" in text:
        return 'the self-consistency did not converge; smearing may help ("metal": true in its record)'
    if "Error in routine" in text:
        return f"pw.x stopped with “{_error_box(text)}”"
    if code < 0:
        return f"pw.x was killed by signal {-code}, so its output is partial; run it again (memory may be short)"
    if code or "JOB DONE" not in text:
        return f"pw.x ended with status {code} before its job was done; run it again"
    if not (folder / XML).is_file() or not (folder / CHARGE_DENSITY).is_file():
        return "pw.x left no density; the disk may be full"
    return None


def _error_box(text: str) -> str:
    lines = text[text.index("Error in routine") :].splitlines()
    return " ".join(line.strip() for line in lines[:2])


def read_result(folder: Path) -> tuple[dict[str, Any], str, tuple[int, ...]]:
    """Properties by column name, engine version and FFT grid [3] of a finished run.

    Raises FormatError where the XML cannot be read.
    """
    path = folder / XML
    try:
        root = ElementTree.parse(path).getroot()
        output = _child(root, "output")
        grid = _child(output, "basis_set/fft_grid")
        shape = tuple(int(grid.attrib[key]) for key in ("nr1", "nr2", "nr3"))
        version = _child(root, "general_info/creator").attrib["VERSION"]
        properties = {
            "energy_eV": float(_text(output, "total_energy/etot")) * HARTREE,
            **_gaps(_child(output, "band_structure")),
            "total_magnetization": float(_text(output, "magnetization/total")),
            "absolute_magnetization": float(_text(output, "magnetization/absolute")),
            "scf_steps": _scf_steps(folder),
            "cpu_seconds": round(float(_text(root, "timing_info/total/cpu")), 2),
            "wall_seconds": round(float(_text(root, "timing_info/total/wall")), 2),
        }
    except (ElementTree.ParseError, OSError, ValueError, KeyError) as error:
        raise FormatError(f"{path} is not the XML of a finished pw.x run ({error}); run it again") from None
    return properties, version, shape


def _child(node: ElementTree.Element, path: str) -> ElementTree.Element:
    found = node.find(path)
    if found is None:
        raise KeyError(f"no <{path}>")
    return found


def _text(node: ElementTree.Element, path: str) -> str:
    return (_child(node, path).text or "").strip()


def _scf_steps(folder: Path) -> int:
    """All self-consistency steps; a hybrid run counts those of its PBE start and of every exchange loop."""
    return (folder / OUTPUT).read_text(errors="replace").count("iteration #")


def _gaps(bands: ElementTree.Element) -> dict[str, float]:
    """Indirect and direct gap in eV on the k points of the run; zero where bands cross the Fermi level."""
    levels = [[float(x) for x in _text(k, "eigenvalues").split()] for k in bands.findall("ks_energies")]
    energies = np.array(levels) * HARTREE
    valence, conduction = _frontier(energies, bands)
    return {
        "gap_eV": max(0.0, float(conduction.min() - valence.max())),
        "gap_direct_eV": max(0.0, float((conduction - valence).min())),
    }


def _frontier(energies: Floats, bands: ElementTree.Element) -> tuple[Floats, Floats]:
    """Highest occupied and lowest empty level at every k point [nk] each; equal ones for a metal."""
    closed = energies[:, 0], energies[:, 0]
    electrons = float(_text(bands, "nelec"))
    if _text(bands, "lsda") == "true":
        up = int(_text(bands, "nbnd_up"))
        channels = [energies[:, :up], energies[:, up:]]
        fermi = float(_text(bands, "fermi_energy")) * HARTREE
        counts = [(channel <= fermi).sum(axis=1) for channel in channels]
        if any(len(set(count)) > 1 for count in counts):
            return closed
        occupied = int(sum(count[0] for count in counts))
    else:
        if round(electrons) % 2:
            return closed
        occupied = round(electrons) // 2
    energies = np.sort(energies, axis=1)
    return (energies[:, occupied - 1], energies[:, occupied]) if occupied < energies.shape[1] else closed
