"""The output of a run of pw.x: whether it succeeded, and the results in its XML and text output."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ecd_data.dft.engine import Result, find_extremes
from ecd_data.errors import FormatError
from ecd_data.formats.bands import METAL, BandEdges, find_edges
from ecd_data.formats.espresso_density import read_xml
from ecd_data.formats.units import BOHR, EV_PER_A3, HARTREE

OUTPUT, SAVE = "pw.out", "x.save"
XML = f"{SAVE}/data-file-schema.xml"
CHARGE_DENSITY, CHARGE_DENSITY_HDF5 = f"{SAVE}/charge-density.dat", f"{SAVE}/charge-density.hdf5"
OCCUPATIONS = f"{SAVE}/occup.txt"  # of U, without which pw.x starts no run with U from a density
UNCONVERGED = "convergence NOT achieved"
UNSOLVED = ("eigenvalues not converged", "bands are not converged")  # of some and of too many levels
SCF_NOT_CONVERGED = "the self-consistency did not converge"
LEVELS_NOT_CONVERGED = "pw.x did not converge all levels"
SITE_MOMENT = re.compile(r"^\s*atom:?\s+(\d+)\s.*magn[:=]\s*(-?[\d.]+)", re.MULTILINE)


def failure_reason(folder: Path, code: int = 0, bands_only: bool = False) -> str | None:
    """The reason why the run in `folder` left no result; None if it left one.

    code: the exit status of pw.x; bands_only: levels in a fixed density were wanted, which must then be converged.
    """
    text = read_output(folder)
    if "No space left on device" in text:
        return "the disk is full; free some space or give another work folder"
    if UNCONVERGED in text:
        return SCF_NOT_CONVERGED
    if bands_only and any(words in text for words in UNSOLVED):
        return LEVELS_NOT_CONVERGED
    if "Error in routine" in text:
        return f"pw.x stopped with “{_read_error_box(text)}”"
    if code < 0:
        return f"pw.x was killed by signal {-code}, so its output is partial; run it again (memory may be short)"
    if code or "JOB DONE" not in text:
        return f"pw.x ended with status {code} before its job was done; run it again"
    densities = (folder / CHARGE_DENSITY, folder / CHARGE_DENSITY_HDF5)
    if not (folder / XML).is_file() or not any(path.is_file() for path in densities):
        return "pw.x left no density; the disk may be full"
    return None


def read_output(folder: Path) -> str:
    """The text that pw.x printed; empty if it did not run."""
    path = folder / OUTPUT
    return path.read_text(errors="replace") if path.is_file() else ""


def _read_error_box(text: str) -> str:
    lines = text[text.index("Error in routine") :].splitlines()
    return " ".join(line.strip() for line in lines[:2])


def read_result(folder: Path, bands_only: bool = False) -> Result:
    """The Result of a finished run.

    Parameters
    ----------
    folder : the folder of the run.
    bands_only : read the levels alone, for a run in a fixed density.

    Raises
    ------
    FormatError : the XML cannot be read.
    """
    path = folder / XML
    crystal, shape, _ = read_xml(path)
    try:
        root = ElementTree.parse(path).getroot()
        output = _child(root, "output")
        text = read_output(folder)
        arrays = {} if bands_only else _read_arrays(output, text, len(crystal))
        edges = _find_band_edges(_child(output, "band_structure"))
        properties = {"gap_eV": edges.gap, "gap_direct_eV": edges.direct_gap, **_read_seconds(root)}
        if not bands_only:
            properties |= {**_read_energy(output), "scf_steps": text.count("iteration #"), **find_extremes(arrays)}
        version = _child(root, "general_info/creator").attrib["VERSION"]
        return Result(crystal, shape, version, properties, arrays, _read_convergence(output), edges=edges)
    except (ElementTree.ParseError, OSError, ValueError, KeyError) as error:
        raise FormatError(f"{path} is not the XML of a finished pw.x run ({error}); run it again") from None


def read_functional(folder: Path) -> str:
    """The functional of a finished run as pw.x calls it, such as "PBE" or "SLA PW PBX PBC"; "" where none is named."""
    try:
        name = ElementTree.parse(folder / XML).getroot().findtext("output/dft/functional") or ""
    except (ElementTree.ParseError, OSError) as error:
        raise FormatError(f"{folder / XML} is not the XML of a finished pw.x run ({error}); run it again") from None
    return " ".join(re.split(r"[-+\s]+", name.strip().upper()))


def _read_energy(output: ElementTree.Element) -> dict[str, float]:
    """The energy in eV and the moments in Bohr magnetons; pw.x 7.2 writes no total moment for a run without spin."""
    spin = output.findtext("magnetization/lsda") != "false"
    moments = {
        f"{kind}_magnetization": float(_text(output, f"magnetization/{kind}")) if spin else 0.0
        for kind in ("total", "absolute")
    }
    return {"energy_eV": float(_text(output, "total_energy/etot")) * HARTREE, **moments}


def _read_seconds(root: ElementTree.Element) -> dict[str, float]:
    return {f"{kind}_seconds": round(float(_text(root, f"timing_info/total/{kind}")), 2) for kind in ("cpu", "wall")}


def _read_arrays(output: ElementTree.Element, text: str, natoms: int) -> dict[str, Any]:
    """Forces in eV/Å, stress in GPa and moments as lists, if the run computed them."""
    found: dict[str, Any] = {}
    if output.find("forces") is not None:
        forces = np.array(_text(output, "forces").split(), dtype=np.float64).reshape(natoms, 3)
        found["forces_eV_A"] = (forces * HARTREE / BOHR).round(8).tolist()
    if output.find("stress") is not None:
        stress = np.array(_text(output, "stress").split(), dtype=np.float64).reshape(3, 3)
        found["stress_GPa"] = (stress * HARTREE / BOHR**3 * EV_PER_A3).round(6).tolist()
    moments = SITE_MOMENT.findall(text)[-natoms:]
    if [int(atom) for atom, _ in moments] == list(range(1, natoms + 1)):
        found["site_moments"] = [float(moment) for _, moment in moments]
    return found


def _read_convergence(output: ElementTree.Element) -> dict[str, Any]:
    """How the last self-consistent calculation ended, and the relaxation if there was one."""
    found: dict[str, Any] = {}
    scf, moves = output.find("convergence_info/scf_conv"), output.find("convergence_info/opt_conv")
    if scf is not None:
        found["converged"] = _text(scf, "convergence_achieved") == "true"
        found["scf_error_Ry"] = 2 * float(_text(scf, "scf_error"))
    if moves is not None:
        found["relaxed"] = _text(moves, "convergence_achieved") == "true"
        found["relax_steps"] = int(_text(moves, "n_opt_steps"))
    return found


def _child(node: ElementTree.Element, path: str) -> ElementTree.Element:
    found = node.find(path)
    if found is None:
        raise KeyError(f"no <{path}>")
    return found


def _text(node: ElementTree.Element, path: str) -> str:
    return (_child(node, path).text or "").strip()


def _find_band_edges(bands: ElementTree.Element) -> BandEdges:
    """The BandEdges on the k points of the run; METAL if bands cross the Fermi level, are partly filled or all full."""
    levels = [[float(x) for x in _text(k, "eigenvalues").split()] for k in bands.findall("ks_energies")]
    energies = np.array(levels) * HARTREE
    electrons = float(_text(bands, "nelec"))
    if _text(bands, "lsda") == "true":
        up = int(_text(bands, "nbnd_up"))
        channels = [energies[:, :up], energies[:, up:]]
        fermi = float(_text(bands, "fermi_energy")) * HARTREE
        counts = [(channel <= fermi).sum(axis=1) for channel in channels]
        if any(len(set(count)) > 1 for count in counts):
            return METAL
        occupied = int(sum(count[0] for count in counts))
        if occupied != round(electrons):  # a level at the Fermi level is partly filled, as in free atoms
            return METAL
    else:
        if round(electrons) % 2:
            return METAL
        occupied = round(electrons) // 2
    energies = np.sort(energies, axis=1)
    if occupied >= energies.shape[1]:
        return METAL
    return find_edges(energies[:, occupied - 1], energies[:, occupied])
