"""Errors of densities: eps_mae of a crystal, and statistics over crystals and compounds with their uncertainty.

Crystals of one compound (reduced formula) are much alike, so a mean over crystals counts a compound with many cells
many times, and an interval that draws crystals one by one is too narrow. Therefore each mean is given over crystals and
over compounds, and the bootstrap draws compounds, each with all its crystals; scipy.stats.bootstrap draws single
values. Of few compounds the percentiles of the drawn means are too near each other, see `interval_percentiles`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from ecd_data.crystal import Floats
from ecd_data.density_error import eps_mae
from ecd_data.errors import UsageError

__all__ = ["Difference", "Summary", "compare_errors", "eps_mae", "interval_percentiles", "summarize"]

RESAMPLES = 10_000  # of the bootstrap
BLOCK = 2_000_000  # draws at a time: limits the memory of the bootstrap to some 50 MB
CONFIDENCE = 0.95  # of all intervals
# Of a sure difference. Two models that are equally good differ by one sign on all of n compounds in a share 2^(1 - n)
# of all cases, and their interval then excludes zero: half of them with two compounds, 3 % with six.
LEAST_COMPOUNDS = 6


@dataclass(frozen=True)
class Summary:
    """Statistics of eps_mae over crystals in percent, and its mean over compounds.

    low and high bound the mean over crystals, compound_low and compound_high that over compounds: 95 %, bootstrapped by
    compound. count, compounds: the numbers of crystals and of compounds.
    """

    count: int
    mean_percent: float
    median_percent: float
    p90_percent: float
    p99_percent: float
    low_percent: float
    high_percent: float
    compounds: int
    compound_mean_percent: float
    compound_low_percent: float
    compound_high_percent: float

    def __str__(self) -> str:
        if self.compounds == 1:
            return (
                f"mean {self.mean_percent:.3f} %  median {self.median_percent:.3f} %  p90 {self.p90_percent:.3f} %  "
                f"p99 {self.p99_percent:.3f} %  n = {self.count}, of one compound, so without an interval"
            )
        return (
            f"mean {self.mean_percent:.3f} % [{self.low_percent:.3f}, {self.high_percent:.3f}]  "
            f"median {self.median_percent:.3f} %  p90 {self.p90_percent:.3f} %  p99 {self.p99_percent:.3f} %  "
            f"n = {self.count}; over {self.compounds} compounds {self.compound_mean_percent:.3f} % "
            f"[{self.compound_low_percent:.3f}, {self.compound_high_percent:.3f}]"
        )


@dataclass(frozen=True)
class Difference:
    """The mean of a - b in percentage points of eps_mae over crystals that both models predicted.

    The intervals are bootstrapped by compound, as in Summary. better_share: the share of the crystals in which the
    error of a is the smaller one.
    """

    count: int
    compounds: int
    mean_percent: float
    low_percent: float
    high_percent: float
    compound_mean_percent: float
    compound_low_percent: float
    compound_high_percent: float
    better_share: float

    @property
    def significant(self) -> bool:
        """Whether the 95 % interval of the mean over crystals excludes zero; never of fewer than six compounds."""
        return self.compounds >= LEAST_COMPOUNDS and (self.low_percent > 0 or self.high_percent < 0)

    def __str__(self) -> str:
        share = f"lower error in {100 * self.better_share:.0f} % of the crystals"
        if self.compounds == 1:
            return (
                f"{self.mean_percent:+.3f} percentage points over {self.count} crystals of one compound, which make no "
                f"interval; {share}"
            )
        return (
            f"{self.mean_percent:+.3f} [{self.low_percent:+.3f}, {self.high_percent:+.3f}] percentage points over "
            f"{self.count} crystals, {self.compound_mean_percent:+.3f} [{self.compound_low_percent:+.3f}, "
            f"{self.compound_high_percent:+.3f}] over {self.compounds} compounds; {share}"
        )


def summarize(errors: Sequence[float], compounds: Sequence[Hashable] | None = None, seed: int = 0) -> Summary:
    """Means over crystals and compounds, median, 90th and 99th percentile of eps_mae values, with 95 % intervals.

    Parameters
    ----------
    errors : eps_mae of each crystal as a fraction [n], at least one.
    compounds : the compound of each crystal [n], such as its reduced formula; without it each crystal is its own.
    seed : the seed of the bootstrap.

    Raises
    ------
    ValueError : there are no errors, one of them is not a finite number, or the numbers of errors and compounds differ.
    """
    values = 100 * np.asarray(errors, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("no errors to summarize")
    if not np.isfinite(values).all():
        raise ValueError("an error is not a finite number: leave its crystal out and say so")
    means = _bootstrap_means(values, _number_compounds(compounds, len(values)), seed)
    median, p90, p99 = np.percentile(values, [50, 90, 99])
    return Summary(
        count=len(values),
        median_percent=float(median),
        p90_percent=float(p90),
        p99_percent=float(p99),
        **means,
    )


def compare_errors(
    a: Mapping[str, float], b: Mapping[str, float], compounds: Mapping[str, Hashable] | None = None, seed: int = 0
) -> Difference:
    """The paired Difference a - b between the errors of two models on the crystals that both have.

    Parameters
    ----------
    a, b : eps_mae by crystal as fractions.
    compounds : the compound of each crystal, such as its reduced formula; without it each crystal is its own.
    seed : the seed of the bootstrap.

    Raises
    ------
    UsageError : the two have no crystal in common.
    """
    ids = [id for id in a if id in b]
    if not ids:
        raise UsageError("the two models have no crystal in common: evaluate both on the same part of the same data")
    values = 100 * np.array([a[id] - b[id] for id in ids])
    labels = _number_compounds(None if compounds is None else [compounds[id] for id in ids], len(ids))
    means = _bootstrap_means(values, labels, seed)
    return Difference(count=len(ids), better_share=float((values < 0).mean()), **means)


def interval_percentiles(compounds: int) -> tuple[float, float]:
    """The percentiles of bootstrapped means that bound a 95 % interval: 2.5 and 97.5 for many compounds.

    Means of n drawn compounds scatter by a factor sqrt((n - 1) / n) too little, and their tails are those of a normal
    distribution where Student's are due. So for few compounds the percentiles are those that make up for both, the
    expanded percentile interval of T. C. Hesterberg, The American Statistician 69, 371 (2015): 1.1 and 98.9 for twelve.
    Without it 14 % of the intervals of six compounds miss the true mean. (Of fewer than six the interval is about that
    of the compounds' own values, and still misses it more often than 5 %.)
    """
    if compounds < 2:
        return 0.0, 100.0
    reach = stdtrit(compounds - 1, (1 + CONFIDENCE) / 2) * np.sqrt(compounds / (compounds - 1))
    low = 100 * float(ndtr(-reach))
    return low, 100 - low


def _number_compounds(compounds: Sequence[Hashable] | None, count: int) -> NDArray[np.int64]:
    """The compounds of the crystals as numbers from 0 [n], in the order in which they first occur."""
    if compounds is None:
        return np.arange(count)
    if len(compounds) != count:
        raise ValueError(f"there are {count} errors and {len(compounds)} compounds: give one compound for each error")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(compound, len(numbers)) for compound in compounds], dtype=np.int64)


def _bootstrap_means(values: Floats, labels: NDArray[np.int64], seed: int) -> dict[str, Any]:
    """The means of the values over crystals and compounds with their intervals, by the names of Summary's fields."""
    counts = np.bincount(labels)
    sums = np.bincount(labels, weights=values)
    rng, drawn = np.random.default_rng(seed), []
    rows = max(1, BLOCK // len(counts))
    for start in range(0, RESAMPLES, rows):
        picks = rng.integers(len(counts), size=(min(rows, RESAMPLES - start), len(counts)))
        over_crystals = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
        drawn.append(np.stack([over_crystals, (sums / counts)[picks].mean(axis=1)]))
    bounds = interval_percentiles(len(counts))
    (low, compound_low), (high, compound_high) = np.percentile(np.concatenate(drawn, axis=1), bounds, axis=1)
    return {
        "compounds": len(counts),
        "mean_percent": float(values.mean()),
        "low_percent": float(low),
        "high_percent": float(high),
        "compound_mean_percent": float((sums / counts).mean()),
        "compound_low_percent": float(compound_low),
        "compound_high_percent": float(compound_high),
    }
