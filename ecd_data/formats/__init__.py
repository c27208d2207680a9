"""Reading and writing of density files. The format is found by the content and the name of a file."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecd_data.arguments import describe_value, path_text, whole_number
from ecd_data.density import Density
from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.formats import cube, espresso_density, gpw, hdf5, materials_project, xsf
from ecd_data.formats.foreign import explain_foreign_content, explain_foreign_name, explain_unknown_file
from ecd_data.formats.kinds import mark_kind, name_kind
from ecd_data.formats.run_files import add_elements, add_run_data
from ecd_data.formats.units import parse_unit
from ecd_data.formats.vasp import chgcar, vaspwave
from ecd_data.io import archives
from ecd_data.io.compression import read_bytes, write_bytes
from ecd_data.io.density_names import refuse_other_quantity
from ecd_data.io.file_bytes import Text, with_line_feeds

log = logging.getLogger("ecd_data")

MAX_VOLUME = 1e8  # Å^3; a larger cell is a damaged number
HEAD = 8192  # first bytes of a file, from which its format is found
# Formats whose content has no mark of its own: such a file may come from another program.
WITHOUT_MARK = ("chgcar", "vaspwave")


@dataclass(frozen=True)
class Format:
    """How the files of a format are recognised, read and written.

    parse: makes a Density from the content and the name of a file; looks_like: whether the first bytes of a file are of
    this format; names: the pattern that file names of this format contain; render: makes the content of a file from a
    Density, None for a format that is not written; open_unit: whether the format leaves the unit of the density open,
    so that `parse` takes it as the argument `unit`.
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
    """The density in a file, in e/Å^3.

    The formats are CHGCAR (also CHG, AECCAR), vaspwave.h5, cube, XSF, GPAW's .gpw, Quantum ESPRESSO's charge-density
    and the JSON of pymatgen. Where a header of VASP 4 names no elements, they are taken from an OUTCAR, vasprun.xml or
    POTCAR in the folder of the file. meta holds what the format says, such as "comment"; meta["kind"] is "all-electron"
    where the name says AECCAR, and "partial" where it says PARCHG, or where `write` put this before the comment;
    "difference", "sum" or "multiple" in a file of such a result.

    Parameters
    ----------
    path : the file, plain or compressed (.gz, .xz, .bz2, .zst, .lz4); also `archive.tar.gz` with one density in it, or
        `archive.tar.gz::member`.
    unit : "e/A^3" or "e/bohr^3", the unit of the numbers in a cube or XSF. Without it a guess that is not certain is
        logged, and kept in meta["guesses"] for `check`.
    step : the step of a CHG with several, counted as Python counts; meta["steps"] says how many there are.

    Raises
    ------
    FormatError : the file is missing, empty, damaged, of another format, or another quantity (LOCPOT, ELFCAR).
    UsageError : the unit is unknown or the format states its own, or the file has no such step.
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
    return add_elements(rho, Path(file))


def read_run(path: str | Path, unit: str | None = None) -> Density:
    """The density in a file, with what the OUTCAR, vasprun.xml and POTCAR in its folder say added to its meta.

    They are found as `OUTCAR` next to `CHGCAR`, `ZnO_OUTCAR` next to `ZnO_CHGCAR`, `x.outcar` next to `x.chgcar`, each
    plain or compressed. A file that belongs to another crystal, or cannot be read, is not used and is named in
    meta["provenance"]["not_used"].

    Parameters
    ----------
    path, unit : as in `read`.

    Raises
    ------
    FormatError, UsageError : as in `read`.
    """
    return add_run_data(read(path, unit=unit), Path(archives.split_member(str(path))[0]))


def parse(data: Text, name: str, unit: str | None = None, step: int = -1) -> Density:
    """The density in the uncompressed bytes of a file.

    Parameters
    ----------
    data : the bytes.
    name : what errors call the file; it may decide the format.
    unit, step : as in `read`.

    Raises
    ------
    FormatError, UsageError : as in `read`.
    """
    data = with_line_feeds(data)
    head, step = data[:HEAD], whole_number(step, "step")
    refuse_other_quantity(name, head)
    kind = _find_format(head, name)
    options = _check_options(name, kind, unit, step)
    try:
        rho = FORMATS[kind].parse(data, name, **options)
    except FormatError as error:
        foreign = _explain_foreign(kind, head, name)
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
    return mark_kind(rho, name)


def _check_options(name: str, kind: str, unit: str | None, step: int) -> dict[str, Any]:
    """The options for the parser of a format; UsageError for one that the format does not have."""
    options: dict[str, Any] = {"step": step} if kind == "chgcar" else {}
    if kind != "chgcar" and step not in (0, -1):
        raise UsageError(f"{name} has no step {step}: only a CHG has several")
    if unit is not None:
        options["unit"] = parse_unit(unit)
        if not FORMATS[kind].open_unit:
            raise UsageError(f"{name} is read as {kind}, whose unit is fixed: leave unit={unit!r} out")
    return options


def choose_unit(path: str | Path, unit: str | None) -> str | None:
    """`unit` where the file is a cube or XSF, which leave their unit open; None for a file that states its own.

    None also where the file cannot be read.

    Raises
    ------
    UsageError : the unit is unknown.
    """
    if unit is None:
        return None
    stated = parse_unit(unit)
    try:
        file, member = archives.split_member(str(path))
        data = read_bytes(Path(file))
        if archives.is_tar(data[:HEAD]):
            data, file = archives.read_member(data, file, member)
    except EcdError:  # reading the file says what is wrong
        return None
    return choose_unit_of_bytes(data, file, stated)


def choose_unit_of_bytes(data: Text, name: str, unit: str | None) -> str | None:
    """`unit` where the uncompressed bytes are of a cube or XSF, else None; see `choose_unit`."""
    try:
        return unit if unit and FORMATS[_find_format(with_line_feeds(data)[:HEAD], name)].open_unit else None
    except EcdError:
        return None


def _explain_foreign(kind: str, head: bytes, name: str) -> str | None:
    """What a file that was not read as `kind` is instead; None where its name or its mark says that it is a `kind`."""
    if kind not in WITHOUT_MARK or _is_named(kind, name):
        return None
    return explain_foreign_name(name) or (explain_unknown_file(head, name) if kind == "chgcar" else None)


def _is_named(kind: str, name: str) -> bool:
    return FORMATS[kind].names.search(os.path.basename(name)) is not None


def _find_format(head: bytes, name: str) -> str:
    """The key of the format in FORMATS: by content, else by name, else CHGCAR, whose content has no mark."""
    by_name = [key for key in FORMATS if _is_named(key, name)]
    if _is_hdf5(head):
        return "espresso-hdf5" if "espresso-hdf5" in by_name else "vaspwave"
    by_content = next((key for key, format in FORMATS.items() if format.looks_like(head)), None)
    if by_content is None and (foreign := explain_foreign_content(head)):
        raise FormatError(f"{name} {foreign}")
    return by_content or next(iter(by_name), "chgcar")


def write(path: str | Path, rho: Density, format: str | None = None) -> None:
    """Write a density to a file, which appears complete or not at all.

    A cube has no room for the magnetization. The comment of an all-electron density or a part of one (AECCAR, PARCHG)
    says so in a file whose name does not.

    Parameters
    ----------
    path : the file; it is compressed where its name ends in .gz, .xz, .bz2, .zst or .lz4.
    rho : the density.
    format : "chgcar" or "cube"; by default the name decides: CHGCAR anywhere in it, or .cube.

    Raises
    ------
    UsageError : the name tells no format, or the folder does not exist.
    FormatError : the format cannot hold the density.
    """
    render = find_renderer(path_text(path, "what is written"), format)
    if not isinstance(rho, Density):
        raise UsageError(f"{path}: what is written is a Density, as read(path) gives it, not {describe_value(rho)}")
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f"{path}: there is no folder {Path(path).parent}: make it, or name another")
    try:
        data = render(name_kind(rho, str(path)))
    except FormatError as error:
        raise FormatError(f"{path} was not written: {error}") from error
    write_bytes(Path(path), data)


def find_renderer(path: str | Path, format: str | None = None) -> Callable[[Density], bytes]:
    """The function that makes the content of the file `path` from a Density.

    Raises
    ------
    UsageError : the name tells no format and `format` is not "chgcar" or "cube".
    """
    writable = {key: f for key, f in FORMATS.items() if f.render}
    named = next((key for key, f in writable.items() if f.names.search(Path(path).name)), None)
    chosen = str(format).lower() if format else named
    render = writable[chosen].render if chosen in writable else None
    if render is None:
        raise UsageError(
            f"{path}: the name tells no format; put CHGCAR or .cube in it, or give format='chgcar' or 'cube'"
        )
    return render
