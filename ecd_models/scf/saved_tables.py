"""Tables of what `ecd scf run`, `gaps` and `energies` wrote as JSON, by what the files are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ecd_data.errors import FormatError, UsageError
from ecd_models.scf.bench import ATOMS
from ecd_models.scf.convergence import format_convergence_table
from ecd_models.scf.doubts import replace_doubtful
from ecd_models.scf.energies import CrystalEnergies
from ecd_models.scf.energy_table import format_energies, format_energy_table, read_energy_report
from ecd_models.scf.gap_table import format_gap_table, format_gaps, read_gap_report
from ecd_models.scf.gaps import SCF, CrystalGaps
from ecd_models.scf.run_files import read_runs
from ecd_models.scf.run_table import format_gain_table, format_run_table

T = TypeVar("T")
SAME_ENERGY = 1e-3  # eV: runs of the same settings agree to 1e-4
GAPS, ENERGIES = "gaps", "errors"  # what a crystal has in the JSON of gaps and of energies


def format_files(
    paths: Sequence[Path],
    *,
    clock: str = "wall",
    apply_doubts: bool = False,
    convergence: bool = False,
    every: bool = False,
) -> str:
    """The table of some files of one kind, as Markdown.

    clock: of runs, "wall" or "cpu"; apply_doubts: of runs, see `replace_doubtful`; convergence: of runs, instead, how
    the error falls, see `format_convergence_table`; every: add every crystal. Raises FormatError where a file is of
    another kind than the first, or was written by none of these verbs.
    """
    kind = _find_kind(paths[0])
    if kind == GAPS:
        gaps = load_gaps(paths)
        return "\n\n".join([format_gap_table(gaps), *([format_gaps(gaps)] if every else [])])
    if kind == ENERGIES:
        energies = load_energies(paths)
        starts = dict.fromkeys(name for c in energies for name in c.errors)
        lists = [f"{name}:\n\n{format_energies(energies, name)}" for name in starts] if every else []
        return "\n\n".join([format_energy_table(energies), *lists])
    runs = read_runs(paths)
    if convergence:
        return format_convergence_table(runs)
    if apply_doubts:
        runs = replace_doubtful(runs)
    return "\n\n".join([format_gain_table(runs, clock), *([format_run_table(runs, clock)] if every else [])])


def load_gaps(paths: Sequence[Path]) -> list[CrystalGaps]:
    """The gaps of crystals in files of `ecd scf gaps -o`, each crystal once with the gaps of all files.

    Of a method in two files the gap of the first is taken. Raises FormatError for another file, and UsageError where
    files disagree about the self-consistent gap of a crystal, so that their gaps cannot be compared.
    """
    found: dict[str, CrystalGaps] = {}
    for c in _read_all(paths, read_gap_report, "gaps"):
        if c.id in found:
            first = found[c.id]
            own, other = (one.gaps[SCF].gap_eV if SCF in one.gaps else None for one in (first, c))
            _refuse_difference(c.id, "a self-consistent gap of PBE", own, other)
            c = replace(c, gaps={**c.gaps, **first.gaps}, failed={**c.failed, **first.failed})
        found[c.id] = c
    return list(found.values())


def load_energies(paths: Sequence[Path]) -> list[CrystalEnergies]:
    """The energies of crystals in files of `ecd scf energies -o`, each crystal once with the starts of all files.

    Of a start in two files the errors of the first are taken. Raises FormatError for another file, and UsageError where
    files disagree about the energy that superposed atoms give.
    """
    found: dict[str, CrystalEnergies] = {}
    for c in _read_all(paths, read_energy_report, "energies"):
        if c.id in found:
            first = found[c.id]
            own, other = (one.errors[ATOMS].energy_eV_atom if ATOMS in one.errors else None for one in (first, c))
            _refuse_difference(c.id, "an error of superposed atoms", own, other)
            c = replace(c, errors={**c.errors, **first.errors}, failed={**c.failed, **first.failed})
        found[c.id] = c
    return list(found.values())


def _refuse_difference(id: str, what: str, first: float | None, second: float | None) -> None:
    """Raises UsageError if two files have other values in eV of what depends on the settings of a run alone."""
    if first is not None and second is not None and abs(first - second) > SAME_ENERGY:
        raise UsageError(
            f"{id} has {what} of {first:.4f} eV in one file and of {second:.4f} eV in another: give files of runs with"
            " the same settings"
        )


def _read_all(paths: Sequence[Path], read: Callable[[dict[str, Any]], list[T]], verb: str) -> list[T]:
    crystals: list[T] = []
    for path in paths:
        try:
            crystals += read(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path} is no file that `ecd scf {verb} -o` wrote ({error}): run it again") from error
    return crystals


def _find_kind(path: Path) -> str:
    """Whether a file has gaps or energies of crystals; else it should be one of runs."""
    try:
        crystals = json.loads(path.read_text())["crystals"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} was written by none of `ecd scf run`, `gaps`, `energies` ({error})") from error
    first = crystals[0] if isinstance(crystals, list) and crystals else {}
    return next((kind for kind in (GAPS, ENERGIES) if kind in first), "runs")
