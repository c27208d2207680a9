"""When not to start from a prediction: reasons known before the self-consistency, from the prediction or the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ecd_data.density import Density

if TYPE_CHECKING:
    from ecd_models.model import DensityModel

NEGATIVE_ELECTRONS = 1e-3  # of all: predictions with more have failed somewhere in the cell
# of a cell: smaller ones converge from superposed atoms in so few steps that predictions slowed many (docs/scf.md)
MIN_ATOMS = 3
UNSEEN = "unseen"


def list_doubts(
    rho: Density, *, spin: bool = False, seen: str | None = None, rests_on_pairs: bool = False
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
    """
    doubts = [doubt] if (doubt := doubt_cell(len(rho.crystal))) else []
    elements = [name for name in rho.meta.get("never_seen", ()) if "-" not in name]
    doubts += [f"the model never saw {', '.join(elements)} in training"] if elements else []
    if seen == UNSEEN and not rests_on_pairs:
        doubts.append("the network never saw this composition in training")
    negative = measure_negative_electrons(rho)
    if negative > NEGATIVE_ELECTRONS:
        doubts.append(f"{100 * negative:.2g} % of the electrons are negative")
    if spin and rho.magnetization is None:
        doubts.append("the run has spin and the prediction has none")
    return doubts


def doubt_cell(natoms: int) -> str | None:
    """The reason not even to predict a density for a cell of so many atoms; None where there is none."""
    if natoms >= MIN_ATOMS:
        return None
    return f"a cell of {natoms} atoms converges from superposed atoms in few steps"


def has_pairs(model: DensityModel) -> bool:
    """Whether a model is the linear pair model, or a network that adds to it."""
    return hasattr(model.network, "unseen_pairs") or getattr(model.atoms, "pairs", None) is not None


def measure_negative_electrons(rho: Density) -> float:
    """The electrons in negative values of a density, as a share of all."""
    return float(-np.minimum(rho.values, 0).sum() / np.abs(rho.values.sum()))
