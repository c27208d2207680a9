"""The report on the embedded sample, docs/sample_report.md: `python -m ecd_data.sample.report docs` writes it.

The command also draws the two pictures that the report shows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ecd_data.sample.convergence import find_differences, make_convergence_table
from ecd_data.sample.figures import COST_PICTURE, GAP_PICTURE, draw
from ecd_data.sample.literature import make_literature_tables
from ecd_data.sample.table import SAMPLE_FOLDER, make_content_tables

REPORT = "sample_report.md"
TEXT = """# Tables of the embedded sample

This page lists all that the [embedded sample](sample.md) holds, and compares it with published numbers and with
calculations on finer k meshes. It is generated from the stores by `python -m ecd_data.sample.report docs`, so do not
edit it by hand.

![gaps](sample_gaps.png) ![CPU time](sample_costs.png)

The pictures show gaps against measured ones (`splits/exp/gaps.csv`), as in the paper's Figure 7, and CPU seconds by
functional, as in its Figure 5.

## Contents

Gaps (eV) and formation energies (eV/atom) are those of PBE unless stated otherwise; pressures are in GPa, moments in
Bohr magnetons. SCF steps are counted from superposed atoms, and from the density itself.

{contents}

## Against published numbers

Our numbers are computed at measured lattice constants and on the k points of the run.

- Gaps. VASP PBE: the Materials Project's, at lattice constants relaxed with PBE, as collected in
  usnistgov/jarvis_leaderboard. Where a gap depends strongly on the lattice constants (GaAs, AgI) or on the distance of
  layers (MoS2, WS2), ours differ. Published HSE06: results of plane-wave and Gaussian codes, which agree to 0.1 eV and
  are rounded to that; there is no single source. Measured: `splits/exp/gaps.csv`.
- Formation energies: PBE at 0 K without the corrections that databases fit, against measured enthalpies (CRC Handbook
  of Chemistry and Physics). PBE binds oxygen and nitrogen molecules too strongly and insulators too weakly.
- Volumes after `ecd dft relax`, against all-electron PBE of WIEN2k (DeltaCodesDFT, as in ASE's
  `ase.collections.dcdft`). Lattice constants, against all-electron PBE (Haas, Tran, Blaha, Phys. Rev. B 79, 085104
  (2009)).

{literature}

## Against converged k meshes

Cells that were computed again on the meshes of `ecd_data/sample/meshes.py`; the largest differences have a row each.

{convergence}
"""


def make_report(folder: Path = SAMPLE_FOLDER) -> str:
    """The text of docs/sample_report.md from the stores in a folder, by default those of the package."""
    return TEXT.format(
        contents=make_content_tables(folder),
        literature=make_literature_tables(folder),
        convergence=make_convergence_table(find_differences()),
    )


def main() -> None:
    """Write the report and its pictures from the command line."""
    parser = argparse.ArgumentParser(prog="python -m ecd_data.sample.report", description="Write the sample's report.")
    parser.add_argument("folder", type=Path, help=f"folder for {REPORT}, {GAP_PICTURE} and {COST_PICTURE}")
    folder: Path = parser.parse_args().folder
    (folder / REPORT).write_text(make_report(), encoding="utf-8")
    print("\n".join(map(str, [folder / REPORT, *draw(folder)])))


if __name__ == "__main__":
    main()
