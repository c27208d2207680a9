"""INCAR tags for a start from a CHGCAR: those to add to the INCAR of a run, and those that contradict the density."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.density import Density
from ecd_data.errors import FormatError
from ecd_data.formats.vasp.settings import parse_logical, parse_numbers


def read_incar(path: str | Path) -> dict[str, Any]:
    """The tags of an INCAR by upper-case name; raises FormatError if it cannot be read."""
    from pymatgen.io.vasp import Incar

    try:
        tags: dict[str, Any] = dict(Incar.from_file(path))
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise FormatError(f"{path} is not an INCAR that can be read ({error}): repair it") from error
    return {name.upper(): value for name, value in tags.items()}


def write_incar(path: Path, tags: Mapping[str, Any]) -> None:
    """Write an INCAR."""
    from pymatgen.io.vasp import Incar

    Incar(dict(tags)).write_file(path)


def make_restart_tags(rho: Density, own: Mapping[str, Any]) -> dict[str, Any]:
    """The tags that make VASP start from the CHGCAR of a density on its grid.

    own: the tags of the run, which these replace or extend.
    """
    tags: dict[str, Any] = {"ISTART": 0, "ICHARG": 1}
    tags |= dict(zip(("NGXF", "NGYF", "NGZF"), rho.shape, strict=True))
    if rho.magnetization is not None and not has_spin(own):
        tags |= {"LNONCOLLINEAR": True} if rho.magnetization.ndim == 4 else {"ISPIN": 2}
    return tags


def has_spin(tags: Mapping[str, Any]) -> bool:
    """Whether VASP computes a magnetization with these tags."""
    return is_noncollinear(tags) or str(tags.get("ISPIN", 1)).strip() == "2"


def is_noncollinear(tags: Mapping[str, Any]) -> bool:
    """Whether the magnetization of a run with these tags has three components."""
    return any(parse_logical(str(tags.get(name, "F"))) for name in ("LNONCOLLINEAR", "LSORBIT"))


def read_magmom(tags: Mapping[str, Any]) -> list[float]:
    """The numbers of MAGMOM, all components of non-collinear moments; [] without MAGMOM."""
    moments = tags.get("MAGMOM")
    if moments is None:
        return []
    if isinstance(moments, str):
        return parse_numbers(moments)
    return [float(x) for moment in moments for x in (moment if np.ndim(moment) else (moment,))]


def find_conflicts(tags: Mapping[str, Any], rho: Density) -> list[str]:
    """A warning for each tag of the run that contradicts a start from the density."""
    warnings = []
    values = read_magmom(tags)
    if rho.magnetization is None and min(values, default=0) < 0 < max(values, default=0):
        warnings.append(
            "MAGMOM has both signs and the density has no spin: VASP takes the total density of one magnetic order and"
            " superposed moments of another, which may save nothing; give a density with magnetization"
        )
    elif rho.magnetization is None and has_spin(tags):
        warnings.append("the density has no spin: the magnetization starts from MAGMOM on superposed atoms")
    if parse_logical(str(tags.get("LDAU", "F"))) and int(tags.get("LMAXMIX", 2)) < 4:
        warnings.append(
            "LDAU is on and LMAXMIX is below 4, with which VASP restarts poorly from a CHGCAR: set LMAXMIX to 4, or"
            " to 6 with f electrons"
        )
    if int(tags.get("ICHARG", 1)) >= 10:
        warnings.append(f"ICHARG = {tags['ICHARG']} would keep the density during the run and was replaced by 1")
    return warnings
