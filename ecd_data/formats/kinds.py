"""What a density is that is not a crystal's valence density: the name of its file says so, else the comment in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ecd_data.density import Density
from ecd_data.io.density_names import DERIVED_COMMENTS

KINDS = {  # meta["kind"] -> the file names of VASP that say it; a pseudo-density has no name of its own
    "all-electron": re.compile(r"aeccar", re.IGNORECASE),
    "partial": re.compile(r"parchg", re.IGNORECASE),
    "pseudo": re.compile(r"(?!)"),
}


def find_kind(name: str, comment: str = "") -> str | None:
    """The kind of the density in a file: "all-electron" for AECCAR0, "partial" for PARCHG; None for a CHGCAR.

    "difference", "sum" or "multiple" where the comment begins with the word, as it does in files of such results.
    """
    last = Path(name.rpartition("::")[2]).name
    by_name = (kind for kind, pattern in KINDS.items() if pattern.search(last))
    marks = (*(f"{kind}: " for kind in KINDS), *DERIVED_COMMENTS)
    by_comment = (mark.removesuffix(": ") for mark in marks if comment.startswith(mark))
    return next(by_name, None) or next(by_comment, None)


def mark_kind(rho: Density, name: str) -> Density:
    """The density with the meta["kind"] that the name of its file says, or its comment."""
    kind = find_kind(name, str(rho.meta.get("comment", "")))
    return rho if kind is None else replace(rho, meta={**rho.meta, "kind": kind})


def name_kind(rho: Density, name: str) -> Density:
    """The density with its kind before its comment, unless the file `name` or the comment says the kind already."""
    kind, comment = rho.meta.get("kind"), str(rho.meta.get("comment") or rho.crystal.formula)
    if kind not in KINDS or find_kind(name, comment) == kind:
        return rho
    return replace(rho, meta={**rho.meta, "comment": f"{kind}: {comment}"})
