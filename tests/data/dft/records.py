"""Crystals that the tests of both engines compute, as records of `ecd_data.dft.run`."""

from __future__ import annotations

import numpy as np

HALF = 2.7155  # Å
SILICON = {
    "lattice": [[0, HALF, HALF], [HALF, 0, HALF], [HALF, HALF, 0]],
    "numbers": [14, 14],
    "frac_coords": [[0, 0, 0], [0.25, 0.25, 0.25]],
    "ecutwfc_Ry": 40.0,
    "kmesh": [4, 4, 4],
    "qmesh_hse": [4, 4, 4],
    "metal": False,
    "prototype": "diamond",
}
HYDROGEN = {  # a molecule in a small box: a second of pw.x
    "lattice": (np.eye(3) * 3.0).tolist(),
    "numbers": [1, 1],
    "frac_coords": [[0, 0, 0], [0, 0, 0.26]],
    "ecutwfc_Ry": 15,
    "kmesh": [1, 1, 1],
    "metal": False,
}


def cubic(a: float, z: int = 14) -> dict:
    """A record of a cubic cell with two atoms."""
    return {
        "lattice": (np.eye(3) * a).tolist(),
        "numbers": [z, z],
        "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
        "kmesh": [2, 2, 2],
        "metal": False,
    }
