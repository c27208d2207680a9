"""Spin-polarised cells of Fe, Co and Ni to compute, and a store of them with non-magnetic cells of the sample.

    python benchmarks/magnetic_cells.py cells cells.json
    ecd dft run cells.json spin.ecd --no-forces
    python benchmarks/magnetic_cells.py store spin.ecd all.ecd split.json

The first writes the records for `ecd dft run`: cubic and tetragonal cells of one atom, FeCo, and antiferromagnetic
iron. The second joins what was computed with the magnetic crystals of the sample and with non-magnetic ones, and writes
the split of docs/fourier.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import ecd_data
from ecd_data import Store, open_store
from ecd_data.crystal import ATOMIC_NUMBERS
from ecd_data.store import StoreWriter

CUTOFF = {"Fe": 90.0, "Co": 96.0, "Ni": 98.0}  # Ry
START = {"Fe": 0.4, "Co": 0.35, "Ni": 0.3}  # of the valence electrons
BCC = 0.5 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
FCC = 0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
# name: elements, vectors in units of a, a in Å, c / a
CELLS: dict[str, tuple[str, Any, float, float]] = {
    "Fe_bcc-278": ("Fe", BCC, 2.78, 1.0),
    "Fe_bcc-283": ("Fe", BCC, 2.83, 1.0),
    "Fe_bcc-290": ("Fe", BCC, 2.90, 1.0),
    "Fe_bcc-296": ("Fe", BCC, 2.96, 1.0),
    "Fe_bct-104": ("Fe", BCC, 2.84, 1.04),
    "Fe_bct-096": ("Fe", BCC, 2.88, 0.96),
    "Ni_fcc-346": ("Ni", FCC, 3.46, 1.0),
    "Ni_fcc-358": ("Ni", FCC, 3.58, 1.0),
    "Ni_fct-103": ("Ni", FCC, 3.50, 1.03),
    "Co_fcc-350": ("Co", FCC, 3.50, 1.0),
    "Co_fcc-358": ("Co", FCC, 3.58, 1.0),
    "FeCo_B2-283": ("Fe Co", np.eye(3), 2.83, 1.0),
    "Fe_afm-283": ("Fe Fe", np.eye(3), 2.83, 1.0),
    "Fe_afm-290": ("Fe Fe", np.eye(3), 2.90, 1.0),
}
NON_MAGNETIC = (
    "Cu_fcc Cu_fcc-s1 Cu_fcc-s2 Pd_fcc V_bcc TiC_rs ScN_rs ScN_rs-s1 ZnS_zb ZnS_zb-s1 CuCl_zb Al_fcc MgO_rs NaCl_rs"
).split()
VALIDATION = ("Co_fcc-358", "Cu_fcc-s2")
TEST = ("Fe_bcc", "Fe_bct-104", "Fe_bct-096", "Ni_fcc", "Ni_fct-103", "Co_hcp")


def make_records() -> dict[str, Any]:
    """The records of CELLS by id."""
    records = {}
    for id, (elements, vectors, a, ratio) in CELLS.items():
        symbols = elements.split()
        start = max(START[s] for s in symbols)
        records[id] = {
            "lattice": np.round(vectors * [a, a, ratio * a], 6).tolist(),
            "numbers": [ATOMIC_NUMBERS[s] for s in symbols],
            "frac_coords": [[0.0] * 3, [0.5] * 3][: len(symbols)],
            "metal": True,
            "ecutwfc_Ry": max(CUTOFF[s] for s in symbols),
            "kmesh": [10 if len(symbols) == 1 else 8] * 3,
            "start_magnetisation": [start, -start] if "afm" in id else start,
        }
    return records


def join_stores(computed: Path, output: Path, split: Path) -> None:
    """Write the store of all cells, and its split."""
    sample, elements = open_store("pbe"), Store(Path(ecd_data.__file__).parent / "sample" / "elements.ecd")
    own = Store(computed)
    with StoreWriter(output) as writer:
        for store, ids in ((own, own.ids), (sample, ["Fe_bcc", "Ni_fcc", *NON_MAGNETIC]), (elements, ["Co_hcp"])):
            for id in ids:
                writer.add(id, store[id])
    ids = Store(output).ids
    parts = {"validation": [id for id in ids if id in VALIDATION], "test": [id for id in ids if id in TEST]}
    train = [id for id in ids if id not in (*VALIDATION, *TEST)]
    split.write_text(json.dumps({"train": train, **parts}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("cells").add_argument("output", type=Path)
    store = verbs.add_parser("store")
    for name in ("computed", "output", "split"):
        store.add_argument(name, type=Path)
    options = parser.parse_args()
    if options.verb == "cells":
        options.output.write_text(json.dumps(make_records(), indent=1))
    else:
        join_stores(options.computed, options.output, options.split)


if __name__ == "__main__":
    main()
