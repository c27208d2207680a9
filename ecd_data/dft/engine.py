"""What the flow asks of an engine: the input of a step, its run, its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from ecd_data.crystal import Crystal, Floats
from ecd_data.dft.settings import Settings
from ecd_data.errors import EcdError

Kind = Literal["relax", "density", "restart", "bands"]


class RunError(EcdError):
    """A calculation that did not start, did not converge or did not end."""


class NotConvergedError(RunError):
    """A self-consistency that did not converge; other mixing or smearing may help."""


class DiskFullError(EcdError, OSError):
    """No space for a density; what was finished before stays."""


@dataclass(frozen=True)
class Step:
    """One run of an engine for the crystal called `id`.

    kind: "relax" moves atoms and cell; "density" is self-consistent; "restart" is the same from the density of the run
    in the folder `start`; "bands" takes that density as it is, on the mesh of `settings`.
    """

    kind: Kind
    id: str
    crystal: Crystal
    settings: Settings
    start: Path | None = None


@dataclass(frozen=True)
class Result:
    """What a finished run gives: the crystal that it ended with, its grid, and what it found.

    properties: numbers by column name; arrays: forces_eV_A [n, 3], stress_GPa [3, 3] (positive under compression) and
    site_moments [n], as lists, where the run has them; convergence: how it ended; settings: what the engine took
    where it could not take what was asked, by the names of `Settings.as_meta`.
    """

    crystal: Crystal
    shape: tuple[int, ...]
    version: str
    properties: Mapping[str, float]
    arrays: Mapping[str, Any] = field(default_factory=dict)
    convergence: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def extremes(arrays: Mapping[str, Any]) -> dict[str, float]:
    """The largest force, the pressure and the largest stress of the arrays of a Result, those that are there."""
    found = {}
    if "forces_eV_A" in arrays:
        found["max_force_eV_A"] = float(np.linalg.norm(arrays["forces_eV_A"], axis=1).max())
    if "stress_GPa" in arrays:
        found["pressure_GPa"] = float(np.trace(arrays["stress_GPa"]) / 3)
        found["max_stress_GPa"] = float(np.abs(arrays["stress_GPa"]).max())
    return found


class Engine(Protocol):
    """A program that computes densities; it runs steps in several threads at a time, until stopped."""

    name: str

    def input_text(self, step: Step) -> str:
        """The input that determines the result of a step, equal on every machine; raises UsageError if impossible."""

    def finished(self, step: Step, text: str, folder: Path) -> bool:
        """Whether `folder` holds the result of exactly this input.

        Raises NotConvergedError if it was run and did not converge.
        """

    def run(self, step: Step, text: str, folder: Path) -> None:
        """Run a step in `folder`; raises RunError with the reason if no converged result is there afterwards."""

    def read(self, step: Step, folder: Path) -> Result:
        """The result of a finished run; raises FormatError where it cannot be read."""

    def density(self, folder: Path, shape: tuple[int, ...]) -> tuple[Floats, Floats | None]:
        """Density and magnetisation (None without spin) in e/Å^3 of a finished run."""

    def datasets(self, crystal: Crystal) -> dict[str, dict[str, str]]:
        """File and SHA-256 of the pseudopotential of every element."""

    def nelect(self, crystal: Crystal) -> float:
        """The electrons that the density must integrate to."""

    def stop(self) -> None:
        """End the runs under way; later ones end at once."""
