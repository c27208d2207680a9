"""The functional whose densities a model gives, where it was trained on those of several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike

from ecd_data.errors import UsageError
from ecd_models.model import DensityModel

HASH_DIGITS = 8  # of the weights in the comment of a predicted file: tells checkpoints apart in a short line


def list_functionals(model: DensityModel) -> tuple[str, ...]:
    """The functionals among which a model can choose; none for a model of one functional."""
    return getattr(model.network.config, "functionals", ())


def name_model(model: DensityModel, functional: str | None = None, moments: ArrayLike | None = None) -> str:
    """The name of a model as it stands in the files that it predicts: "charge3net 1a2b3c4d".

    The digits are the first of `weights_sha256`, which tell the checkpoints of a network apart. The functional follows
    if the model gives several. Initial moments that are asked for stand there too: one number for all atoms, or that
    each atom has its own.
    """
    name = f"{model.name} {model.weights_sha256[:HASH_DIGITS]}"
    if list_functionals(model):
        name += f" for {functional or model.network.functional}"
    if moments is None:
        return name
    return f"{name} from {'moments of each atom' if np.ndim(moments) else f'moment {moments:g}'}"


@contextmanager
def choose_functional(model: DensityModel, functional: str | None) -> Iterator[None]:
    """A context in which a model gives the densities of a functional; None for those that it gives anyway.

    Raises
    ------
    UsageError : the model was not trained on this functional together with others.
    """
    if functional is None:
        yield
        return
    names = list_functionals(model)
    if functional not in names:
        has = f"gives densities of {' and '.join(names)}, not of" if names else "has one functional and cannot choose"
        raise UsageError(f"{model.name} {has} {functional}: take another model, or leave the functional out")
    before, model.network.functional = model.network.functional, functional
    try:
        yield
    finally:
        model.network.functional = before
