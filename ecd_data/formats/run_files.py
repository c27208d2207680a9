"""A density with what lies beside its file: the OUTCAR, vasprun.xml and POTCAR of the run that wrote it."""

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
from ecd_data.formats.vasp.potcar import element_of, read_potcar
from ecd_data.formats.vasp.vasprun import read_vasprun
from ecd_data.io.compression import ENDINGS

DENSITY_NAME = re.compile(r"chgcar|aeccar[012]|parchg|vaspwave|(?<![a-z])chg(?![a-z])", re.IGNORECASE)
ALL_ELECTRON = re.compile(r"aeccar", re.IGNORECASE)
SAME_LATTICE = 2e-3  # of a lattice vector's length; CHGCAR headers may have six decimals, OUTCARs nine
READERS: dict[str, Callable[[Path], dict[str, Any]]] = {"OUTCAR": read_outcar, "vasprun.xml": read_vasprun}
RUN_FILE = re.compile(r"(?P<outcar>outcar)|vasprun[^/]*\.xml", re.IGNORECASE)


def reader_of(path: str | Path) -> Callable[[Path], dict[str, Any]] | None:
    """What reads an OUTCAR or vasprun.xml by its name, None for other files."""
    match = RUN_FILE.search(Path(path).name)
    return None if match is None else read_outcar if match["outcar"] else read_vasprun


def with_run(rho: Density, file: Path) -> Density:
    """The Density with its meta completed by what lies beside `file`, which itself is not opened; see `read_run`."""
    rho = with_elements(rho, file)
    run, refused = _run_beside(file, rho)
    potcar, reason = _potcar_beside(file, rho)
    refused |= reason
    meta = dict(rho.meta)
    if ALL_ELECTRON.search(file.name):
        meta["kind"] = "all-electron"
    for part in (potcar, *run):
        meta = _merged(meta, part)
    if refused:
        meta["provenance"] = {**meta.get("provenance", {}), "not_used": refused}
    return replace(rho, meta=meta) if meta != dict(rho.meta) else rho


def with_elements(rho: Density, file: Path) -> Density:
    """The Density of a file whose header names no elements with those of the OUTCAR, vasprun.xml or POTCAR beside it.

    They are taken from the first of these that has as many types as the header, and the same counts where it tells
    them; meta["elements_from"] says which. As it is where there is none, or where it has elements.
    """
    counts = rho.meta.get("type_counts")
    if rho.numbers.any() or not counts:
        return rho
    for said in (*reversed(_run_beside(file, rho)[0]), _potcar_beside(file, rho)[0]):
        settings, provenance = said.get("settings", {}), said.get("provenance", {})
        elements = _elements(settings.get("potcar", ()))
        if len(elements) == len(counts) and settings.get("counts", counts) == counts:
            meta = {key: value for key, value in rho.meta.items() if key != "type_counts"}
            meta["elements_from"] = provenance.get("outcar") or provenance.get("vasprun") or "POTCAR"
            return replace(rho, crystal=replace(rho.crystal, numbers=np.repeat(elements, counts)), meta=meta)
    return rho


def _elements(titles: Sequence[str]) -> list[int]:
    try:
        return [element_of_label(element_of(title)) for title in titles]
    except ValueError:
        return []


def _run_beside(file: Path, rho: Density) -> tuple[list[dict[str, Any]], dict[str, str]]:
    found: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    for name, reader in READERS.items():
        neighbour = find_beside(file, name)
        if neighbour is None:
            continue
        try:
            said = reader(neighbour)
        except FormatError as error:
            refused[neighbour.name] = str(error)
            continue
        lattices = [lattice for lattice in said.pop("lattices") if lattice is not None]
        counts = said["settings"].get("counts")
        if not _same_cell(lattices, rho) or (counts and not _fits(counts, rho)):
            refused[neighbour.name] = f"{neighbour} is of another crystal than {file.name}"
        else:
            found.insert(0, said)  # so that the OUTCAR, which says more, has the last word
    return found, refused


def _potcar_beside(file: Path, rho: Density) -> tuple[dict[str, Any], dict[str, str]]:
    neighbour = find_beside(file, "POTCAR")
    if neighbour is None:
        return {}, {}
    try:
        said = read_potcar(neighbour)
    except FormatError as error:
        return {}, {neighbour.name: str(error)}
    elements = [element_of(title) for title in said["potcar"]]
    runs = species_runs(rho)
    if [symbol for symbol, _ in itertools.groupby(elements)] != [symbol for symbol, _ in runs] and rho.numbers.all():
        return {}, {neighbour.name: f"{neighbour} is of other elements than {file.name}"}
    if len(runs) == len(elements):
        said["counts"] = [n for _, n in runs]
    return {"settings": said}, {}


def find_beside(file: Path, name: str) -> Path | None:
    """The neighbour of a density's file that has `name` where the density's name has CHGCAR; None without one."""
    bare = file.name
    while bare.lower().endswith(ENDINGS):
        bare = bare[: bare.rfind(".")]
    match = DENSITY_NAME.search(bare)
    before, after = (bare[: match.start()], bare[match.end() :]) if match else (f"{Path(bare).stem}.", "")
    if after.lower() in (".vasp", ".cube", ".h5"):
        after = ""
    stems = [before + name + after, before + name.lower() + after]
    if not before.strip("._-"):
        stems += [name, name.lower()]
    for stem, ending in itertools.product(dict.fromkeys(stems), ("", *ENDINGS)):
        if (candidate := file.with_name(stem + ending)).is_file():
            return candidate
    return None


def species_runs(rho: Density) -> list[tuple[str, int]]:
    """Symbol and count of each run of one element, as VASP lists them."""
    return [(symbol, len(list(group))) for symbol, group in itertools.groupby(rho.crystal.symbols)]


def _fits(counts: list[int], rho: Density) -> bool:
    """Whether ions per type are the runs of the crystal, of which one may be of several types of an element."""
    ends = set(itertools.accumulate(counts))
    return sum(counts) == len(rho.crystal) and ends >= set(itertools.accumulate(n for _, n in species_runs(rho)))


def _same_cell(lattices: list[list[list[float]]], rho: Density) -> bool:
    lengths = np.linalg.norm(rho.lattice, axis=1, keepdims=True)
    near = [bool((np.abs(np.array(cell) - rho.lattice) <= SAME_LATTICE * lengths).all()) for cell in lattices]
    return any(near) or not near


def _merged(meta: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """`meta` with what a run file said laid over it, one level deep."""
    result = dict(meta)
    for key, value in said.items():
        if value is None:
            continue
        result[key] = {**result.get(key, {}), **value} if isinstance(value, Mapping) else value
    return result
