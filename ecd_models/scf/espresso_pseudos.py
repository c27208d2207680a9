"""The pseudopotentials of a pw.x input: where they lie, and how many valence electrons they have."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ecd_data.crystal import SYMBOLS
from ecd_data.dft.pseudopotentials import Pseudopotential, read_pseudopotential, refuse_augmented
from ecd_data.errors import UsageError
from ecd_models.scf.espresso_cards import find_element
from ecd_models.scf.espresso_input import PwInput

ENVIRONMENT = "ESPRESSO_PSEUDO"  # the variable that pw.x reads where the input has no pseudo_dir


@dataclass(frozen=True)
class Pseudos:
    """The pseudopotentials of a run by label, and the folder where they lie."""

    folder: Path
    of_label: Mapping[str, Pseudopotential]

    def electrons(self, run: PwInput) -> float:
        """The valence electrons of the run."""
        return sum(self.of_label[label].valence for label in run.geometry.labels) - run.total_charge

    def valences(self, run: PwInput) -> dict[str, float]:
        """The valence electrons by element; raises UsageError where species of one element have different ones."""
        found: dict[str, float] = {}
        for one in self.of_label.values():
            if found.setdefault(one.symbol, one.valence) != one.valence:
                raise UsageError(
                    f"{run.path} has pseudopotentials of {one.symbol} with different valence electrons, which no"
                    " model learned: give a density file of this run (--density)"
                )
        return found


def find_pseudopotentials(run: PwInput, folder: Path | None = None) -> Pseudos | None:
    """The pseudopotentials of a run; None where no folder has all of them.

    Parameters
    ----------
    run : the input. Its pseudo_dir counts from its own folder, then from the current one; without it that of
        $ESPRESSO_PSEUDO or ~/espresso/pseudo is searched, as by pw.x.
    folder : the folder to search instead of these.

    Raises
    ------
    UsageError : `folder` lacks a file; or a pseudopotential is ultrasoft or PAW, of another element than its label, or
        no UPF file of version 2.
    """
    files = run.geometry.species
    for candidate in _list_folders(run) if folder is None else [folder]:
        missing = [file for file in files.values() if not (candidate / file).is_file()]
        if not missing:
            found = {label: _read_file(candidate / file, label) for label, file in files.items()}
            return Pseudos(candidate.absolute(), found)
        if folder is not None:
            raise UsageError(f"{folder} has no {missing[0]}, which {run.path} names: give the folder that has it")
    return None


def choose_folder(run: PwInput, pseudos: Pseudos | None) -> Path | None:
    """The pseudo_dir to write into the input, which is run in another folder; None where the old one holds there."""
    given = run.namelists.word("control", "pseudo_dir")
    if pseudos is None:
        return None if not given or Path(given).is_absolute() else (run.path.parent / given).absolute()
    there = Path(given) if given else Path(os.environ.get(ENVIRONMENT) or Path.home() / "espresso/pseudo")
    return None if there.is_absolute() and there == pseudos.folder else pseudos.folder


def _list_folders(run: PwInput) -> Iterator[Path]:
    given = run.namelists.word("control", "pseudo_dir")
    if given:
        yield run.path.parent / given  # an absolute one stays as it is
        yield Path(given)
    if os.environ.get(ENVIRONMENT):
        yield Path(os.environ[ENVIRONMENT])
    elif not given:
        yield Path.home() / "espresso/pseudo"


def _read_file(path: Path, label: str) -> Pseudopotential:
    symbol = SYMBOLS[find_element(label)]
    found = read_pseudopotential(path)
    if found.symbol in SYMBOLS and found.symbol != symbol:
        raise UsageError(f"{path} is of {found.symbol} and the species {label} means {symbol}: correct ATOMIC_SPECIES")
    refuse_augmented(found)
    return Pseudopotential(symbol, path, found.valence, found.sha256, found.kind)
