"""What makes a density to start from for the bench of a crystal: a model that predicts it, or a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.dft.pseudopotentials import load_pseudopotentials
from ecd_data.formats import read_run
from ecd_models.scf.bench import Bench
from ecd_models.scf.doubts import doubt_prediction
from ecd_models.scf.scf_runs import Start, time_call
from ecd_models.scf.vasp_restart import find_origin

if TYPE_CHECKING:
    from ecd_models.model import DensityModel

MakeStart = Callable[[Bench], Start]


def model_start(name: str, model: DensityModel, *, allow: bool = False, symmetry: bool = True) -> MakeStart:
    """A function that makes a start from a model's prediction on pw.x's grid, and measures its time.

    Parameters
    ----------
    name : of the start.
    model : the model.
    allow : whether other valence electrons than the pseudopotentials have are a warning instead of an error.
    symmetry : evaluate the network at irreducible grid points only, if the run uses the symmetry of the crystal.
    """
    from ecd_models.prediction.initial_moments import takes_moments
    from ecd_models.prediction.predict import Options, predict

    warm_up = _WarmUp(model)

    def make(bench: Bench) -> Start:
        crystal, shape = bench.job.crystal, bench.shape
        warm_up(crystal, shape)
        pseudo = load_pseudopotentials(bench.engine.pseudo, crystal.elements)
        options: Options = {
            "valences": {symbol: found.valence for symbol, found in pseudo.items()},
            "allow_valence_mismatch": allow,
            "symmetry": symmetry and bench.settings.symmetry,
        }
        if takes_moments(model):  # those that the run starts with
            starts = zip(bench.settings.start_magnetizations(len(crystal)), crystal.symbols, strict=True)
            options["moments"] = [start * pseudo[symbol].valence for start, symbol in starts]
        rho, seconds = time_call(lambda: predict(model, crystal, shape=shape, **options))
        if not bench.settings.start_magnetization:
            rho = replace(rho, magnetization=None)
        spin = "predicted" if rho.magnetization is not None else None
        spins = bool(bench.settings.start_magnetization)
        doubts, seen = doubt_prediction(model, crystal, rho, spin=spins, id=bench.job.id)
        channels = {"density": "predicted", "magnetization": spin}
        return Start(name, rho, channels, **seconds, seen=seen, doubts=tuple(doubts))

    return make


class _WarmUp:
    """Predicts once with and once without the compiled kernels, since loading them is no part of a start's time."""

    def __init__(self, model: DensityModel) -> None:
        self.model = model
        self._done: set[bool] = set()

    def __call__(self, crystal: Crystal, shape: tuple[int, int, int]) -> None:
        from ecd_models.prediction.network_outputs import MIN_COMPILED
        from ecd_models.prediction.predict import predict

        compiled = int(np.prod(shape)) >= MIN_COMPILED
        if compiled not in self._done:
            predict(self.model, crystal, shape=shape, refuse=False)  # irreducible points may be too few for the kernels
            self._done.add(compiled)


def file_start(path: str | Path) -> MakeStart:
    """A function that makes a start from a density file, whatever its grid."""
    rho = read_run(path)
    origin = find_origin(rho)
    spin = origin if rho.magnetization is not None else None
    return lambda bench: Start(str(path), rho, {"density": origin, "magnetization": spin})
