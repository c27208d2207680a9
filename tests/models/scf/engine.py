"""Small crystals for the real engine, and the mark of tests that need it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from ecd_data.crystal import Crystal
from ecd_data.dft.pseudopotentials import pseudo_folder
from tests.data.dft.records import SILICON

SI = Crystal(SILICON["lattice"], SILICON["numbers"], SILICON["frac_coords"])
LIH = Crystal((1 - np.eye(3)) * 2.04, np.array([3, 1]), np.array([[0.0] * 3, [0.5] * 3]))


def real(test):
    """Skips a test, with the reason, where pw.x or its pseudopotentials are missing."""
    installed = pytest.mark.skipif(shutil.which("pw.x") is None, reason="Quantum ESPRESSO (pw.x) is not installed")
    fetched = pytest.mark.skipif(
        not pseudo_folder().is_dir(), reason="no pseudopotentials in the cache: run `ecd dft setup`"
    )
    return installed(fetched(test))
