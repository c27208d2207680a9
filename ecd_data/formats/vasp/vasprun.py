"""Metadata of a run from VASP's vasprun.xml, without a tree of the XML, so that huge and cut files are read too."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.errors import FormatError
from ecd_data.formats.bands import band_gaps
from ecd_data.formats.vasp.settings import (
    FIRST_FROZEN_ICHARG,
    SPECIES_TAGS,
    TAGS,
    UNSET_WORDS,
    name_functional,
    parse_logical,
)
from ecd_data.io.text_streams import LastLines, LastSection, read_pieces

MAX_HEADER_BYTES = 1 << 26  # that are kept in memory before the first calculation; real headers are far shorter
CALCULATION, STEP, DONE = b"<calculation>", b"<scstep>", b"</modeling>"
ENERGY, FREE_ENERGY, FERMI = b'name="e_0_energy"', b'name="e_fr_energy"', b'name="efermi"'
ENTRY = re.compile(r'<[iv]\b[^>]*\bname="(\w+)"[^>]*>([^<]*)<')
ROW = re.compile(rb"<r> *(-?\d+\.\d+) +(-?\d+\.\d+) *</r>")
CELL = r"\s*<c> *({}) *</c>"
SPECIES = re.compile("<rc>" + "".join(CELL.format(cell) for cell in (r"\d+", r"\w+", "[^<]*?", r"[\d.]+", "[^<]*?")))
BASIS = b'<varray name="basis"'
LEXCH_OF_TITLE = {"PAW_PBE": "8", "PAW_GGA": "7", "PAW": "2", "PAW_LDA": "2"}
OWN_TAGS = TAGS | {"encut_eV": ("ENMAX", float), "metagga": ("METAGGA", str), "ldau": ("LDAU", parse_logical)}


def read_vasprun(path: str | Path) -> dict[str, Any]:
    """The metadata in a vasprun.xml, with the keys of `read_outcar`; it has no total magnetization.

    The file may be compressed; it is read once, in bounded memory. A cut file gives what it still holds, with
    provenance["finished"] False.

    Raises
    ------
    FormatError : the file cannot be read or is no vasprun.xml.
    """
    path = Path(path)
    marks = LastLines((CALCULATION, STEP, ENERGY, FREE_ENERGY, FERMI, DONE))
    bands, cell = LastSection(b"<eigenvalues>", b"</eigenvalues>"), LastSection(BASIS, b"</varray>")
    start, in_header, steps = b"", True, 0
    for piece in read_pieces(path):
        marks.feed(piece)
        bands.feed(piece)
        cell.feed(piece)
        position = piece.rfind(CALCULATION)
        steps = piece.count(STEP, position) if position >= 0 else steps + piece.count(STEP)
        if in_header:
            position = piece.find(CALCULATION)
            start += piece if position < 0 else piece[:position]
            in_header = position < 0 and len(start) < MAX_HEADER_BYTES
    header = start.decode("latin-1")
    settings = _read_settings(header, path)
    return {
        "lattices": [_read_lattice(header.encode("latin-1")), _read_lattice(cell.text)],
        "functional": name_functional(settings),
        "settings": settings,
        "provenance": _read_provenance(header, marks, settings, steps, path),
        "properties": _read_properties(marks, bands),
    }


def _read_settings(header: str, path: Path) -> dict[str, Any]:
    words = {tag: text.strip() for tag, text in ENTRY.findall(header)}  # the parameters come after the INCAR
    settings = {key: _parse_value(words.get(tag), kind) for key, (tag, kind) in OWN_TAGS.items()}
    if "<modeling>" not in header or settings["encut_eV"] is None or settings["nelect"] is None:
        raise FormatError(f"{path} is not a vasprun.xml, or is cut before its parameters: copy it again")
    if all(f"NG{x}F" in words for x in "XYZ"):
        settings["fine_grid"] = [_parse_value(words[f"NG{x}F"], int) for x in "XYZ"]
    if str(settings["metagga"]).upper() in UNSET_WORDS:
        settings["metagga"] = None
    species = SPECIES.findall(header)
    if species:
        counts, _, _, zval, titles = zip(*species, strict=True)
        settings["counts"], settings["zval"] = [int(n) for n in counts], [float(z) for z in zval]
        settings["potcar"] = [" ".join(title.split()) for title in titles]
        settings["lexch"] = LEXCH_OF_TITLE.get(settings["potcar"][0].split()[0])
    for key, (tag, kind) in SPECIES_TAGS.items():
        if settings["ldau"] and tag in words:
            settings[key] = [_parse_value(word, kind) for word in words[tag].split()]
    return {key: value for key, value in settings.items() if value is not None}


def _parse_value(word: str | None, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(word) if word else None
    except ValueError:
        return None


def _read_lattice(text: bytes) -> list[list[float]] | None:
    """The first lattice [3, 3] in a text, in Å; None where there is none."""
    position = text.find(BASIS)
    rows = [
        [float(x) for x in re.findall(rb"-?\d+\.\d+", row)] for row in text[max(position, 0) :].split(b"\n", 4)[1:4]
    ]
    return rows if position >= 0 and [len(row) for row in rows] == [3, 3, 3] else None


def _read_provenance(header: str, marks: LastLines, settings: dict[str, Any], steps: int, path: Path) -> dict[str, Any]:
    version = re.search(r'name="version"[^>]*>([^<]*)<', header)
    return {
        "engine": "VASP",
        "engine_version": version[1].strip() if version else None,
        "vasprun": path.name,
        "finished": marks.counts[DONE] > 0,
        "converged": marks.counts[DONE] > 0 and 0 < steps < settings.get("nelm", 0),
        "ionic_steps": marks.counts[CALCULATION],
        "frozen_density": settings.get("icharg", 0) >= FIRST_FROZEN_ICHARG,
    }


def _read_properties(marks: LastLines, bands: LastSection) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "energy_eV": _parse_number(marks.lines.get(ENERGY, "")),
        "free_energy_eV": _parse_number(marks.lines.get(FREE_ENERGY, "")),
        "scf_steps": marks.counts[STEP] or None,
        "fermi_eV": _parse_number(marks.lines.get(FERMI, "")),
    }
    text = bands.text
    spins, sets = text.count(b'comment="spin'), text.count(b'comment="kpoint')
    rows = ROW.findall(text) if bands.complete and spins and sets % spins == 0 else []
    if rows and len(rows) % sets == 0 and len(rows) == text.count(b"<r>"):
        table = np.array(rows, dtype=np.float64).reshape(spins, sets // spins, -1, 2)
        gaps = band_gaps(table[..., 0], table[..., 1])
        if gaps is not None:
            properties["gap_eV"], properties["gap_direct_eV"] = gaps
    return {key: value for key, value in properties.items() if value is not None}


def _parse_number(line: str) -> float | None:
    match = re.search(r"> *(-?\d+\.\d+) *<", line)
    return float(match[1]) if match else None
