"""The sample against published numbers: `python -m ecd_data.sample.literature` prints the tables of docs/sample.md."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.dft.formation import elemental_energies, formation_energies
from ecd_data.sample.cells import structures
from ecd_data.sample.table import HERE, indexes, markdown
from ecd_data.store import open_store

KJ_MOL = 96.4853  # kJ/mol in one eV a formula unit


def published() -> dict[str, dict[str, Any]]:
    """Published numbers by kind and id: gaps [PBE, HSE06] in eV, lattice constants in Å, enthalpies in kJ/mol."""
    return json.loads(files("ecd_data.sample").joinpath("literature.json").read_text())


def comparison(folder: Path = HERE) -> str:
    """The tables as Markdown: gaps, formation energies, lattice constants after relaxation; ours and published."""
    return "\n\n".join([_gaps(folder), _formation(folder), _lattice_constants(folder)])


def sample_formation_energies(folder: Path = HERE) -> dict[str, float]:
    """The PBE formation energy of every cell of the sample in eV/atom, by id, against its own elements."""
    stores = {name: open_store(folder / f"{name}.ecd") for name in ("pbe", "ood", "elements")}
    references = elemental_energies(stores.values())
    return formation_energies(stores["pbe"], references) | formation_energies(stores["ood"], references)


def _gaps(folder: Path) -> str:
    import pandas as pd

    frames = indexes(folder)
    pbe, hse = pd.concat([frames["pbe"], frames["ood"]]), frames["hse"]
    rows = []
    for id, (semilocal, hybrid) in published()["gaps"].items():
        ours = [f"{frame.loc[id, 'gap_eV']:.2f}" if id in frame.index else "" for frame in (pbe, hse)]
        rows.append([id, ours[0], f"{semilocal:.1f}", ours[1], f"{hybrid:.1f}"])
    return markdown(["gap, eV", "PBE", "published", "HSE06", "published"], rows)


def _formation(folder: Path) -> str:
    ours = sample_formation_energies(folder)
    rows, differences = [], []
    for id, enthalpy in published()["formation_enthalpies"].items():
        if id in ours:
            measured = enthalpy / KJ_MOL / formula_atoms(id)
            differences.append(ours[id] - measured)
            rows.append([id, f"{ours[id]:.2f}", f"{measured:.2f}", f"{differences[-1]:+.2f}"])
    rows.append([f"mean of {len(rows)}", "", "", f"{np.mean(differences):+.2f}"])
    return markdown(["formation energy, eV/atom", "PBE", "measured, 298 K", "difference"], rows)


def formula_atoms(id: str) -> int:
    """The atoms in one reduced formula unit of a crystal of the sample."""
    numbers = structures()[id]["numbers"]
    return len(numbers) // int(np.gcd.reduce([numbers.count(z) for z in set(numbers)]))


def _lattice_constants(folder: Path) -> str:
    relaxed = json.loads((folder / "relaxed.json").read_text())
    rows = []
    for id, constant in published()["lattice_constants"].items():
        if id in relaxed:
            found = conventional(relaxed[id]["lattice"])
            rows.append([id, f"{found:.3f}", f"{constant:.3f}", f"{100 * (found / constant - 1):+.1f} %"])
    return markdown(["lattice constant, Å", "PBE", "published, PBE", "difference"], rows)


def conventional(lattice: list[list[float]]) -> float:
    """The cubic lattice constant of a primitive face-centred cell in Å."""
    return float(np.cbrt(4 * abs(np.linalg.det(lattice))))


if __name__ == "__main__":
    print(comparison())
