"""From a file of the release to the density that its name promises, checked; the text is never on the disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ecd_data.checks import check
from ecd_data.density import Density
from ecd_data.errors import EcdError
from ecd_data.formats import parse
from ecd_data.formats.run_files import add_run_data
from ecd_data.io.archives import UnpackedDensity, read_archive
from ecd_data.release.formula import formula_in, reduced

BESIDE = ".run-"


class UnfitError(EcdError):
    """A file that is whole, but not a density that belongs into the store under its name."""


def density_in(body: Path, id: str, file: str, functional: str) -> Density:
    """The checked Density in a downloaded body, with functional and flags in meta; `file` is what errors call it.

    Raises FormatError where the file is damaged, UnfitError where it is another crystal than the formula in its name
    says or has problems in `check`.
    """
    unpacked = read_archive(body, file)
    rho = parse(unpacked.data, unpacked.label)
    _same_crystal(rho, id, file)
    rho = _with_meta(_with_run(rho, unpacked, body.parent), {"functional": functional})
    report = check(rho)
    if not report.ok:
        raise UnfitError(f"{file} is not fit for use: {'; '.join(report.problems)}")
    return _with_meta(rho, {"flags": [*rho.meta.get("flags", ()), *report.flags]})


def _with_run(rho: Density, unpacked: UnpackedDensity, folder: Path) -> Density:
    """The Density with what the OUTCAR and POTCAR in its archive say; their readers want files, removed at once."""
    if not unpacked.companions:
        return rho
    with tempfile.TemporaryDirectory(dir=folder, prefix=BESIDE) as beside:
        for name, content in unpacked.companions.items():
            Path(beside, name).write_bytes(content)
        return add_run_data(rho, Path(beside, "CHGCAR"))


def _same_crystal(rho: Density, id: str, file: str) -> None:
    named = formula_in(id)
    if named is None or (rho.numbers == 0).any():
        return
    found = reduced("".join(rho.crystal.symbols))
    if found != named:
        raise UnfitError(f"{file} holds {found} where its name says {named}: it is another crystal")


def _with_meta(rho: Density, meta: dict[str, object]) -> Density:
    return Density(rho.crystal, rho.values, rho.magnetization, rho.augmentation, {**rho.meta, **meta})
