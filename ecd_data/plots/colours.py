"""Which value has which colour in a picture of a density, and what is beyond the colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.colors import Colormap, Normalize

SCALES = ("auto", "linear", "log")
PEAKED = 100.0  # largest value over the median, from which a linear scale shows the peaks alone
DECADES = 1e-4  # of the largest value: the least that a logarithmic scale shows
NOISE = 5e-4  # of the largest value: negative values up to there are not told
LEAST = 1e-9  # of the largest value: below it a signed scale is linear, whatever the typical value is
ROOM = 1.05  # colours go that much beyond the values, so that one as large as the reference is not marked
SIGNED = 1e-2  # of the largest value: negative values from which a density is a difference, not noise around zero


@dataclass(frozen=True)
class Colours:
    """The range of a scale in e/Å^3: `low` to `high`, by the logarithm or not; a `signed` one from -high to high.

    A signed logarithmic scale is linear between -linear and linear.
    """

    low: float
    high: float
    log: bool
    signed: bool
    linear: float = 0.0

    @property
    def label(self) -> str:
        """What stands at the colour bar."""
        return "e/Å$^3$" + (", logarithmic" if self.log else "")

    def norm(self) -> Normalize:
        """Matplotlib's map from values to 0 .. 1."""
        from matplotlib.colors import LogNorm, Normalize, SymLogNorm

        if self.signed and self.log:
            return SymLogNorm(self.linear, vmin=-self.high, vmax=self.high)
        return LogNorm(self.low, self.high) if self.log else Normalize(self.low, self.high)

    def map(self) -> Colormap:
        """Matplotlib's colours, which mark what is beyond: red above, magenta below, grey below a logarithmic range."""
        from matplotlib import colormaps

        if self.signed:
            return colormaps["RdBu_r"].with_extremes(over="black", under="black")
        return colormaps["viridis"].with_extremes(over="red", under="dimgrey" if self.log else "magenta", bad="dimgrey")

    def extend(self, values: Floats) -> Literal["neither", "min", "max", "both"]:
        """At which ends of the colour bar an arrow says that there is more."""
        above, below = bool((values > self.high).any()), bool((values < self.low).any())
        return "both" if above and below else "max" if above else "min" if below else "neither"

    def beyond(self, values: Floats) -> str:
        """What is to be told of values beyond the colours, empty where there are none, or only small ones of a log."""
        told = []
        if (values > self.high).any():
            share = 100 * float((values > self.high).mean())
            told.append(f"{share:.2g} % of the plane is above the colours, up to {values.max():.4g} e/Å^3")
        least = self.low if self.signed else -NOISE * self.high  # around 0 there is noise everywhere
        if (values < least).any():
            share, than = 100 * float((values < least).mean()), "the colours" if self.signed else "0"
            told.append(f"{share:.2g} % of the plane is below {than}, down to {values.min():.4g} e/Å^3")
        return "; ".join(told)


def colours_of(values: Floats, scale: str = "auto", signed: bool = False) -> Colours:
    """The Colours in which all of the values can be seen; raises UsageError for another scale than SCALES.

    Values that are negative in earnest make a signed scale. "auto" is logarithmic where they are strongly peaked.
    """
    if scale not in SCALES:
        raise UsageError(f"a scale is one of {', '.join(SCALES)}, not {scale!r}")
    size = np.abs(values)
    largest = float(size.max()) or 1e-9
    high = ROOM * largest
    signed = signed or float(values.min()) < -SIGNED * largest
    log = scale == "log" or (scale == "auto" and largest > PEAKED * float(np.median(size)) and bool(size.any()))
    if signed:
        typical = float(np.median(size))  # what most of the plane shows, however high a few peaks are
        return Colours(-high, high, log, True, min(max(typical, LEAST * high), high / PEAKED))
    if not log:
        return Colours(0.0, high, False, False)
    positive = values[values > 0]
    least = float(positive.min()) if positive.size else high
    return Colours(min(max(least / 2, DECADES * high), high / 10), high, True, False)
