"""The triclinic crystal on which the published models were timed; both benchmarks of models start from it."""

from __future__ import annotations

import numpy as np

from ecd_data import Crystal

TERNARY = Crystal(  # Na2V2O4, triclinic
    np.array([[5.13, 0.0, 0.0], [0.83, 5.47, 0.0], [-0.41, 1.07, 6.21]]),
    np.array([11, 11, 23, 23, 8, 8, 8, 8]),
    np.array(
        [
            [0.020012, 0.032987, 0.007259],
            [0.501094, 0.465453, 0.520084],
            [0.240601, 0.773402, 0.265078],
            [0.763795, 0.264898, 0.723569],
            [0.271054, 0.220695, 0.809707],
            [0.746953, 0.696558, 0.215424],
            [0.040988, 0.507105, 0.471583],
            [0.477649, 0.027326, 0.022713],
        ]
    ),
)
