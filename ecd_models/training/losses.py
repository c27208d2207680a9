"""The losses by name: what a training minimises. To add one, write its function and its line in LOSSES.

A loss takes a batch and the errors of its densities, output - target [p] or [p, outputs], in e/Å^3, or divided by the
mean density of their crystal where `relative_loss` is set. It returns the sum over the probes of the batch; for a batch
of whole grids (GridBatch), whose points are weighed by their number, it returns the sum over its crystals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ecd_data.errors import UsageError
from ecd_models.batch import ProbeBatch
from ecd_models.device_batch import DeviceBatch
from ecd_models.grid_batch import GridBatch

Batch = ProbeBatch | DeviceBatch | GridBatch


def subtract_target(output: Tensor, target: Tensor) -> Tensor:
    """The errors of a network's output, of the same shape.

    Raises UsageError for another shape, such as [p, 1] for [p], which would give the difference of each with each.
    """
    if output.shape != target.shape:
        raise UsageError(
            f"the network gives densities of the shape {list(output.shape)}, and {list(target.shape)} is due: one"
            " number for each probe, [p], or with the magnetization two, [p, 2]"
        )
    return output - target


def absolute_error(batch: Batch, errors: Tensor) -> Tensor:
    """The sum of |error|, which eps_mae is made of."""
    return batch.weigh(errors.abs()).sum()


def squared_error(batch: Batch, errors: Tensor) -> Tensor:
    """The sum of error^2."""
    return batch.weigh(errors**2).sum()


def root_mean_square(batch: GridBatch, errors: Tensor) -> Tensor:
    """The sum of each crystal's root of its mean square error; only batches of whole grids have it."""
    return batch.root_mean_squares(errors).sum()


LOSSES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "l1": absolute_error,
    "mse": squared_error,
    "rms": root_mean_square,
}
