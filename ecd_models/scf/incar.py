"""INCAR tags of a restart from a CHGCAR: what is added to a user's INCAR, and what in it does not fit the density."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.density import Density
from ecd_data.errors import FormatError
from ecd_data.formats.vasp.settings import parse_logical


def read_incar(path: str | Path) -> dict[str, Any]:
    """The tags of an INCAR by upper-case name; raises FormatError where it cannot be read."""
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
    """The tags that make VASP start from the CHGCAR of a density on its grid, to be laid over a user's own."""
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
    """The numbers of MAGMOM, [] without it; of non-collinear read_magmom all components."""
    given = tags.get("MAGMOM")
    if given is None:
        return []
    if isinstance(given, str):
        return _numbers(given)
    return [float(x) for moment in given for x in (moment if np.ndim(moment) else (moment,))]


def _numbers(text: str) -> list[float]:
    """The numbers of a text such as "2*5.0 -1"."""
    found: list[float] = []
    for word in text.split():
        count, _, value = word.rpartition("*")
        found += [float(value)] * int(count or 1)
    return found


def find_conflicts(tags: Mapping[str, Any], rho: Density) -> list[str]:
    """One sentence for each thing in a user's INCAR that does not go with starting from a density."""
    found = []
    values = read_magmom(tags)
    if rho.magnetization is None and min(values, default=0) < 0 < max(values, default=0):
        found.append(
            "MAGMOM has both signs and the density has no spin: VASP takes the total density of one magnetic order and"
            " superposed read_magmom of another, which may save nothing; give a density with magnetization"
        )
    elif rho.magnetization is None and has_spin(tags):
        found.append("the density has no spin: the magnetization starts from MAGMOM on superposed atoms")
    if parse_logical(str(tags.get("LDAU", "F"))) and int(tags.get("LMAXMIX", 2)) < 4:
        found.append("LDAU is on and LMAXMIX is below 4: VASP restarts poorly from a CHGCAR; set LMAXMIX = 4, 6 with f")
    if int(tags.get("ICHARG", 1)) >= 10:
        found.append(f"ICHARG = {tags['ICHARG']} would keep the density during the run and was replaced by 1")
    return found
