"""Equations of state of verification crystals against all-electron codes.

`python -m ecd_data.sample.equations_of_state --out DIR` computes 20 crystals at seven volumes each, continues an
interrupted call, and prints a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.dft import run
from ecd_data.formats.units import EV_PER_A3
from ecd_data.markdown import make_markdown_table
from ecd_data.sample.costs import estimate_seconds
from ecd_data.sample.meshes import converged_kmesh
from ecd_data.sample.table import read_column
from ecd_data.sample.verification import (
    NOBLE_GASES,
    TYPE_NAMES,
    EquationOfState,
    list_elements,
    make_verification_cell,
    read_reference,
)
from ecd_data.work.programs import run_program

CUTOFF = 110.0  # Ry, for all: the largest that PseudoDojo recommends for one of its 72 elements (La)
SCALES = (0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06)  # volumes in units of the listed one, as in the paper
OF_A_KIND = 2  # crystals of each of the ten kinds
STORE = "volumes.ecd"
WEIGHTS = (1, 1 / 20, 1 / 400)  # of V0, B0 and B1 in nu
POINTS = 2001  # volumes at which two curves are compared; the integrals are exact to 1e-6 of their values

Record = dict[str, Any]


class Comparison(NamedTuple):
    """A computed equation of state, that of the all-electron codes, and the measures epsilon and nu of the paper."""

    crystal: str
    ours: EquationOfState
    reference: EquationOfState
    epsilon: float
    nu: float


def choose_crystals() -> list[tuple[str, str]]:
    """The pairs (element, kind) of 20 crystals: of each kind the two cheapest with elements that no other one has.

    Noble gases are left out, since their energy hardly depends on the volume.
    """
    chosen: list[tuple[str, str]] = []
    for kind in TYPE_NAMES:
        taken = {element for element, _ in chosen}
        free = [e for e in list_elements() if e not in taken | NOBLE_GASES | {"O"}]
        free.sort(key=lambda element: (estimate_seconds(make_volume_record(element, kind, 1.0)), element))
        chosen += [(element, kind) for element in free[:OF_A_KIND]]
    return chosen


def make_volume_record(element: str, kind: str, scale: float) -> Record:
    """The record of a verification crystal at a volume, without spin, with one mesh and one cutoff at all volumes.

    The mesh is that of a metal (`meshes`) at the listed volume, since oxides that may have a gap often have none, and a
    coarser mesh spoils the bulk modulus. Cold smearing of 0.01 Ry is used for all.
    """
    mesh = converged_kmesh(make_verification_cell(element, kind)["lattice"], narrow_gap=True)
    cell = make_verification_cell(element, kind, scale)
    return cell | {"metal": True, "start_magnetisation": 0.0, "ecutwfc_Ry": CUTOFF, "kmesh": mesh}


def name_volume(element: str, kind: str, scale: float) -> str:
    """The id of a crystal at a volume, such as "Ti_XO2-v0.94"."""
    return f"{element}_{kind}-v{scale:.2f}"


def compute_volumes(crystals: Sequence[tuple[str, str]], out: Path, **options: Any) -> None:
    """Compute the crystals at all volumes into a store in a folder; finished ones are not repeated.

    Parameters
    ----------
    crystals : pairs (element, kind), of which the first ones are finished first.
    out : the folder.
    options : further arguments of `ecd_data.dft.run`, such as work, pseudo and processes.
    """
    records = {name_volume(e, k, scale): make_volume_record(e, k, scale) for e, k in crystals for scale in SCALES}
    print(run(records, out / STORE, forces=False, **options))


def compare_crystals(crystals: Sequence[tuple[str, str]], out: Path) -> list[Comparison]:
    """The Comparison of each crystal whose seven volumes are finished in a folder."""
    energies = read_column(out / STORE, "energy_eV")
    found = []
    for element, kind in crystals:
        if all(name_volume(element, kind, scale) in energies for scale in SCALES):
            ours, reference = fit_crystal(element, kind, energies), read_reference(element, kind)
            epsilon, nu = compute_epsilon(ours, reference), compute_nu(ours, reference)
            found.append(Comparison(f"{element}_{kind}", ours, reference, epsilon, nu))
    return found


def fit_crystal(element: str, kind: str, energies: Mapping[str, float]) -> EquationOfState:
    """The EquationOfState of a crystal by the Birch-Murnaghan fit of pymatgen to its energies in eV by id."""
    from pymatgen.analysis.eos import EOS

    cells = [make_verification_cell(element, kind, scale)["lattice"] for scale in SCALES]
    volumes = [float(abs(np.linalg.det(lattice))) for lattice in cells]
    fit = EOS("birch_murnaghan").fit(volumes, [energies[name_volume(element, kind, scale)] for scale in SCALES])
    return EquationOfState(float(fit.v0), float(fit.b0), float(fit.b1))


def birch_murnaghan(volumes: Floats, state: EquationOfState) -> Floats:
    """The energies in eV at volumes in Å^3, relative to the minimum.

    E = 9/16 V0 B0 [(x - 1)^3 B1 + (x - 1)^2 (6 - 4 x)] with x = (V0 / V)^(2/3)
    """
    x = (state.v0 / volumes) ** (2 / 3)
    return 9 / 16 * state.v0 * state.b0 * ((x - 1) ** 3 * state.b1 + (x - 1) ** 2 * (6 - 4 * x))


def compute_epsilon(one: EquationOfState, other: EquationOfState) -> float:
    """The distance epsilon of two curves: the rms difference of energies in units of their own variations.

    epsilon^2 = <(Ea - Eb)^2> / sqrt(<(Ea - <Ea>)^2> <(Eb - <Eb>)^2>), with averages over volumes within 6 % of the mean
    equilibrium volume.
    """
    middle = (one.v0 + other.v0) / 2
    volumes = np.linspace(SCALES[0] * middle, SCALES[-1] * middle, POINTS)
    a, b = birch_murnaghan(volumes, one), birch_murnaghan(volumes, other)
    return float(np.sqrt(((a - b) ** 2).mean() / np.sqrt(a.var() * b.var())))


def compute_nu(one: EquationOfState, other: EquationOfState) -> float:
    """The distance nu of two curves: the relative differences of V0, B0, B1 in percent, weighted by 1, 1/20, 1/400."""
    pairs = zip(WEIGHTS, (one.v0, one.b0, one.b1), (other.v0, other.b0, other.b1), strict=True)
    return float(100 * np.sqrt(sum((weight * 2 * (a - b) / (a + b)) ** 2 for weight, a, b in pairs)))


def make_comparison_table(found: Sequence[Comparison]) -> str:
    """The comparisons as a table in Markdown: V0 in Å^3 and B0 in GPa, ours and those of the all-electron codes."""
    rows = [
        [
            one.crystal,
            *(f"{state.v0:.3f}" for state in (one.ours, one.reference)),
            f"{100 * (one.ours.v0 / one.reference.v0 - 1):+.2f} %",
            *(f"{EV_PER_A3 * state.b0:.1f}" for state in (one.ours, one.reference)),
            f"{100 * (one.ours.b0 / one.reference.b0 - 1):+.1f} %",
            f"{one.epsilon:.2f}",
            f"{one.nu:.2f}",
        ]
        for one in found
    ]
    header = ["crystal", "V0", "all-electron", "difference", "B0, GPa", "all-electron", "difference", "epsilon", "nu"]
    return make_markdown_table(header, rows)


def main() -> None:
    """Compute the equations of state from the command line, and print the table of those that are finished."""
    parser = argparse.ArgumentParser(prog="python -m ecd_data.sample.equations_of_state", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the store of all volumes")
    parser.add_argument("--work", type=Path, help="folder that keeps the engine's files")
    parser.add_argument("--pseudo", type=Path, help="folder of pseudopotentials in place of the cache")
    parser.add_argument("--processes", type=int, default=1, help="number of engine runs at the same time")
    parser.add_argument("--first", type=int, help="compute only so many crystals, the cheapest ones")
    parser.add_argument("--table", action="store_true", help="compute nothing, print the table of finished crystals")
    options = parser.parse_args()
    crystals = sorted(choose_crystals(), key=lambda pair: estimate_seconds(make_volume_record(pair[0], pair[1], 1.0)))
    crystals = crystals[: options.first]
    if not options.table:
        compute_volumes(crystals, options.out, work=options.work, pseudo=options.pseudo, processes=options.processes)
    print(make_comparison_table(compare_crystals(crystals, options.out)))


if __name__ == "__main__":
    run_program(main)
