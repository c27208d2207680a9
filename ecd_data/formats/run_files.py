"""The OUTCAR, vasprun.xml and POTCAR in the folder of a density file, whose content is added to the density's meta."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.density import Density
from ecd_data.errors import FormatError
from ecd_data.formats.labels import element_of_label
from ecd_data.formats.vasp.outcar import read_outcar
from ecd_data.formats.vasp.potcar import parse_potcar_element, read_potcar
from ecd_data.formats.vasp.vasprun import read_vasprun
from ecd_data.io.compression import ENDINGS

DENSITY_NAME = re.compile(r"chgcar|aeccar[012]|parchg|vaspwave|(?<![a-z])chg(?![a-z])", re.IGNORECASE)
# Lattice vectors that differ by less of their length are the same: a CHGCAR may have six decimals, an OUTCAR has nine
LATTICE_TOLERANCE = 2e-3
READERS: dict[str, Callable[[Path], dict[str, Any]]] = {"OUTCAR": read_outcar, "vasprun.xml": read_vasprun}
RUN_FILE_NAME = re.compile(r"(?P<outcar>outcar)|vasprun[^/]*\.xml", re.IGNORECASE)


def find_run_reader(path: str | Path) -> Callable[[Path], dict[str, Any]] | None:
    """The function that reads a file whose name is that of an OUTCAR or vasprun.xml; None for other files."""
    match = RUN_FILE_NAME.search(Path(path).name)
    return None if match is None else read_outcar if match["outcar"] else read_vasprun


def add_run_data(rho: Density, file: Path) -> Density:
    """The density with what the run files next to `file` say added to its meta; `file` itself is not opened."""
    rho = add_elements(rho, file)
    run, refused = _read_run_files(file, rho)
    potcar, reason = _read_potcar_file(file, rho)
    refused |= reason
    meta = dict(rho.meta)
    for part in (potcar, *run):
        meta = _merge(meta, part)
    if refused:
        meta["provenance"] = {**meta.get("provenance", {}), "not_used": refused}
    return replace(rho, meta=meta) if meta != dict(rho.meta) else rho


def add_elements(rho: Density, file: Path) -> Density:
    """The density with the elements from the OUTCAR, vasprun.xml or POTCAR next to `file`, where it has none.

    They are taken from the first of these with as many types as the header of `file`, and the same counts where it
    states them; meta["elements_from"] says from which. Without such a file the density is returned as it is.
    """
    counts = rho.meta.get("type_counts")
    if rho.numbers.any() or not counts:
        return rho
    for record in (*reversed(_read_run_files(file, rho)[0]), _read_potcar_file(file, rho)[0]):
        settings, provenance = record.get("settings", {}), record.get("provenance", {})
        elements = _parse_elements(settings.get("potcar", ()))
        if len(elements) == len(counts) and settings.get("counts", counts) == counts:
            meta = {key: value for key, value in rho.meta.items() if key != "type_counts"}
            meta["elements_from"] = provenance.get("outcar") or provenance.get("vasprun") or "POTCAR"
            return replace(rho, crystal=replace(rho.crystal, numbers=np.repeat(elements, counts)), meta=meta)
    return rho


def _parse_elements(titles: Sequence[str]) -> list[int]:
    try:
        return [element_of_label(parse_potcar_element(title)) for title in titles]
    except ValueError:
        return []


def _read_run_files(file: Path, rho: Density) -> tuple[list[dict[str, Any]], dict[str, str]]:
    found: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    for name, reader in READERS.items():
        neighbour = find_run_file(file, name)
        if neighbour is None:
            continue
        try:
            record = reader(neighbour)
        except FormatError as error:
            refused[neighbour.name] = str(error)
            continue
        lattices = [lattice for lattice in record.pop("lattices") if lattice is not None]
        counts = record["settings"].get("counts")
        if not _is_same_cell(lattices, rho) or (counts and not _counts_match(counts, rho)):
            refused[neighbour.name] = f"{neighbour} belongs to another crystal than {file.name}"
        else:
            found.insert(0, record)  # so that the OUTCAR, which says more, comes last and wins
    return found, refused


def _read_potcar_file(file: Path, rho: Density) -> tuple[dict[str, Any], dict[str, str]]:
    neighbour = find_run_file(file, "POTCAR")
    if neighbour is None:
        return {}, {}
    try:
        record = read_potcar(neighbour)
    except FormatError as error:
        return {}, {neighbour.name: str(error)}
    elements = [parse_potcar_element(title) for title in record["potcar"]]
    runs = group_species(rho)
    if [symbol for symbol, _ in itertools.groupby(elements)] != [symbol for symbol, _ in runs] and rho.numbers.all():
        return {}, {neighbour.name: f"{neighbour} has other elements than {file.name}"}
    if len(runs) == len(elements):
        record["counts"] = [n for _, n in runs]
    return {"settings": record}, {}


def find_run_file(file: Path, name: str) -> Path | None:
    """The file next to a density file that has `name` where the density's name has CHGCAR; None where there is none.

    An OUTCAR or vasprun.xml without further words is the one of CHGCAR, and not of CHGCAR_pbe, which may be kept from
    an earlier run with other settings in the same cell. A POTCAR says nothing of a run and is taken for both.
    """
    bare = file.name
    while bare.lower().endswith(ENDINGS):
        bare = bare[: bare.rfind(".")]
    match = DENSITY_NAME.search(bare)
    before, after = (bare[: match.start()], bare[match.end() :]) if match else (f"{Path(bare).stem}.", "")
    if after.lower() in (".vasp", ".cube", ".h5"):
        after = ""
    stems = [before + name + after, before + name.lower() + after]
    if not before.strip("._-") and (name == "POTCAR" or not after.strip("._-")):
        stems += [name, name.lower()]
    for stem, ending in itertools.product(dict.fromkeys(stems), ("", *ENDINGS)):
        if (candidate := file.with_name(stem + ending)).is_file():
            return candidate
    return None


def group_species(rho: Density) -> list[tuple[str, int]]:
    """The symbol and the number of atoms of each group of equal elements that follow each other, as VASP lists them."""
    return [(symbol, len(list(group))) for symbol, group in itertools.groupby(rho.crystal.symbols)]


def _counts_match(counts: list[int], rho: Density) -> bool:
    """Whether the ions per type belong to the crystal; several types of one element may follow each other."""
    ends = set(itertools.accumulate(counts))
    return sum(counts) == len(rho.crystal) and ends >= set(itertools.accumulate(n for _, n in group_species(rho)))


def _is_same_cell(lattices: list[list[list[float]]], rho: Density) -> bool:
    lengths = np.linalg.norm(rho.lattice, axis=1, keepdims=True)
    near = [bool((np.abs(np.array(cell) - rho.lattice) <= LATTICE_TOLERANCE * lengths).all()) for cell in lattices]
    return any(near) or not near


def _merge(meta: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """`meta` with the values of `record`, which win; mappings are merged one level deep."""
    result = dict(meta)
    for key, value in record.items():
        if value is None:
            continue
        result[key] = {**result.get(key, {}), **value} if isinstance(value, Mapping) else value
    return result
