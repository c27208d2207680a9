"""Files in and out of Density; the format is found by content and name."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecd_data.arguments import path_text, shown, whole_number
from ecd_data.density import Density
from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.formats import cube, espresso_density, gpw, hdf5, materials_project, xsf
from ecd_data.formats.foreign import foreign_by_content, foreign_by_name, neither
from ecd_data.formats.run_files import with_elements, with_run
from ecd_data.formats.units import unit_named
from ecd_data.formats.vasp import chgcar, vaspwave
from ecd_data.io import archives
from ecd_data.io.compression import read_bytes, write_bytes
from ecd_data.io.density_names import refuse_other_quantity
from ecd_data.io.file_bytes import Text, with_line_feeds

log = logging.getLogger("ecd_data")

MAX_VOLUME = 1e8  # Å^3; a larger cell is a damaged number
HEAD = 8192
MARKLESS = ("chgcar", "vaspwave")  # what has no mark of its own, and any HDF5, may be of another program


@dataclass(frozen=True)
class Format:
    """How to recognise, read and write one: `looks_like` sees the first bytes; `names` is found in the file's name.

    open_unit: whether the format leaves the unit open, so that `parse` takes it as a third argument.
    """

    parse: Callable[..., Density]
    looks_like: Callable[[bytes], bool]
    names: re.Pattern[str]
    render: Callable[[Density], bytes] | None = None
    open_unit: bool = False


def _is_hdf5(head: bytes) -> bool:
    return head.startswith(hdf5.MAGIC)


FORMATS: dict[str, Format] = {
    "espresso-hdf5": Format(espresso_density.parse_hdf5, lambda head: False, re.compile(r"charge-density\.hdf5", re.I)),
    "vaspwave": Format(vaspwave.parse, _is_hdf5, re.compile(r"\.h5\b", re.I)),
    "espresso": Format(espresso_density.parse, espresso_density.looks_like, re.compile(r"charge-density\.dat", re.I)),
    "gpw": Format(gpw.parse, gpw.looks_like, re.compile(r"\.gpw\b", re.I)),
    "json": Format(materials_project.parse, materials_project.looks_like, re.compile(r"\.json\b", re.I)),
    "xsf": Format(xsf.parse, xsf.looks_like, re.compile(r"\.xsf\b", re.I), open_unit=True),
    "cube": Format(cube.parse, cube.looks_like, re.compile(r"\.cube?\b", re.I), cube.render, True),
    "chgcar": Format(chgcar.parse, lambda head: False, re.compile("chgcar", re.I), chgcar.render),
}


def read(path: str | Path, unit: str | None = None, step: int = -1) -> Density:
    """The Density in a file, in e/Å^3: CHGCAR (also CHG, AECCAR), vaspwave.h5, cube, XSF, pymatgen's JSON, QE's.

    Plain or .gz, .xz, .bz2, .zst, .lz4; in a tar archive as `archive.tar.gz`, if it is the only one there, or
    `archive.tar.gz::member`. meta holds what the format says, such as "comment". unit: of the numbers in a cube or
    XSF, "e/A^3" or "e/bohr^3"; what had to be guessed without it is logged, and kept in meta["guesses"] for `check`.
    step: which one of a CHG with several steps, counted as Python does; meta["steps"] says how many there are. Where a
    header of VASP 4 names no elements, an OUTCAR, vasprun.xml or POTCAR beside the file does.
    Raises FormatError for a file that is missing, empty, damaged, of another format, or by its name another quantity
    (LOCPOT, ELFCAR); UsageError for a unit that is unknown or of a format that states its own, and for a step that is
    not there.
    """
    file, member = archives.split_member(path_text(path, "what is read"))
    data, name = read_bytes(Path(file)), file
    if archives.is_tar(data[:HEAD]):
        data, name = archives.read_member(data, file, member)
    elif member is not None:
        raise FormatError(f"{file} is not a tar archive: leave ::{member} out")
    rho = parse(data, name, unit, step)
    if "type_counts" not in rho.meta:
        return rho
    return with_elements(rho, Path(file))


def read_run(path: str | Path, unit: str | None = None) -> Density:
    """The Density in a file, its meta completed by the OUTCAR, vasprun.xml and POTCAR beside it.

    They are found as `OUTCAR` beside `CHGCAR`, `ZnO_OUTCAR` beside `ZnO_CHGCAR`, `x.outcar` beside `x.chgcar`, each
    plain or compressed. What is of another crystal is not used and is named in meta["provenance"]["not_used"], like a
    file that cannot be read. unit: as in `read`. Raises FormatError and UsageError as `read` does.
    """
    return with_run(read(path, unit=unit), Path(archives.split_member(str(path))[0]))


def parse(data: Text, name: str, unit: str | None = None, step: int = -1) -> Density:
    """The Density in the uncompressed bytes of a file that errors call `name`; unit, step, errors: as in `read`."""
    data = with_line_feeds(data)
    head, step = data[:HEAD], whole_number(step, "step")
    refuse_other_quantity(name, head)
    kind = _kind(head, name)
    format = FORMATS[kind]
    options: dict[str, Any] = {"step": step} if kind == "chgcar" else {}
    if kind != "chgcar" and step not in (0, -1):
        raise UsageError(f"{name} has no step {step}: only a CHG has several")
    if unit is not None:
        options["unit"] = unit_named(unit)
        if not format.open_unit:
            raise UsageError(f"{name} is read as {kind}, whose unit is fixed: leave unit={unit!r} out")
    try:
        rho = format.parse(data, name, **options)
    except FormatError as error:
        foreign = _foreign(kind, head, name)
        if foreign:
            raise FormatError(f"{name} {foreign}") from error
        raise
    except EcdError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, OSError) as error:
        raise FormatError(
            f"{name} is damaged or not what its name says ({error}): copy or download it again"
        ) from error
    if not rho.crystal.volume < MAX_VOLUME:
        raise FormatError(f"{name} has a cell of {rho.crystal.volume:g} Å^3: its lattice is damaged, copy it again")
    for guess in rho.meta.get("guesses", {}).values():
        log.warning("%s: %s", name, guess)
    return rho


def unit_for(path: str | Path, unit: str | None) -> str | None:
    """The unit where a file is of a format that leaves it open, a cube or XSF; None for others, which state their own.

    Raises UsageError for an unknown unit.
    """
    if unit is None:
        return None
    stated = unit_named(unit)
    try:
        file, member = archives.split_member(str(path))
        data = read_bytes(Path(file))
        if archives.is_tar(data[:HEAD]):
            data, file = archives.read_member(data, file, member)
    except EcdError:  # reading it says why
        return None
    return unit_of(data, file, stated)


def unit_of(data: Text, name: str, unit: str | None) -> str | None:
    """As `unit_for`, of the uncompressed bytes of a file."""
    try:
        return unit if unit and FORMATS[_kind(with_line_feeds(data)[:HEAD], name)].open_unit else None
    except EcdError:
        return None


def _foreign(kind: str, head: bytes, name: str) -> str | None:
    """What a file is that could not be read as `kind`, where nothing but its name, or not even that, says so."""
    if kind not in MARKLESS or _is_named(kind, name):
        return None
    return foreign_by_name(name) or (neither(head, name) if kind == "chgcar" else None)


def _is_named(kind: str, name: str) -> bool:
    return FORMATS[kind].names.search(os.path.basename(name)) is not None


def _kind(head: bytes, name: str) -> str:
    """The format by content, else by name, else the one that VASP gives no mark."""
    by_name = [key for key in FORMATS if _is_named(key, name)]
    if _is_hdf5(head):
        return "espresso-hdf5" if "espresso-hdf5" in by_name else "vaspwave"
    by_content = next((key for key, format in FORMATS.items() if format.looks_like(head)), None)
    if by_content is None and (foreign := foreign_by_content(head)):
        raise FormatError(f"{name} {foreign}")
    return by_content or next(iter(by_name), "chgcar")


def write(path: str | Path, rho: Density, format: str | None = None) -> None:
    """Write a density; the format follows the name (CHGCAR anywhere in it, .cube) or `format`, "chgcar" or "cube".

    A cube has no room for the magnetization. Compressed where the name ends in .gz, .xz, .bz2, .zst or .lz4. The file
    appears complete or not at all. Raises UsageError for a name that tells no format.
    """
    render = renderer(path_text(path, "what is written"), format)
    if not isinstance(rho, Density):
        raise UsageError(f"{path}: what is written is a Density, as read(path) gives it, not {shown(rho)}")
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f"{path}: there is no folder {Path(path).parent}: make it, or name another")
    try:
        data = render(rho)
    except FormatError as error:
        raise FormatError(f"{path} was not written: {error}") from error
    write_bytes(Path(path), data)


def renderer(path: str | Path, format: str | None = None) -> Callable[[Density], bytes]:
    """What turns a density into the content of the file `path`; raises UsageError for a name that tells no format."""
    known = {key: f for key, f in FORMATS.items() if f.render}
    named = next((key for key, f in known.items() if f.names.search(Path(path).name)), None)
    chosen = str(format).lower() if format else named
    render = known[chosen].render if chosen in known else None
    if render is None:
        raise UsageError(
            f"{path}: the name tells no format; put CHGCAR or .cube in it, or give format='chgcar' or 'cube'"
        )
    return render
