"""What functions on atoms can hold: the error that the best coefficients leave of densities of the sample and of files.

    python benchmarks/fourier_floors.py [--functions 6 8 10 12] [--every 4] [--lmax 4] [--noise 0.01] [FILE ...]

Each crystal of the sample (every fourth by default), and each file, is fitted with superposed atoms and functions on
them (`ecd fit`). A row gives, for soft densities (elements of s and p electrons), those with semicore or d electrons,
and each file, the mean eps_mae of the start and of each number of functions, with the mean norm of the coefficients
relative to the electrons' root and the error that so much noise on all coefficients makes: what exists must be
learned, too.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ecd_data import Density, open_store, read
from ecd_models import load_model
from ecd_models.networks.elements import in_d_block
from ecd_models.networks.fourier_density.assembly import density_on_grid
from ecd_models.networks.fourier_density.least_squares import fit_density
from ecd_models.networks.fourier_density.model import FourierDensityConfig, radial_functions


class Floor(NamedTuple):
    """In percent: eps_mae of the atoms, of the fit, of noise on its coefficients; norm relative to sqrt(electrons)."""

    start: float
    error: float
    noise: float
    norm: float


def floor_of(rho: Density, config: FourierDensityConfig, atoms: Any, noise: float) -> Floor:
    """The floor of a density."""
    found = fit_density(rho, config, atoms)
    random = np.random.default_rng(0)
    typical = np.sqrt((found.coefficients**2).mean(axis=(0, 2), keepdims=True))
    shaken = torch.from_numpy(noise * typical * random.normal(size=found.coefficients.shape)).float()
    change = density_on_grid(shaken, radial_functions(config), rho.crystal, rho.shape).numpy()
    norm = float(np.sqrt((found.coefficients**2).sum() / rho.nelect))
    return Floor(100 * found.start_error, 100 * found.error, 100 * np.abs(change).mean() / rho.values.mean(), norm)


def row(name: str, densities: list[Density], configs: list[FourierDensityConfig], atoms: Any, noise: float) -> str:
    """A row of the table."""
    floors = [[floor_of(rho, config, atoms, noise) for config in configs] for rho in densities]
    cells = [name, str(len(densities)), f"{np.mean([f[0].start for f in floors]):.2f}"]
    for k in range(len(configs)):
        error, shaken, norm = (np.mean([f[k][part] for f in floors]) for part in (1, 2, 3))
        cells.append(f"{error:.3f} / {shaken:.3f} / {norm:.3f}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--functions", type=int, nargs="+", default=[6, 8, 10, 12])
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--lmax", type=int, default=4)
    parser.add_argument("--noise", type=float, default=0.01)
    options = parser.parse_args()
    torch.set_num_threads(1)
    configs = [FourierDensityConfig(functions=count, lmax=options.lmax) for count in options.functions]
    store, atoms = open_store("pbe"), load_model("pair_density").atoms
    groups: dict[str, list[Density]] = {"s and p elements": [], "with d elements": []}
    for id in store.ids[:: options.every]:
        rho = store[id]
        groups["with d elements" if in_d_block()[rho.numbers].any() else "s and p elements"].append(rho)
    names = " | ".join(f"{count} functions" for count in options.functions)
    print(f"eps_mae of the fit in % / of {options.noise:.0%} noise on its coefficients in % / their norm")
    print(f"| densities | crystals | superposed atoms | {names} |\n" + "|---" * (3 + len(configs)) + "|")
    for name, densities in groups.items():
        if densities:
            print(row(name, densities, configs, atoms, options.noise), flush=True)
    for file in options.files:
        print(row(file.name, [read(file)], configs, None, options.noise), flush=True)


if __name__ == "__main__":
    main()
