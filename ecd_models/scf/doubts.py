"""When not to start from a prediction: reasons known before the self-consistency, from the prediction or the cell.

`replace_doubtful` applies them to runs that were made all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_models.prediction.plausibility import MAX_NEGATIVE_SHARE, measure_negative_share
from ecd_models.scf.bench import ATOMS
from ecd_models.scf.gains import CrystalRuns
from ecd_models.scf.scf_runs import ScfRun

if TYPE_CHECKING:
    from ecd_models.model import DensityModel
    from ecd_models.prediction.error_estimate import ErrorEstimate

# of a cell: smaller ones converge from superposed atoms in so few steps that predictions slowed many (docs/scf.md)
MIN_ATOMS = 3
# of eps_mae: of 41 predictions the 6 above it took 98 % of the steps of superposed atoms, the others 78 % (docs/scf.md)
LARGEST_ERROR = 0.024
RARE_FACTOR = 2.0  # by which errors are above the expected ones where a single composition trained an element
UNSEEN = "unseen"


def list_doubts(
    rho: Density,
    *,
    spin: bool = False,
    seen: str | None = None,
    rests_on_pairs: bool = False,
    estimate: ErrorEstimate | None = None,
    rare: Sequence[str] = (),
) -> list[str]:
    """The reasons not to start a self-consistency from a prediction; empty where none is known.

    Parameters
    ----------
    rho : Density
        The prediction of `predict`, whose meta says which elements the model never saw.
    spin : bool
        Whether the run has spin: a density without magnetization then starts from that of superposed atoms.
    seen : str, optional
        What of the crystal trained the model: "crystal", "composition" or "unseen".
    rests_on_pairs : bool
        Whether the linear pair model is in it, see `has_pairs`: that keeps its error for compositions that it never
        saw, also of unseen pairs of elements. Other networks have several times their error there.
    estimate : ErrorEstimate, optional
        The expected error, of a model that estimates it. It decides in place of `seen`, which says less.
    rare : sequence of str
        The elements that a single composition of the training had, see `TrainedOn.rare_elements`.
    """
    doubts = [doubt] if (doubt := doubt_cell(len(rho.crystal))) else []
    elements = [name for name in rho.meta.get("never_seen", ()) if "-" not in name]
    doubts += [f"the model never saw {', '.join(elements)} in training"] if elements else []
    if estimate is not None:
        doubts += _doubt_error(estimate, rare)
    elif seen == UNSEEN and not rests_on_pairs:
        doubts.append("the network never saw this composition in training")
    negative = measure_negative_share(rho.values)
    if negative > MAX_NEGATIVE_SHARE:
        doubts.append(f"{100 * negative:.2g} % of the electrons are negative")
    if spin and rho.magnetization is None:
        doubts.append("the run has spin and the prediction has none")
    return doubts


def doubt_prediction(
    model: DensityModel, crystal: Crystal, rho: Density, *, spin: bool = False, id: str = ""
) -> tuple[list[str], str | None]:
    """The reasons not to start from a model's prediction of a crystal, and what of the crystal trained the model.

    spin: see `list_doubts`; id: the crystal's id in the data that trained the model, if it is of them.
    """
    from ecd_models.prediction.error_estimate import estimate_error, read_calibration
    from ecd_models.training.trained_on import TrainedOn

    trained_on = TrainedOn.from_metadata(model.metadata)
    seen = None if trained_on is None else trained_on.seen(id, crystal.formula)
    known: Any = {"seen": seen, "rests_on_pairs": has_pairs(model)}
    if read_calibration(model) is not None:
        rare = trained_on.rare_elements(crystal) if trained_on is not None else []
        known |= {"estimate": estimate_error(model, crystal), "rare": rare}
    return list_doubts(rho, spin=spin, **known), seen


def _doubt_error(estimate: ErrorEstimate, rare: Sequence[str]) -> list[str]:
    """The doubt that follows from the expected error; where none can be given, why is one."""
    if np.isnan(estimate.eps_mae):
        return [estimate.unknown or "its error cannot be estimated"]
    if estimate.eps_mae * (RARE_FACTOR if rare else 1) <= LARGEST_ERROR:
        return []
    reason = f", twice that as only one composition with {', '.join(rare)} trained the model" if rare else ""
    return [f"{estimate}{reason}: few steps are saved above {100 * LARGEST_ERROR:.2g} %"]


def doubt_cell(natoms: int) -> str | None:
    """The reason not even to predict a density for a cell of so many atoms; None where there is none."""
    if natoms >= MIN_ATOMS:
        return None
    return f"a cell of {natoms} atoms converges from superposed atoms in few steps"


def has_pairs(model: DensityModel) -> bool:
    """Whether a model is the linear pair model, or a network that adds to it."""
    return hasattr(model.network, "unseen_pairs") or getattr(model.atoms, "pairs", None) is not None


def replace_doubtful(crystals: Sequence[CrystalRuns]) -> list[CrystalRuns]:
    """The same runs, where a prediction with doubts is not used: its run is that from superposed atoms.

    The time of the prediction stays in it, as most doubts are known with the prediction; a small cell is known before,
    so nothing is predicted.
    """
    return [replace(c, runs={name: _follow_doubts(run, c) for name, run in c.runs.items()}) for c in crystals]


def _follow_doubts(run: ScfRun, crystal: CrystalRuns) -> ScfRun:
    small, atoms = doubt_cell(crystal.natoms) is not None, crystal.runs[ATOMS]
    if run.channels.get("density") != "predicted" or not (run.doubts or small):
        return run
    followed = replace(
        run,
        steps=atoms.steps,
        wall_seconds=atoms.wall_seconds,
        cpu_seconds=atoms.cpu_seconds,
        iterations=atoms.iterations,
        energy_eV=atoms.energy_eV,
    )
    return replace(followed, before_wall_seconds=0.0, before_cpu_seconds=0.0) if small else followed
