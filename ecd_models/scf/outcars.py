"""Electronic steps of VASP runs, and the share that a perfect start would need: the optimal ratio of Table 3."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.formats.vasp.outcar import read_outcar
from ecd_data.io.text_streams import read_pieces

ITERATION = re.compile(rb"- Iteration +(\d+)\( *(\d+)\)")
OTHER_CODES = {
    b"Program PWSCF": "Quantum ESPRESSO",
    b"ABINIT": "ABINIT",
    b"CP2K|": "CP2K",
    b"CASTEP": "CASTEP",
    b"FHI-aims": "FHI-aims",
    b"SIESTA": "SIESTA",
    b"Gaussian, Inc.": "Gaussian",
    b"gpaw": "GPAW",
    b"<modeling>": "VASP's XML (vasprun.xml)",
}


@dataclass(frozen=True)
class StepCount:
    """The electronic steps of a finished VASP run of one geometry.

    frozen: whether its density was kept constant (ICHARG >= 10), so that the steps are not those of a self-consistent
    run.
    """

    path: str
    steps: int
    frozen: bool = False


@dataclass(frozen=True)
class Ratio:
    """The mean and the population standard deviation of values over materials."""

    mean: float
    std: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Ratio:
        """The Ratio of the values of at least one material."""
        numbers = np.fromiter(values, dtype=np.float64)
        return cls(float(numbers.mean()), float(numbers.std()))

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.std:.4f}"


def count_steps(path: str | Path) -> StepCount:
    """The electronic steps in an OUTCAR, plain or compressed, from its lines "Iteration n( m)".

    Raises
    ------
    FormatError : the file is no OUTCAR.
    EcdError : the run did not finish or converge, has several ionic steps, or the file holds two runs.
    """
    file = Path(path)
    if file.is_dir():
        raise FormatError(f"{path} is a folder: name the OUTCAR in it")
    _refuse_other_codes(file)
    record = read_outcar(file)
    numbers = [(int(ionic), int(step)) for piece in read_pieces(file) for ionic, step in ITERATION.findall(piece)]
    provenance, settings = record["provenance"], record["settings"]
    if not numbers or not provenance["finished"]:
        raise EcdError(
            f"{path} is of a run that did not finish ({len(numbers)} electronic steps and no timing at its end):"
            " let it finish, or copy the whole file"
        )
    if ionic := max(ionic for ionic, _ in numbers) - 1:
        raise EcdError(
            f"{path} is of a relaxation or molecular dynamics ({ionic + 1} ionic steps): give a run of one geometry"
            " (NSW = 0)"
        )
    if [step for _, step in numbers] != list(range(1, len(numbers) + 1)):
        raise EcdError(f"{path} does not count its steps from 1 to {len(numbers)}: two runs are in it, give one")
    if not provenance["converged"]:
        limit = f" (NELM = {settings['nelm']})" if "nelm" in settings else ""
        raise EcdError(f"{path} did not converge in its {len(numbers)} steps{limit}: give a run that converged")
    return StepCount(str(path), len(numbers), bool(provenance["frozen_density"]))


def count_all(paths: Sequence[str | Path]) -> tuple[list[StepCount], list[str]]:
    """The counts of OUTCARs, and a reason for each that cannot be counted; UsageError if a path is given twice."""
    names = [str(path) for path in paths]
    if repeats := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{repeats[0]} is given twice: give each OUTCAR once")
    counts, reasons = [], []
    for name in names:
        try:
            counts.append(count_steps(name))
        except EcdError as error:
            reasons.append(str(error))
    return counts, reasons


def optimal_ratio(steps: Iterable[int]) -> Ratio:
    """The ratio of a perfect starting density: the mean of 1 / steps over the default runs of materials, a fraction."""
    return Ratio.of(1 / n for n in steps)


def report(counts: Sequence[StepCount]) -> dict[str, Any]:
    """The counts and their optimal ratio for JSON."""
    ratio = optimal_ratio(count.steps for count in counts)
    return {
        "files": {count.path: count.steps for count in counts},
        "optimal_ratio": {"mean": ratio.mean, "std": ratio.std},
    }


def _refuse_other_codes(file: Path) -> None:
    """Raises FormatError if a file is the output of another program, or another output of VASP."""
    head = next(read_pieces(file), b"")[:20_000]
    if b"vasp" in head[:2000].lower() and b"<modeling>" not in head:
        return
    for mark, code in OTHER_CODES.items():
        if mark in head:
            raise FormatError(f"{file} is an output of {code}, not an OUTCAR of VASP: give VASP's OUTCAR")
