"""Whether the density that a store has under an id is the one that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.dft.engine import Engine
from ecd_data.dft.settings import Job
from ecd_data.errors import EcdError

SAME = 1e-4  # Å by which vectors and positions of one crystal may differ


def find_other_contents(jobs: Sequence[Job], path: Path, relax: bool, engine: Engine) -> dict[str, str]:
    """The reason, by id, for each job whose id a store has for another crystal, other settings or another engine.

    Parameters
    ----------
    jobs : the jobs whose ids the store has.
    path : the store.
    relax : whether cell and atoms of the jobs are relaxed before.
    engine : the engine that would compute them now.
    """
    from ecd_data.store import open_store

    if not jobs:
        return {}
    store, reasons = open_store(path), {}
    datasets: dict[str, str] = {}  # SHA-256 by element, so that each file is read once
    for job in jobs:
        if job.id not in store:
            continue  # an interrupted call wrote it, and the index does not have it yet
        crystal, meta = store.describe(job.id)
        differs = _find_difference(job, relax, crystal, meta) or _find_other_engine(job.crystal, meta, engine, datasets)
        if differs:
            reasons[job.id] = f"{job.id} is in {path} already with {differs}: give another store or another id"
    return reasons


def _find_difference(job: Job, relax: bool, stored: Crystal, meta: Mapping[str, Any]) -> str | None:
    """What of a stored density is not what a job, whose cell is relaxed first or not, asks for; None if nothing is."""
    settings, wanted = meta.get("settings", {}), job.settings.as_meta()
    if meta.get("functional") != job.settings.label:
        return f"the functional {meta.get('functional')}, not {job.settings.label}"
    relaxed = meta.get("provenance", {}).get("relaxation") or {}
    if differs := _find_other_crystal(job.crystal, relax, stored, relaxed.get("lattice_before")):
        return differs
    retried = meta.get("provenance", {}).get("retries") or (relax and relaxed.get("retries"))
    names = ("ecutwfc_Ry", "hubbard_u_eV", "start_magnetization")
    for name in (*names, *(() if retried else ("kmesh", "qmesh", "smearing"))):
        if name in settings and settings[name] != wanted[name]:
            return f"{name} {settings[name]}, not {wanted[name]}"
    return None


def _find_other_engine(
    crystal: Crystal, meta: Mapping[str, Any], engine: Engine, datasets: dict[str, str]
) -> str | None:
    """What of the engine and pseudopotentials of a stored density is not what is used now; None if nothing is.

    datasets: the SHA-256 of the pseudopotentials that are known by element, to which those of the crystal are added.
    """
    made_by = meta.get("provenance", {}).get("engine")
    if made_by is not None and made_by != engine.name:
        return f"a density of {made_by}, not {engine.name}"
    if not set(crystal.elements) <= datasets.keys():
        with suppress(EcdError):  # a pseudopotential that is missing now tells nothing
            datasets |= {symbol: file["sha256"] for symbol, file in engine.datasets(crystal).items()}
    for symbol, file in meta.get("settings", {}).get("pseudopotentials", {}).items():
        if symbol in datasets and file["sha256"] != datasets[symbol]:
            return f"another pseudopotential of {symbol}"
    return None


def _find_other_crystal(crystal: Crystal, relax: bool, stored: Crystal, before: Any) -> str | None:
    """What of a stored crystal is not a crystal, relaxed or as it is; before: the lattice before its relaxation."""

    def has_lattice(lattice: Any) -> bool:
        return np.allclose(lattice, crystal.lattice, atol=SAME)

    known = has_lattice(stored.lattice) or (before is not None and has_lattice(before))
    if stored.numbers.tolist() != crystal.numbers.tolist() or not known:
        return f"another crystal ({stored.formula})"
    if relax:
        return "a cell that was not relaxed" if before is None else None
    if not has_lattice(stored.lattice):
        return "a relaxed cell"
    steps = stored.frac_coords - crystal.frac_coords
    return "atoms at other positions" if np.abs((steps - np.rint(steps)) @ stored.lattice).max() > SAME else None
