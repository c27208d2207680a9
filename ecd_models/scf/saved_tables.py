"""What `ecd scf run`, `gaps` and `energies` wrote as JSON, read from one file or several, and its tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ecd_data.errors import FormatError, UsageError
from ecd_models.scf.bench import ATOMS
from ecd_models.scf.convergence import format_convergence_table
from ecd_models.scf.doubts import replace_doubtful
from ecd_models.scf.energies import CrystalEnergies
from ecd_models.scf.energy_table import format_energies, format_energy_table, read_energy_report
from ecd_models.scf.gains import CrystalRuns
from ecd_models.scf.gap_table import format_gap_table, format_gaps, read_gap_report
from ecd_models.scf.gaps import SCF, CrystalGaps
from ecd_models.scf.run_table import format_gain_table, format_run_table, read_run_report

T = TypeVar("T")
C = TypeVar("C", CrystalRuns, CrystalGaps, CrystalEnergies)
SAME_ENERGY = 1e-3  # eV: runs of the same settings agree to 1e-4
RUNS, GAPS, ENERGIES = "runs", "gaps", "errors"  # what a crystal has in the JSON of each verb, and in its class
WRONG_FILE = (OSError, ValueError, KeyError, TypeError, AttributeError)  # of files that are no JSON, or of other JSON


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
    runs = load_runs(paths)
    if convergence:
        return format_convergence_table(runs)
    if apply_doubts:
        runs = replace_doubtful(runs)
    return "\n\n".join([format_gain_table(runs, clock), *([format_run_table(runs, clock)] if every else [])])


def load_runs(paths: Sequence[Path]) -> list[CrystalRuns]:
    """The runs of crystals in files of `ecd scf run -o`, each crystal once with the runs of all files.

    Raises FormatError for another file, and UsageError where files disagree about a run from superposed atoms, or had
    other settings: such runs cannot be compared.
    """
    return _join(_read_runs(paths), RUNS, _refuse_other_run)


def load_gaps(paths: Sequence[Path]) -> list[CrystalGaps]:
    """The gaps of crystals in files of `ecd scf gaps -o`, each crystal once with the gaps of all files.

    Of a method in two files the gap of the first is taken. Raises FormatError for another file, and UsageError where
    files disagree about the self-consistent gap of a crystal, so that their gaps cannot be compared.
    """
    return _join(((path, _read_record(path, "gaps", read_gap_report)) for path in paths), GAPS, _refuse_other_gap)


def load_energies(paths: Sequence[Path]) -> list[CrystalEnergies]:
    """The energies of crystals in files of `ecd scf energies -o`, each crystal once with the starts of all files.

    Of a start in two files the errors of the first are taken. Raises FormatError for another file, and UsageError where
    files disagree about the energy that superposed atoms give.
    """
    records = ((path, _read_record(path, "energies", read_energy_report)) for path in paths)
    return _join(records, ENERGIES, _refuse_other_energy)


def _read_record(path: Path, verb: str, read: Callable[[Any], T]) -> T:
    """What `read` makes of the JSON in a file; raises FormatError for a file that the verb did not write."""
    try:
        return read(json.loads(path.read_text()))
    except WRONG_FILE as error:
        raise FormatError(f"{path} is no file that `ecd scf {verb} -o` wrote ({error}): run it again") from error


def _read_runs(paths: Sequence[Path]) -> Iterator[tuple[Path, list[CrystalRuns]]]:
    """The runs in each file; raises UsageError for a file with other settings than the first."""
    first = None
    for path in paths:
        crystals, settings = _read_record(path, "run", lambda data: (read_run_report(data), data["settings"]))
        if first and settings != first:
            raise UsageError(f"{path} has other settings than {paths[0]}: give files of runs with the same settings")
        first = settings
        yield path, crystals


def _join(files: Iterable[tuple[Path, list[C]]], results: str, refuse: Callable[[Path, C, C], None]) -> list[C]:
    """Each crystal once, with the results of all files, of the first file where two have the same.

    refuse: raises UsageError where a crystal of a file cannot be compared with the one before of its id.
    """
    found: dict[str, C] = {}
    for path, crystals in files:
        for c in crystals:
            if c.id in found:
                first = found[c.id]
                refuse(path, first, c)
                joined: Any = {name: {**getattr(c, name), **getattr(first, name)} for name in (results, "failed")}
                c = replace(c, **joined)
            found[c.id] = c
    return list(found.values())


def _refuse_other_run(path: Path, first: CrystalRuns, second: CrystalRuns) -> None:
    if ATOMS in first.runs and ATOMS in second.runs and first.runs[ATOMS] != second.runs[ATOMS]:
        raise UsageError(f"{path} has another run of {first.id} from superposed atoms than the files before: use one")


def _refuse_other_gap(path: Path, *crystals: CrystalGaps) -> None:
    gaps = [c.gaps[SCF].gap_eV if SCF in c.gaps else None for c in crystals]
    _refuse_difference(crystals[0].id, "a self-consistent gap of PBE", *gaps)


def _refuse_other_energy(path: Path, *crystals: CrystalEnergies) -> None:
    errors = [c.errors[ATOMS].energy_eV_atom if ATOMS in c.errors else None for c in crystals]
    _refuse_difference(crystals[0].id, "an error of superposed atoms", *errors)


def _refuse_difference(id: str, what: str, first: float | None, second: float | None) -> None:
    """Raises UsageError if two files have other values in eV of what depends on the settings of a run alone."""
    if first is not None and second is not None and abs(first - second) > SAME_ENERGY:
        raise UsageError(
            f"{id} has {what} of {first:.4f} eV in one file and of {second:.4f} eV in another: give files of runs with"
            " the same settings"
        )


def _find_kind(path: Path) -> str:
    """Whether a file has gaps or energies of crystals; else it should be one of runs."""
    try:
        crystals = json.loads(path.read_text())["crystals"]
    except WRONG_FILE as error:
        raise FormatError(f"{path} was written by none of `ecd scf run`, `gaps`, `energies` ({error})") from error
    first = crystals[0] if isinstance(crystals, list) and crystals else {}
    return next((kind for kind in (GAPS, ENERGIES) if kind in first), RUNS)
