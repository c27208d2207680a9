"""The tables of radial functions that GPU kernels use, with few coefficients for each function.

Polynomials of degree two on 1,024 intervals, three on 256, or four on 128 have about the same error, 1e-6 of the
largest value of a published function. With long intervals, points that lie close together use the same few of them, and
most reads of the table come from the first-level cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ecd_models.kernels.radial import RadialTable

DEGREE = 3
TOLERANCE, ACCEPTED = 2e-7, 1e-5  # of the largest value of a radial function


def require_exact(table: RadialTable) -> RadialTable:
    """The table itself; raises ValueError if its radial functions are too steep for a table."""
    if table.error > ACCEPTED:
        raise ValueError(f"its radial functions are too steep for a table, whose error is {table.error:.1g}")
    return table


def to_float32(values: Any, device: torch.device) -> torch.Tensor:
    """An array as float32 on a device."""
    return torch.as_tensor(np.ascontiguousarray(values, dtype=np.float32), device=device)
