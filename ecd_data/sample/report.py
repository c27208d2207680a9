"""The report on the embedded sample, docs/sample_report.md, and its two pictures.

`python -m ecd_data.sample.report docs` writes them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecd_data.errors import MissingDependencyError
from ecd_data.markdown import make_markdown_table
from ecd_data.sample.literature import make_literature_tables
from ecd_data.sample.recipe import read_records
from ecd_data.sample.table import (
    SAMPLE_FOLDER,
    STORES,
    make_content_tables,
    read_indexes,
)
from ecd_data.store import open_store
from ecd_data.work.programs import run_program

if TYPE_CHECKING:
    from pandas import DataFrame


def find_coarse_cells() -> dict[str, list[str]]:
    """The ids, by store, of the cells whose k mesh is not that of `ecd_data.sample.meshes`."""
    found = {}
    for name in STORES:
        store, records = open_store(SAMPLE_FOLDER / f"{name}.ecd"), read_records(name)
        wanted = "qmesh_hse" if name == "hse" else "kmesh"
        found[name] = [id for id in store.ids if store.meta(id)["settings"]["kmesh"] != records[id][wanted]]
    return found


def _make_mesh_table() -> str:
    coarse, sizes = find_coarse_cells(), {name: len(open_store(SAMPLE_FOLDER / f"{name}.ecd")) for name in STORES}
    rows = [[name, sizes[name] - len(ids), len(ids), ", ".join(ids)] for name, ids in coarse.items()]
    return make_markdown_table(["store", "on the mesh of the rule", "on another one", ""], rows)


GAP_PICTURE, COST_PICTURE = "sample_gaps.png", "sample_costs.png"


def draw_pictures(out: Path) -> list[Path]:
    """The paths of two pictures: gaps against measured ones, and CPU seconds against electrons.

    They correspond to the paper's Figures 7 and 5.

    Parameters
    ----------
    out : folder for the pictures.

    Raises
    ------
    MissingDependencyError : matplotlib is not installed.
    """
    import pandas as pd

    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'ecd-data[plot]'") from error
    frames = read_indexes()
    sets = {"PBE": pd.concat([frames["pbe"], frames["ood"]]), "HSE06": frames["hse"]}
    paths = []
    for name, panel in ((GAP_PICTURE, _plot_gaps), (COST_PICTURE, _plot_costs)):
        figure = Figure(figsize=(5.5, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        panel(figure.subplots(), sets)
        paths.append(out / name)
        figure.savefig(paths[-1], dpi=110)
    return paths


def _plot_gaps(ax, sets: dict[str, DataFrame]) -> None:
    from ecd_data.release.split_files import read_gaps

    measured = {row["sample_id"]: float(row["gap_exp_eV"]) for row in read_gaps() if row["sample_id"]}
    top = max(measured.values()) + 1
    ax.plot([0, top], [0, top], color="0.7", zorder=0)
    for (name, frame), marker in zip(sets.items(), "os", strict=True):
        ids = [id for id in measured if id in frame.index]
        error = np.mean([abs(frame.loc[id, "gap_eV"] - measured[id]) for id in ids])
        label = f"{name}, {len(ids)} crystals, mean error {error:.2f} eV"
        ax.scatter([measured[id] for id in ids], frame.loc[ids, "gap_eV"], s=16, marker=marker, label=label)
    ax.set(xlabel="measured gap, eV", ylabel="gap, eV", xlim=(0, top), ylim=(0, top))
    ax.legend(frameon=False)


def _plot_costs(ax, sets: dict[str, DataFrame]) -> None:
    for (name, frame), marker in zip(sets.items(), "os", strict=True):
        ax.scatter(frame["nelect"], frame["cpu_seconds"], s=12, marker=marker, label=name)
    ax.set(xlabel="valence electrons in the cell", ylabel="CPU seconds", yscale="log")
    ax.legend(frameon=False)


REPORT = "sample_report.md"
TEXT = """# Tables of the embedded sample

This page lists all that the [embedded sample](sample.md) holds, and compares it with published numbers. It is
generated from the stores by `python -m ecd_data.sample.report docs`, so do not edit it by hand.

![gaps](sample_gaps.png) ![CPU time](sample_costs.png)

The pictures show gaps against measured ones (`splits/exp/gaps.csv`), as in the paper's Figure 7, and CPU seconds by
functional, as in its Figure 5.

## Contents

Gaps (eV) and formation energies (eV/atom) are those of PBE unless stated otherwise; pressures are in GPa, moments in
Bohr magnetons. SCF steps are counted from superposed atoms.

{contents}

## Against published numbers

Our numbers are computed at measured lattice constants; gaps of PBE are those on the k points of the run and on the zone
boundary, gaps of HSE06 those on the k points of the run.

- Gaps. VASP PBE: the Materials Project's, at lattice constants relaxed with PBE, as collected in
  usnistgov/jarvis_leaderboard. Where a gap depends strongly on the lattice constants (GaAs, AgI) or on the distance of
  layers (MoS2, WS2), ours differ. Published HSE06: results of plane-wave and Gaussian codes, which agree to 0.1 eV and
  are rounded to that; there is no single source. Measured: `splits/exp/gaps.csv`.
- Formation energies: PBE at 0 K without the corrections that databases fit, against measured enthalpies (CRC Handbook
  of Chemistry and Physics; of GaN that of oxide melt calorimetry, Ranade et al., J. Phys. Chem. B 104, 4060 (2000),
  which replaces the -110 kJ/mol of older tables). PBE binds oxygen and nitrogen molecules too strongly and insulators
  too weakly.
- Volumes after `ecd dft relax`, against all-electron PBE of WIEN2k (DeltaCodesDFT, as in ASE's
  `ase.collections.dcdft`). Lattice constants, against all-electron PBE (Haas, Tran, Blaha, Phys. Rev. B 79, 085104
  (2009)).

{literature}

## Meshes

Cells by their k mesh, of HSE06 by that of k and q points; the rule is that of `ecd_data/sample/meshes.py`. HSE06 gaps
on other meshes are upper bounds; that of Mg2Sn is known to be too large ([the sample](sample.md#how-good-it-is)).

{meshes}
"""


def make_report() -> str:
    """The text of docs/sample_report.md from the stores of the package."""
    return TEXT.format(
        contents=make_content_tables(),
        literature=make_literature_tables(),
        meshes=_make_mesh_table(),
    )


def main() -> None:
    """Write the report and its pictures from the command line."""
    parser = argparse.ArgumentParser(prog="python -m ecd_data.sample.report", description="Write the sample's report.")
    parser.add_argument("folder", type=Path, help=f"folder for {REPORT}, {GAP_PICTURE} and {COST_PICTURE}")
    folder: Path = parser.parse_args().folder
    (folder / REPORT).write_text(make_report(), encoding="utf-8")
    print("\n".join(map(str, [folder / REPORT, *draw_pictures(folder)])))


if __name__ == "__main__":
    run_program(main)
