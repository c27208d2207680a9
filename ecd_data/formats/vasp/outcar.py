"""Metadata of a run from VASP's OUTCAR: functional, settings, convergence, energies, band gap."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.errors import FormatError
from ecd_data.formats.bands import band_gaps
from ecd_data.formats.vasp.settings import FIRST_FROZEN_ICHARG, SPECIES_TAGS, TAGS, UNSET_WORDS, name_functional
from ecd_data.io.text_streams import LastLines, LastSection, read_pieces

MAX_HEADER_BYTES = 1 << 26  # that are kept in memory before the first iteration; real headers are far shorter
ITERATION, NUMBER = b" Iteration ", b"number of electron "
REACHED, NOT_REACHED = b"aborting loop because EDIFF is reached", b"aborting loop EDIFF was not reached"
ENERGY, FREE_ENERGY = b"energy(sigma->0) =", b"free  energy   TOTEN  ="
CPU, WALL, DONE = b"Total CPU time used (sec):", b"Elapsed time (sec):", b"General timing and accounting"
FROZEN = b"charge density and potential remain constant during run"
LATTICE = b"direct lattice vectors"
FERMI, RULE = b"E-fermi :", b"\n------"
TAG = re.compile(r"\b([A-Z][A-Z0-9_]*) *= *([^\s;=]+)")
BAND = re.compile(rb"^ +(\d+) +(-?\d+\.\d+) +(-?\d+\.\d+) *\r?$", re.MULTILINE)

OWN_TAGS = TAGS | {"encut_eV": ("ENCUT", float), "lexch": ("LEXCH", str), "nkpts": ("NKPTS", int)}


def read_outcar(path: str | Path) -> dict[str, Any]:
    """The "functional", "settings", "provenance" and "properties" in an OUTCAR, for the meta of a Density.

    docs/formats.md lists their keys. "lattices" are the first and the last lattice [3, 3] in Å, each None where it is
    missing. The file may be compressed; it is read once, in bounded memory. A cut file gives what it still holds, with
    provenance["finished"] False.

    Raises
    ------
    FormatError : the file cannot be read or is no OUTCAR.
    """
    path = Path(path)
    marks = LastLines((ITERATION, NUMBER, REACHED, NOT_REACHED, ENERGY, FREE_ENERGY, CPU, WALL, DONE, FROZEN))
    bands, cell = LastSection(FERMI, RULE), LastSection(LATTICE, b"length of vectors")
    start, in_header = b"", True
    for piece in read_pieces(path):
        marks.feed(piece)
        bands.feed(piece)
        cell.feed(piece)
        if in_header:
            position = piece.find(ITERATION)
            start += piece if position < 0 else piece[:position]
            in_header = position < 0 and len(start) < MAX_HEADER_BYTES
    header = start.decode("latin-1")
    settings = _read_settings(header, path)
    return {
        "lattices": [_read_lattice(header), _read_lattice(cell.text.decode("latin-1"))],
        "functional": name_functional(settings),
        "settings": settings,
        "provenance": _read_provenance(header, marks, settings, path),
        "properties": _read_properties(marks, bands.text, settings),
    }


def _read_settings(header: str, path: Path) -> dict[str, Any]:
    settings_text = header[max(0, header.find("Dimension of arrays:")) :]
    words: dict[str, str] = {}
    for tag, word in TAG.findall(settings_text):
        words.setdefault(tag, word)
    settings = {key: _parse_value(words.get(tag), kind) for key, (tag, kind) in OWN_TAGS.items()}
    if settings["encut_eV"] is None or settings["nelect"] is None or "vasp" not in header[:2000].lower():
        raise FormatError(f"{path} is not an OUTCAR, or is cut before its settings: copy it again")
    meta = [m.strip("\"'") for m in re.findall(r"METAGGA *= *(\S+)", header)]
    settings["metagga"] = next((m for m in reversed(meta) if m.upper() not in UNSET_WORDS), None)
    grid = re.search(r"NGXF= *(\d+) +NGYF= *(\d+) +NGZF= *(\d+)", settings_text)
    settings["fine_grid"] = [int(n) for n in grid.groups()] if grid else None
    settings["potcar"] = [" ".join(t.split()) for t in re.findall(r"TITEL *= *(\S.*)", header)] or None
    counts = re.search(r"ions per type = *([\d ]+)", settings_text)
    settings["counts"] = [int(n) for n in counts[1].split()] if counts else None
    settings["zval"] = [float(z) for z in re.findall(r"ZVAL *= *([\d.]+) +mass and valenz", header)] or None
    settings["ldau"] = "LDA+U is selected" in settings_text
    for key, (tag, number) in SPECIES_TAGS.items():
        row = re.search(rf"species {tag} = *(.*)", settings_text)
        settings[key] = _parse_row(row[1], number) if row and settings["ldau"] else None
    return {key: value for key, value in settings.items() if value is not None}


def _parse_value(word: str | None, kind: Callable[[str], Any]) -> Any:
    try:
        return None if word is None else kind(word)
    except ValueError:
        return None


def _parse_row(row: str, kind: Callable[[str], Any]) -> list[Any] | None:
    try:
        return [kind(word) for word in row.split()]
    except ValueError:
        return None


def _read_lattice(header: str) -> list[list[float]] | None:
    """The first lattice [3, 3] in a text, in Å; None where there is none."""
    position = header.find(LATTICE.decode())
    rows = [re.findall(r"-?\d+\.\d+", row)[:3] for row in header[position:].split("\n", 4)[1:4]]
    if position < 0 or len(rows) < 3 or min(map(len, rows)) < 3:
        return None
    return [[float(x) for x in row] for row in rows]


def _read_provenance(header: str, marks: LastLines, settings: dict[str, Any], path: Path) -> dict[str, Any]:
    version = re.search(r"vasp\.(\S+)", header[:2000])
    ionic, last = _parse_iteration(marks.lines.get(ITERATION, ""))
    finished = marks.positions[DONE] >= 0
    return {
        "engine": "VASP",
        "engine_version": version[1] if version else None,
        "outcar": path.name,
        "finished": finished,
        "converged": _is_converged(marks, settings, last, finished),
        "ionic_steps": ionic,
        "frozen_density": marks.counts[FROZEN] > 0 or settings.get("icharg", 0) >= FIRST_FROZEN_ICHARG,
    }


def _is_converged(marks: LastLines, settings: dict[str, Any], steps: int, finished: bool) -> bool:
    """Whether the last electronic loop ended because EDIFF was reached; VASP 5 prints nothing where it was not."""
    reached = marks.positions[REACHED] > max(marks.positions[ITERATION], marks.positions[NOT_REACHED])
    silent = marks.counts[REACHED] == marks.counts[NOT_REACHED] == 0
    return reached or (silent and finished and 0 < steps < settings.get("nelm", 0))


def _parse_iteration(line: str) -> tuple[int, int]:
    """The ionic and the electronic step in a line such as "--- Iteration    1(  12) ---"."""
    match = re.search(r"Iteration +(\d+)\( *(\d+)\)", line)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _read_properties(marks: LastLines, bands: bytes, settings: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "energy_eV": _parse_last_number(marks.lines.get(ENERGY, "")),
        "free_energy_eV": _parse_last_number(marks.lines.get(FREE_ENERGY, "")),
        "scf_steps": marks.counts[ITERATION] or None,
        "cpu_seconds": _parse_last_number(marks.lines.get(CPU, "")),
        "wall_seconds": _parse_last_number(marks.lines.get(WALL, "")),
    }
    moment = re.search(r"magnetization +([-\d. ]+)$", marks.lines.get(NUMBER, "").rstrip())
    if moment and moment[1].split():
        values = [float(x) for x in moment[1].split()]
        properties["total_magnetization"] = values[0] if len(values) == 1 else float(np.linalg.norm(values))
    fermi = re.search(rb"E-fermi : *(-?[\d.]+)", bands)
    if fermi:
        properties["fermi_eV"] = float(fermi[1])
    gaps = _read_gaps(bands, settings)
    if gaps is not None:
        properties["gap_eV"], properties["gap_direct_eV"] = gaps
    return {key: value for key, value in properties.items() if value is not None}


def _parse_last_number(line: str) -> float | None:
    numbers = re.findall(r"-?\d+\.\d+", line)
    return float(numbers[-1]) if numbers else None


def _read_gaps(text: bytes, settings: dict[str, Any]) -> tuple[float, float] | None:
    spins = 2 if settings.get("ispin") == 2 and not settings.get("noncollinear") else 1
    kpoints, bands = settings.get("nkpts", 0), settings.get("nbands", 0)
    rows = BAND.findall(text)
    if not rows or len(rows) != spins * kpoints * bands:
        return None
    table = np.array(rows, dtype=np.float64).reshape(spins, kpoints, bands, 3)
    return band_gaps(table[..., 1], table[..., 2])
