"""Electronic steps of VASP runs, and what a perfect start could save of them: Table 3's optimal ratio."""

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
    """The electronic steps of a finished VASP run of one geometry; frozen: its density was kept (ICHARG >= 10)."""

    path: str
    steps: int
    frozen: bool = False


@dataclass(frozen=True)
class Ratio:
    """Mean and population standard deviation over materials."""

    mean: float
    std: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Ratio:
        """The Ratio of single values, at least one."""
        numbers = np.fromiter(values, dtype=np.float64)
        return cls(float(numbers.mean()), float(numbers.std()))

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.std:.4f}"


def count_steps(path: str | Path) -> StepCount:
    """The electronic steps that an OUTCAR, plain or compressed, counts ("Iteration n( m)").

    Raises FormatError for a file that is no OUTCAR, and EcdError for a run that is unfinished or unconverged, has
    several ionic steps, or is two runs in one file.
    """
    file = Path(path)
    if file.is_dir():
        raise FormatError(f"{path} is a folder: name the OUTCAR in it")
    _refuse_other_codes(file)
    said = read_outcar(file)
    numbers = [(int(ionic), int(step)) for piece in read_pieces(file) for ionic, step in ITERATION.findall(piece)]
    provenance, settings = said["provenance"], said["settings"]
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
        raise EcdError(f"{path} did not converge in its {len(numbers)} steps{limit}: it says nothing of a ratio")
    return StepCount(str(path), len(numbers), bool(provenance["frozen_density"]))


def count_all(paths: Sequence[str | Path]) -> tuple[list[StepCount], list[str]]:
    """The counts of OUTCARs, and one sentence for each that has none; UsageError where a path is given twice."""
    names = [str(path) for path in paths]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{twice[0]} is given twice: give each OUTCAR once")
    counts, refused = [], []
    for name in names:
        try:
            counts.append(count_steps(name))
        except EcdError as error:
            refused.append(str(error))
    return counts, refused


def optimal_ratio(steps: Iterable[int]) -> Ratio:
    """What a perfect density could reach: the mean of 1 / steps over the default runs of materials, a fraction."""
    return Ratio.of(1 / n for n in steps)


def achieved_ratio(steps: Sequence[int], default: Sequence[int]) -> Ratio:
    """What a density reached: the mean of its steps / default steps over materials, a fraction."""
    return Ratio.of(n / m for n, m in zip(steps, default, strict=True))


def report(counts: Sequence[StepCount]) -> dict[str, Any]:
    """The counts and their optimal ratio for JSON."""
    ratio = optimal_ratio(count.steps for count in counts)
    return {
        "files": {count.path: count.steps for count in counts},
        "optimal_ratio": {"mean": ratio.mean, "std": ratio.std},
    }


def _refuse_other_codes(file: Path) -> None:
    head = next(read_pieces(file), b"")[:20_000]
    if b"vasp" in head[:2000].lower() and b"<modeling>" not in head:
        return
    for mark, code in OTHER_CODES.items():
        if mark in head:
            raise FormatError(f"{file} is an output of {code}, not an OUTCAR of VASP: give VASP's OUTCAR")
