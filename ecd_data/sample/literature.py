"""The comparison of the sample with published numbers, as tables of its report."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import numpy as np

from ecd_data.markdown import make_markdown_table
from ecd_data.release.split_files import read_gaps
from ecd_data.sample.cells import load_structures
from ecd_data.sample.table import SAMPLE_FOLDER, compute_formation_energies, read_indexes

KJ_MOL = 96.4853  # one eV for each formula unit, in kJ/mol


def read_literature() -> dict[str, dict[str, float]]:
    """Published numbers by kind and id: gaps (eV), volumes (Å^3/atom), lattice constants (Å), enthalpies (kJ/mol)."""
    return json.loads(files("ecd_data.sample").joinpath("literature.json").read_text())


def make_literature_tables() -> str:
    """The tables as Markdown: gaps, formation energies, volumes and lattice constants, ours and published ones."""
    relaxed = json.loads((SAMPLE_FOLDER / "relaxed.json").read_text())
    return "\n\n".join([_gap_table(), _formation_table(), _volume_table(relaxed), _lattice_constant_table(relaxed)])


def _gap_table() -> str:
    import pandas as pd

    frames, literature = read_indexes(), read_literature()
    ours = {"gaps_pbe": pd.concat([frames["pbe"], frames["ood"]])["gap_eV"], "gaps_hse06": frames["hse"]["gap_eV"]}
    measured = {row["sample_id"]: row["gap_exp_eV"] for row in read_gaps()}
    rows: list[list[str]] = []
    differences: dict[str, list[float]] = {kind: [] for kind in ours}
    for id in sorted(set(literature["gaps_pbe"]) | set(literature["gaps_hse06"])):
        row = [id]
        for kind, gaps in ours.items():
            published = literature[kind]
            both = id in gaps and id in published
            row += [f"{gaps[id]:.2f}" if id in gaps else "", f"{published[id]:.2f}" if id in published else ""]
            differences[kind] += [abs(gaps[id] - published[id])] if both else []
        rows.append([*row, measured.get(id, "")])
    mean = {kind: f"{np.mean(found):.2f} ({len(found)})" for kind, found in differences.items()}
    rows.append(["mean difference", "", mean["gaps_pbe"], "", mean["gaps_hse06"], ""])
    return make_markdown_table(["gap, eV", "PBE", "VASP PBE", "HSE06", "published HSE06", "measured"], rows)


def _formation_table() -> str:
    ours = compute_formation_energies()
    rows, differences = [], []
    for id, enthalpy in read_literature()["formation_enthalpies"].items():
        if id in ours:
            measured = enthalpy / KJ_MOL / count_formula_atoms(id)
            differences.append(ours[id] - measured)
            rows.append([id, f"{ours[id]:.2f}", f"{measured:.2f}", f"{differences[-1]:+.2f}"])
    rows.append([f"mean of {len(rows)}", "", "", f"{np.mean(differences):+.2f}"])
    return make_markdown_table(["formation energy, eV/atom", "PBE", "measured, 298 K", "difference"], rows)


def count_formula_atoms(id: str) -> int:
    """The number of atoms in one reduced formula unit of a crystal of the sample."""
    numbers = load_structures()[id]["numbers"]
    return len(numbers) // int(np.gcd.reduce([numbers.count(z) for z in set(numbers)]))


def _volume_table(relaxed: dict[str, Any]) -> str:
    rows = []
    for id, volume in read_literature()["volumes"].items():
        found = abs(np.linalg.det(relaxed[id]["lattice"])) / len(relaxed[id]["numbers"])
        rows.append([id, f"{found:.2f}", f"{volume:.2f}", f"{100 * (found / volume - 1):+.1f} %"])
    return make_markdown_table(["volume, Å^3/atom", "PBE", "WIEN2k, PBE", "difference"], rows)


def _lattice_constant_table(relaxed: dict[str, Any]) -> str:
    rows = []
    for id, constant in read_literature()["lattice_constants"].items():
        found = cubic_constant(relaxed[id]["lattice"])
        rows.append([id, f"{found:.3f}", f"{constant:.3f}", f"{100 * (found / constant - 1):+.1f} %"])
    return make_markdown_table(["lattice constant, Å", "PBE", "published, PBE", "difference"], rows)


def cubic_constant(lattice: list[list[float]]) -> float:
    """The cubic lattice constant of a primitive face-centred cell in Å."""
    return float(np.cbrt(4 * abs(np.linalg.det(lattice))))
