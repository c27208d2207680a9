"""The colours of values in a picture of a density, and a description of values outside their range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.colors import Colormap, Normalize

SCALES = ("auto", "linear", "log")
PEAK_RATIO = 100.0  # largest value / median: above it the scale is logarithmic, since a linear one shows only peaks
LOG_RANGE = 1e-4  # of the largest value: a logarithmic scale shows nothing smaller
NOISE_SHARE = 5e-4  # of the largest value: smaller negative values are noise and are not mentioned
MIN_LINEAR = 1e-9  # of the largest value: a signed scale is linear at least below it
HEADROOM = 1.05  # factor of the range: a value slightly above that of the reference is not marked
SIGNED_SHARE = 1e-2  # of the largest value: larger negative values make a density a difference, smaller ones are noise


@dataclass(frozen=True)
class Colours:
    """The scale of colours: from `low` to `high` in e/Å^3, linear or logarithmic (`log`).

    A `signed` scale goes from -high to high; if it is logarithmic, it is linear between -linear and linear.
    """

    low: float
    high: float
    log: bool
    signed: bool
    linear: float = 0.0

    @property
    def label(self) -> str:
        """The label of the colour bar."""
        return "e/Å$^3$" + (", logarithmic" if self.log else "")

    def norm(self) -> Normalize:
        """Matplotlib's map from values to the range 0 .. 1."""
        from matplotlib.colors import LogNorm, Normalize, SymLogNorm

        if self.signed and self.log:
            return SymLogNorm(self.linear, vmin=-self.high, vmax=self.high)
        return LogNorm(self.low, self.high) if self.log else Normalize(self.low, self.high)

    def colour_map(self) -> Colormap:
        """Matplotlib's colours, with marks for values outside: red above, magenta below, grey below a log range."""
        from matplotlib import colormaps

        if self.signed:
            return colormaps["RdBu_r"].with_extremes(over="black", under="black")
        return colormaps["viridis"].with_extremes(over="red", under="dimgrey" if self.log else "magenta", bad="dimgrey")

    def bar_ends(self, values: Floats) -> Literal["neither", "min", "max", "both"]:
        """The ends of the colour bar that get an arrow, since values are outside the range there."""
        above, below = bool((values > self.high).any()), bool((values < self.low).any())
        return "both" if above and below else "max" if above else "min" if below else "neither"

    def describe_clipped(self, values: Floats) -> str:
        """Sentences about values outside the range; "" where there are none but noise around zero."""
        notes = []
        if (values > self.high).any():
            share = 100 * float((values > self.high).mean())
            notes.append(f"{share:.2g} % of the plane is above the colours, up to {values.max():.4g} e/Å^3")
        least = self.low if self.signed else -NOISE_SHARE * self.high
        if (values < least).any():
            share, than = 100 * float((values < least).mean()), "the colours" if self.signed else "0"
            notes.append(f"{share:.2g} % of the plane is below {than}, down to {values.min():.4g} e/Å^3")
        return "; ".join(notes)


def choose_colours(values: Floats, scale: str = "auto", signed: bool = False) -> Colours:
    """The Colours that show all values of a plane.

    Parameters
    ----------
    values [n, m] : the values of the plane in e/Å^3.
    scale : "linear", "log", or "auto", which is logarithmic where the largest value is over 100 times the median.
    signed : whether the scale goes from -high to high, as it does for values with large negative ones.

    Raises
    ------
    UsageError : there is no such scale.
    """
    if scale not in SCALES:
        raise UsageError(f"there is no scale {scale!r}: give one of {', '.join(SCALES)}")
    size = np.abs(values)
    largest = float(size.max()) or 1e-9
    high = HEADROOM * largest
    signed = signed or float(values.min()) < -SIGNED_SHARE * largest
    log = scale == "log" or (scale == "auto" and largest > PEAK_RATIO * float(np.median(size)) and bool(size.any()))
    if signed:
        typical = float(np.median(size))  # that of most of the plane, however high a few peaks are
        return Colours(-high, high, log, True, min(max(typical, MIN_LINEAR * high), high / PEAK_RATIO))
    if not log:
        return Colours(0.0, high, False, False)
    positive = values[values > 0]
    least = float(positive.min()) if positive.size else high
    return Colours(min(max(least / 2, LOG_RANGE * high), high / 10), high, True, False)
