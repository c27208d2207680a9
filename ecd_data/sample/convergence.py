"""The differences between the sample's densities and energies and those at converged k meshes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecd_data.density import Density
from ecd_data.density_error import eps_mae
from ecd_data.sample.table import SAMPLE_FOLDER
from ecd_data.store import Store, open_store

CONVERGED_STORES = SAMPLE_FOLDER / "converged"
NAMES = ("pbe", "ood")
SHOWN = 12  # rows of the table: the cells with the largest differences


class Difference(NamedTuple):
    """The change of a cell by a finer k mesh: eps_mae in percent, the energy in meV/atom, and both meshes [3]."""

    id: str
    eps_mae_percent: float
    energy_mev_atom: float
    before: tuple[int, ...]
    after: tuple[int, ...]


def find_differences(folder: Path = CONVERGED_STORES) -> list[Difference]:
    """The Difference of every cell in the stores in `folder` from the sample's, with the largest eps_mae first."""
    found = [one for name in NAMES if (folder / f"{name}.ecd").is_dir() for one in _compare_stores(folder, name)]
    return sorted(found, key=lambda one: -one.eps_mae_percent)


def _compare_stores(folder: Path, name: str) -> Iterator[Difference]:
    before, after = open_store(SAMPLE_FOLDER / f"{name}.ecd"), open_store(folder / f"{name}.ecd")
    return (_compare_cell(id, before, after) for id in after.ids)


def _compare_cell(id: str, before: Store, after: Store) -> Difference:
    old, new = before[id], after[id]
    finer = _energy_of(new) - _energy_of(old)
    meshes = (tuple(rho.meta["settings"]["kmesh"]) for rho in (old, new))
    error = eps_mae(old if old.shape == new.shape else old.resample(new.shape), new)
    return Difference(id, 100 * error, 1000 * finer / len(new.crystal), *meshes)


def _energy_of(rho: Density) -> float:
    return float(rho.meta["properties"]["energy_eV"])


def make_convergence_table(found: list[Difference]) -> str:
    """The differences as Markdown: a line of means, and a table with a row for each of the largest ones."""
    errors = np.array([one.eps_mae_percent for one in found])
    energies = np.abs([one.energy_mev_atom for one in found])
    lines = [
        f"{len(found)} cells: eps_mae {errors.mean():.3f} % on average, median {np.median(errors):.3f} %, "
        f"above 0.1 % in {np.count_nonzero(errors > 0.1)}; energy {energies.mean():.1f} meV/atom on average",
        "",
        "| cell | k mesh | converged mesh | eps_mae of the stored density | energy, meV/atom |",
        "|---|---|---|---|---|",
    ]
    for one in found[:SHOWN]:
        before, after = ("x".join(map(str, mesh)) for mesh in (one.before, one.after))
        lines.append(f"| {one.id} | {before} | {after} | {one.eps_mae_percent:.3f} % | {one.energy_mev_atom:+.1f} |")
    return "\n".join(lines)
