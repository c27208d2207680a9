"""Errors of densities: eps_mae of a crystal, and statistics over crystals with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecd_data.density_error import eps_mae

__all__ = ["Summary", "eps_mae", "summarize"]

RESAMPLES = 10_000  # of the bootstrap


@dataclass(frozen=True)
class Summary:
    """Statistics of eps_mae over crystals in percent; low and high bound the mean (95 %, bootstrap over crystals)."""

    count: int
    mean_percent: float
    median_percent: float
    p90_percent: float
    low_percent: float
    high_percent: float

    def __str__(self) -> str:
        return (
            f"mean {self.mean_percent:.3f} % [{self.low_percent:.3f}, {self.high_percent:.3f}]  "
            f"median {self.median_percent:.3f} %  p90 {self.p90_percent:.3f} %  n = {self.count}"
        )


def summarize(errors: Sequence[float], seed: int = 0) -> Summary:
    """Mean, median, 90th percentile and the 95 % bootstrap interval of the mean of eps_mae values.

    Parameters
    ----------
    errors : eps_mae of each crystal as a fraction [n], at least one.
    seed : the seed of the bootstrap.
    """
    values = 100 * np.asarray(errors, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("no errors to summarize")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Summary(
        count=len(values),
        mean_percent=float(values.mean()),
        median_percent=float(np.median(values)),
        p90_percent=float(np.percentile(values, 90)),
        low_percent=float(low),
        high_percent=float(high),
    )
