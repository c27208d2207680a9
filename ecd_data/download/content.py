"""The density in a downloaded file of the release, checked against the file's name; its text never touches the disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ecd_data.checks import check
from ecd_data.density import Density
from ecd_data.errors import EcdError
from ecd_data.formats import parse
from ecd_data.formats.run_files import add_run_data
from ecd_data.io.archives import UnpackedDensity, read_archive
from ecd_data.release.formula import formula_in_id, reduce_formula

UNPACKED_PREFIX = ".run-"  # of temporary folders beside the downloads, by which leftovers of a killed process are found


class UnfitError(EcdError):
    """A file that is complete, but whose density must not be stored under its name."""


def read_checked_density(body: Path, id: str, file: str, functional: str) -> Density:
    """The Density in a downloaded file, checked, with functional and flags in its meta.

    Parameters
    ----------
    body : the downloaded file, compressed or an archive.
    id : id of the crystal; a formula in it must be that of the density.
    file : name of the file on the server, for error messages.
    functional : the density functional of the set.

    Raises
    ------
    FormatError : the file is damaged.
    UnfitError : the density belongs to another crystal, or `check` finds problems.
    """
    unpacked = read_archive(body, file)
    rho = parse(unpacked.data, unpacked.label)
    _refuse_other_crystal(rho, id, file)
    rho = _add_meta(_add_run_facts(rho, unpacked, body.parent), {"functional": functional})
    report = check(rho)
    if not report.ok:
        raise UnfitError(f"{file} is not fit for use: {'; '.join(report.problems)}")
    return _add_meta(rho, {"flags": [*rho.meta.get("flags", ()), *report.flags]})


def _add_run_facts(rho: Density, unpacked: UnpackedDensity, folder: Path) -> Density:
    """The Density with the facts of the OUTCAR and POTCAR in its archive, which their readers take from files only."""
    if not unpacked.companions:
        return rho
    with tempfile.TemporaryDirectory(dir=folder, prefix=UNPACKED_PREFIX) as run_folder:
        for name, content in unpacked.companions.items():
            Path(run_folder, name).write_bytes(content)
        return add_run_data(rho, Path(run_folder, "CHGCAR"))


def _refuse_other_crystal(rho: Density, id: str, file: str) -> None:
    expected = formula_in_id(id)
    if expected is None or (rho.numbers == 0).any():
        return
    found = reduce_formula("".join(rho.crystal.symbols))
    if found != expected:
        raise UnfitError(f"{file} holds {found} where its name says {expected}: it is another crystal")


def _add_meta(rho: Density, meta: dict[str, object]) -> Density:
    return Density(rho.crystal, rho.values, rho.magnetization, rho.augmentation, {**rho.meta, **meta})
