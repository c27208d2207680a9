"""Errors of HSE06 densities against the share of HSE06 data with which the shipped pair model is tuned.

Tuning fits what HSE06 adds to the model's PBE densities, in the same functions, so the sum is a pair model again. Run
`python benchmarks/hse_share.py`; it takes more than a quarter of an hour of one core.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from ecd_data.density import Density
from ecd_data.density_error import eps_mae
from ecd_data.markdown import make_markdown_row, make_markdown_table
from ecd_models import load_model, predict
from ecd_models.model import DensityModel
from ecd_models.networks.pair_density.model import PairDensity
from ecd_models.task_data import TaskData, evaluation_data
from ecd_models.training.fit_pair_density import PairFit
from ecd_models.training.probe_batches import subset

SHARES = (0.25, 0.5, 0.75, 1.0)


def main() -> None:
    """Print a Markdown table: share, training crystals, eps_mae on each test part with HSE06 densities."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="Shares of the training crystals.")
    parser.add_argument("--passes", type=int, default=3, help="Passes of each fit over its crystals.")
    parser.add_argument("--points", type=int, default=600, help="Grid points of each crystal in a pass.")
    parser.add_argument("--seed", type=int, default=42, help="Random seed of crystals and points.")
    arguments = parser.parse_args()
    data = evaluation_data("hse", None, None, True)
    parts = [part for part in data.parts if part.startswith("test_") and data.parts[part]]
    print(make_markdown_table(["HSE06 crystals", *(f"{part} ({len(data.parts[part])})" for part in parts)], []))
    model = load_model("pair_density")
    print(format_row("0 (PBE)", model, data, parts), flush=True)
    for share in arguments.shares:
        ids = subset(data.ids("train"), share, arguments.seed)
        tuned = tune(model, data, ids, arguments.passes, arguments.points, arguments.seed)
        print(format_row(f"{len(ids)} ({100 * share:.0f} %)", tuned, data, parts), flush=True)


def tune(model: DensityModel, data: TaskData, ids: Sequence[str], passes: int, points: int, seed: int) -> DensityModel:
    """The model with what the densities of some crystals have beyond it, by a fit of a second pair model."""
    assert model.atoms is not None
    formulas = data.store.index.set_index("id").loc[list(ids), "formula"].to_dict()
    fit = PairFit(_subtract(model, data), formulas, model.atoms, model.network.config, points, seed)
    for _ in range(passes):
        added = fit.next_solution()
    tuned = copy.deepcopy(model)
    network: PairDensity = tuned.network
    with torch.no_grad():
        network.pair += added.pair
        network.spherical += added.spherical
    return tuned


def _subtract(model: DensityModel, data: TaskData) -> Callable[[str], Density]:
    """What loads a density less what the model adds to free atoms, which the fit then compares with free atoms."""

    def load(id: str) -> Density:
        rho = data.store[id]
        return replace(rho, values=rho.values - model.network.on_grid(rho.crystal, rho.shape))

    return load


def format_row(name: str, model: DensityModel, data: TaskData, parts: Sequence[str]) -> str:
    """A row of the table: the mean eps_mae in percent on each part."""
    cells = []
    for part in parts:
        errors = [_measure(model, data.store[id]) for id in data.parts[part]]
        cells.append(f"{100 * np.mean(errors):.3f} %")
    return make_markdown_row([name, *cells])


def _measure(model: DensityModel, rho: Density) -> float:
    return eps_mae(predict(model, rho.crystal, shape=rho.shape, refuse=False), rho)


if __name__ == "__main__":
    main()
