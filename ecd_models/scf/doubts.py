"""When not to start from a prediction: reasons known before the self-consistency, from the prediction alone."""

from __future__ import annotations

import numpy as np

from ecd_data.density import Density

NEGATIVE_ELECTRONS = 1e-3  # of all: predictions with more have failed somewhere in the cell
UNSEEN = "unseen"


def list_doubts(rho: Density, *, spin: bool = False, seen: str | None = None, network: bool = True) -> list[str]:
    """The reasons not to start a self-consistency from a prediction; empty where none is known.

    Parameters
    ----------
    rho : Density
        The prediction of `predict`, whose meta says which elements the model never saw.
    spin : bool
        Whether the run has spin: a density without magnetization then starts from that of superposed atoms.
    seen : str, optional
        What of the crystal trained the model: "crystal", "composition" or "unseen".
    network : bool
        Whether a network predicted it: their errors of unseen compositions are several times those of seen ones. The
        linear pair model keeps its error there, also of unseen pairs of elements.
    """
    elements = [name for name in rho.meta.get("never_seen", ()) if "-" not in name]
    doubts = [f"the model never saw {', '.join(elements)} in training"] if elements else []
    if network and seen == UNSEEN:
        doubts.append("the network never saw this composition in training")
    negative = measure_negative_electrons(rho)
    if negative > NEGATIVE_ELECTRONS:
        doubts.append(f"{100 * negative:.2g} % of the electrons are negative")
    if spin and rho.magnetization is None:
        doubts.append("the run has spin and the prediction has none")
    return doubts


def measure_negative_electrons(rho: Density) -> float:
    """The electrons in negative values of a density, as a share of all."""
    return float(-np.minimum(rho.values, 0).sum() / np.abs(rho.values.sum()))
