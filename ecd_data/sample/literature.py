"""The sample against published numbers: `python -m ecd_data.sample.literature` prints the tables of docs/sample.md."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.release.split_files import read_gaps
from ecd_data.sample.cells import structures
from ecd_data.sample.table import HERE, indexes, markdown, sample_formation_energies

KJ_MOL = 96.4853  # kJ/mol in one eV a formula unit


def published() -> dict[str, dict[str, float]]:
    """Published numbers by kind and id: gaps in eV, Å^3/atom, lattice constants in Å, enthalpies in kJ/mol."""
    return json.loads(files("ecd_data.sample").joinpath("literature.json").read_text())


def comparison(folder: Path = HERE) -> str:
    """The tables as Markdown: gaps, formation energies, volumes and lattice constants; ours and published."""
    relaxed = json.loads((folder / "relaxed.json").read_text())
    return "\n\n".join([_gaps(folder), _formation(folder), _volumes(relaxed), _lattice_constants(relaxed)])


def _gaps(folder: Path) -> str:
    import pandas as pd

    frames, known = indexes(folder), published()
    ours = {"gaps_pbe": pd.concat([frames["pbe"], frames["ood"]])["gap_eV"], "gaps_hse06": frames["hse"]["gap_eV"]}
    measured = {row["sample_id"]: row["gap_exp_eV"] for row in read_gaps()}
    rows: list[list[str]] = []
    differences: dict[str, list[float]] = {kind: [] for kind in ours}
    for id in sorted(set(known["gaps_pbe"]) | set(known["gaps_hse06"])):
        row = [id]
        for kind, gaps in ours.items():
            both = id in gaps and id in known[kind]
            row += [f"{gaps[id]:.2f}" if id in gaps else "", f"{known[kind][id]:.2f}" if id in known[kind] else ""]
            differences[kind] += [abs(gaps[id] - known[kind][id])] if both else []
        rows.append([*row, measured.get(id, "")])
    mean = {kind: f"{np.mean(found):.2f} ({len(found)})" for kind, found in differences.items()}
    rows.append(["mean difference", "", mean["gaps_pbe"], "", mean["gaps_hse06"], ""])
    return markdown(["gap, eV", "PBE", "VASP PBE", "HSE06", "published HSE06", "measured"], rows)


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


def _volumes(relaxed: dict[str, Any]) -> str:
    rows = []
    for id, volume in published()["volumes"].items():
        found = abs(np.linalg.det(relaxed[id]["lattice"])) / len(relaxed[id]["numbers"])
        rows.append([id, f"{found:.2f}", f"{volume:.2f}", f"{100 * (found / volume - 1):+.1f} %"])
    return markdown(["volume, Å^3/atom", "PBE", "WIEN2k, PBE", "difference"], rows)


def _lattice_constants(relaxed: dict[str, Any]) -> str:
    rows = []
    for id, constant in published()["lattice_constants"].items():
        found = conventional(relaxed[id]["lattice"])
        rows.append([id, f"{found:.3f}", f"{constant:.3f}", f"{100 * (found / constant - 1):+.1f} %"])
    return markdown(["lattice constant, Å", "PBE", "published, PBE", "difference"], rows)


def conventional(lattice: list[list[float]]) -> float:
    """The cubic lattice constant of a primitive face-centred cell in Å."""
    return float(np.cbrt(4 * abs(np.linalg.det(lattice))))


if __name__ == "__main__":
    print(comparison())
