"""The errors of a predicted magnetization, crystal by crystal, on the spin-polarised crystals of a store.

    python benchmarks/magnetization.py CHECKPOINT STORE [ID ...]

A row gives the total moment of the reference and the prediction, the same for the integral of |m|, the error of m,
sum|m - m'| / sum|m'|, and eps_mae of the density. The initial moments are those that the store records with a density
(docs/fourier.md); without a record the ferromagnetic state is predicted. Non-magnetic crystals that are named have no
relative error.
"""

from __future__ import annotations

import argparse

import numpy as np

from ecd_data import Density, Store
from ecd_data.density import INITIAL_MOMENTS
from ecd_models import load_model, predict
from ecd_models.metrics import eps_mae
from ecd_models.model import DensityModel

HEAD = "| crystal | moment, muB | predicted | integral of abs(m) | predicted | error of m, % | eps_mae, % |"


def row(model: DensityModel, id: str, rho: Density) -> str:
    """A row of the table."""
    guess = predict(model, rho.crystal, shape=rho.shape, moments=rho.meta.get(INITIAL_MOMENTS))
    true = np.zeros(rho.shape) if rho.magnetization is None else rho.magnetization
    found, volume = guess.magnetization, rho.crystal.volume
    assert found is not None
    numbers = [part.mean() * volume for part in (true, found, np.abs(true), np.abs(found))]
    error = f"{100 * np.abs(found - true).sum() / np.abs(true).sum():.1f}" if true.any() else "-"
    cells = [id, *(f"{number:.3f}" for number in numbers), error, f"{100 * eps_mae(guess, rho):.2f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("store")
    parser.add_argument("ids", nargs="*", help="default: all that have a magnetization")
    options = parser.parse_args()
    model, store = load_model(options.checkpoint), Store(options.store)
    spins = store.index[store.index["spin"]]["id"].tolist()
    print(HEAD)
    print("|---" * HEAD.count(" | ") + "|---|")
    for id in options.ids or spins:
        print(row(model, id, store[id]))


if __name__ == "__main__":
    main()
