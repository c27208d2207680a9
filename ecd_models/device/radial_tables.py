"""What the kernels of a GPU ask of the tables of radial functions: few coefficients a function.

Pieces of degree two on 1,024 intervals, of three on 256 or of four on 128 err alike, by 1e-6 of the largest value of
a published function. Points that lie together use the same few intervals where these are long; then most of a table's
reads come from the cache next to the processor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ecd_models.kernels.radial import RadialTable

DEGREE = 3
TOLERANCE, ACCEPTED = 2e-7, 1e-5  # of the largest value of a radial function


def require_exact(table: RadialTable) -> RadialTable:
    """The same table; raises ValueError where the radial functions are too steep for one."""
    if table.error > ACCEPTED:
        raise ValueError(f"its radial functions are too steep for a table, whose error is {table.error:.1g}")
    return table


def on_device(values: Any, device: torch.device) -> torch.Tensor:
    """An array as float32 on a device."""
    return torch.as_tensor(np.ascontiguousarray(values, dtype=np.float32), device=device)
