"""How converged the sample is, and whether its recipe repeats: some cells with doubled k meshes, some with a higher
cutoff, and some with the same settings again.

`python -m ecd_data.sample.convergence DIR` computes them in a folder, or continues there, and prints the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecd_data.density import Density
from ecd_data.density_error import eps_mae
from ecd_data.dft import RunReport, run
from ecd_data.markdown import make_markdown_table
from ecd_data.sample.additions import make_joined_cells
from ecd_data.sample.cells import load_structures, make_cells
from ecd_data.sample.meshes import has_narrow_gap, refine_meshes
from ecd_data.sample.report import find_coarse_cells
from ecd_data.store import Store, open_store
from ecd_data.work.programs import run_program

DOUBLED = 20  # crystals whose k mesh is doubled along every axis
RAISED = 10  # crystals whose cutoff is raised
RAISED_D = 5  # further ones, with d electrons
CHECKS = ("kmesh", "cutoff", "repeat")
REPEATED, SEED = 10, 0  # cells that are computed again with the same settings, drawn at random
RAISE = 1.25  # factor of the cutoff of the plane waves, and of that of the density

D_BLOCK = {*range(21, 31), *range(39, 49), *range(71, 81)}  # atomic numbers

Record = dict[str, Any]


class Difference(NamedTuple):
    """The change of a cell in a finer calculation: eps_mae in percent, the energy in meV/atom, both calculations."""

    id: str
    eps_mae_percent: float
    energy_mev_atom: float
    before: str
    after: str


def choose_crystals(ids: set[str]) -> list[str]:
    """The ids of the pristine crystals to check, the cheapest first.

    Of every structure type they are the cheapest crystal with a wide gap and the cheapest metal or narrow gap, so that
    both rules of the k meshes are checked.
    """
    chosen: dict[tuple[str, bool], str] = {}
    pristine = {id: record for id, record in load_structures().items() if id in ids}
    for id, record in refine_meshes(pristine).items():
        chosen.setdefault((record["prototype"], has_narrow_gap(record)), id)
    return list(chosen.values())


def make_checks(ids: set[str], names: Collection[str] = CHECKS) -> dict[str, dict[str, Record]]:
    """The records by id of the calculations of each check: with doubled k meshes ("kmesh"), with a higher cutoff
    ("cutoff"), and with the same settings again ("repeat").
    """
    makers = {"kmesh": double_meshes, "cutoff": raise_cutoffs, "repeat": draw_cells}
    return {name: makers[name](ids) for name in names}


def double_meshes(ids: set[str]) -> dict[str, Record]:
    """The records by id of the cheapest chosen crystals, with twice the k points along each axis."""
    structures = load_structures()
    records = refine_meshes({id: structures[id] for id in choose_crystals(ids)[:DOUBLED]})
    return {id: record | {"kmesh": [2 * n for n in record["kmesh"]]} for id, record in records.items()}


def raise_cutoffs(ids: set[str]) -> dict[str, Record]:
    """The records by id of the cheapest chosen crystals, and of some with d electrons, with a higher cutoff."""
    structures = load_structures()
    raised = refine_meshes({id: structures[id] for id in choose_crystals(ids)[:RAISED]}) | choose_with_d(ids)
    return {id: record | {"ecutwfc_Ry": RAISE * record["ecutwfc_Ry"]} for id, record in raised.items()}


def choose_with_d(ids: set[str]) -> dict[str, Record]:
    """The records by id of the cheapest pristine crystals of different elements with d electrons."""
    chosen, seen = dict[str, Record](), set[int]()
    for id, record in refine_meshes({id: one for id, one in load_structures().items() if id in ids}).items():
        elements = D_BLOCK & set(record["numbers"])
        if elements - seen and len(chosen) < RAISED_D:
            chosen[id] = record
            seen |= elements
    return chosen


def draw_cells(ids: set[str]) -> dict[str, Record]:
    """The records by id of cells on the meshes of the rule that are drawn at random, the cheapest first."""
    found = find_coarse_cells()
    drawn = np.random.default_rng(SEED).permutation(sorted(ids - {*found["pbe"], *found["ood"]}))[:REPEATED].tolist()
    cells = make_cells() | make_joined_cells()
    return refine_meshes({id: cells[id] for id in drawn})


def run_checks(out: Path, stores: list[Store], names: Collection[str] = CHECKS, **options: Any) -> dict[str, RunReport]:
    """A report for each of the stores of `make_checks`, computed in the folder `out`; a second call continues.

    Parameters
    ----------
    out : folder of the stores.
    stores : the densities that are checked.
    names : the checks, such as "kmesh"; all by default.
    options : of `ecd_data.dft.run`, such as `pseudo`, `work` and `processes`.
    """
    checks = make_checks({id for store in stores for id in store.ids}, names)
    return {name: run(records, out / f"{name}.ecd", **options) for name, records in checks.items()}


def find_differences(pairs: Iterable[tuple[Store, Store]]) -> list[Difference]:
    """The Difference of every cell that both stores of a pair hold, the largest eps_mae of all first.

    pairs : the densities that are checked, and finer ones.
    """
    found = [compare_cell(id, before, after) for before, after in pairs for id in after.ids if id in before]
    return sorted(found, key=lambda one: -one.eps_mae_percent)


def compare_cell(id: str, before: Store, after: Store) -> Difference:
    """The Difference of a cell between two stores; eps_mae is taken on the grid of the finer calculation."""
    old, new = before[id], after[id]
    finer = _energy_of(new) - _energy_of(old)
    error = eps_mae(old if old.shape == new.shape else old.resample(new.shape), new)
    return Difference(id, 100 * error, 1000 * finer / len(new.crystal), _describe(old), _describe(new))


def _energy_of(rho: Density) -> float:
    return float(rho.meta["properties"]["energy_eV"])


def _describe(rho: Density) -> str:
    settings = rho.meta["settings"]
    return f"{'x'.join(map(str, settings['kmesh']))}, {settings['ecutwfc_Ry']:g} Ry"


def make_convergence_table(found: list[Difference], shown: int) -> str:
    """The differences as Markdown: a line of means, and a table with a row for each of the `shown` largest ones."""
    errors = np.array([one.eps_mae_percent for one in found])
    energies = np.abs([one.energy_mev_atom for one in found])
    means = (
        f"{len(found)} cells: eps_mae {errors.mean():.4f} % on average, median {np.median(errors):.4f} %, "
        f"above 0.1 % in {np.count_nonzero(errors > 0.1)}; energy {energies.mean():.1f} meV/atom on average"
    )
    header = ["cell", "stored", "finer", "eps_mae of the stored density", "energy, meV/atom"]
    changes = [(f"{one.eps_mae_percent:.4f} %", f"{one.energy_mev_atom:+.1f}") for one in found[:shown]]
    rows = [[one.id, one.before, one.after, *change] for one, change in zip(found, changes, strict=False)]
    return f"{means}\n\n{make_markdown_table(header, rows)}"


def main() -> None:
    """Compute the checks from the command line and print their differences."""
    parser = argparse.ArgumentParser(prog="python -m ecd_data.sample.convergence", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder for kmesh.ecd, cutoff.ecd and repeat.ecd")
    parser.add_argument("stores", type=Path, nargs="+", help="the stores that are checked")
    parser.add_argument("--checks", nargs="+", choices=CHECKS, default=CHECKS, help="the checks to run")
    parser.add_argument("--work", type=Path, help="folder that keeps the engine's files")
    parser.add_argument("--pseudo", type=Path, help="folder of pseudopotentials in place of the cache")
    parser.add_argument("--processes", type=int, default=1, help="number of engine runs at the same time")
    options = parser.parse_args()
    stores = [open_store(path) for path in options.stores]
    for name, report in run_checks(
        options.folder, stores, options.checks, work=options.work, pseudo=options.pseudo, processes=options.processes
    ).items():
        after = open_store(options.folder / f"{name}.ecd")
        found = find_differences((before, after) for before in stores)
        print(f"{name}: {report}\n{make_convergence_table(found, len(found))}\n")


if __name__ == "__main__":
    run_program(main)
