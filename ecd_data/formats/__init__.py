"""Files in and out of Density; the format is found by content and name."""

from __future__ import annotations

from pathlib import Path

from ecd_data.density import Density
from ecd_data.errors import FormatError, UsageError
from ecd_data.formats import vasp
from ecd_data.formats.compressed import read_bytes, write_bytes

FORMATS = ("chgcar",)


def read(path: str | Path) -> Density:
    """The Density of a CHGCAR (also CHG, AECCAR; plain, .gz, .xz, .bz2), in e/Å^3.

    meta holds "source" (the file's name) and "comment" (its first line). Raises FormatError for a file that is missing,
    empty, damaged or of another format.
    """
    file = Path(path)
    return vasp.parse(read_bytes(file), str(path))


def write(path: str | Path, rho: Density, format: str | None = None) -> None:
    """Write a density; the format follows the name (CHGCAR anywhere in it) or `format="chgcar"`.

    Compressed where the name ends in .gz, .xz or .bz2. The file appears complete or not at all. Raises UsageError for a
    name that tells no format.
    """
    file = Path(path)
    chosen = format.lower() if format else "chgcar" if "chgcar" in file.name.lower() else None
    if chosen not in FORMATS:
        raise UsageError(f"{path}: the name tells no format; put CHGCAR in it or give format='chgcar'")
    try:
        data = vasp.render(rho)
    except FormatError as error:
        raise FormatError(f"{path} was not written: {error}") from error
    write_bytes(file, data)
