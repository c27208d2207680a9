"""One verdict a density: what is wrong with it and what is only worth knowing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecd_data.density import Density

NEGATIVE_FRACTION = 1e-2  # PAW and pseudo densities dip below zero near cores; a hundredth of the charge is too much
COUNT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Report:
    """problems make a density unfit for the benchmark; flags are facts that a loader can filter by."""

    problems: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check(rho: Density) -> Report:
    """The Report on a density: finite values, electron count, negative charge, spin within the density, elements.

    The electron count is compared with meta["nelect"], else it must be positive and, for known elements, at most the
    nuclear charge.
    """
    problems, flags = [], []
    if not all(np.isfinite(grid).all() for grid in (rho.values, rho.magnetization) if grid is not None):
        return Report(("values that are not finite",), ())
    problems += _electron_problems(rho)
    negative = float(-rho.values[rho.values < 0].sum() / max(np.abs(rho.values).sum(), 1e-300))
    if negative > NEGATIVE_FRACTION:
        problems.append(f"{100 * negative:.1f} % of the charge is negative")
    elif negative > 0:
        flags.append("negative")
    if (rho.numbers == 0).any():
        flags.append("no-elements")
    if rho.magnetization is not None:
        flags.append("spin" if rho.magnetization.ndim == 3 else "non-collinear")
        vectors = rho.magnetization.reshape(-1, *rho.shape)
        moment = float(np.linalg.norm(vectors, axis=0).mean() * rho.crystal.volume)
        if moment > rho.nelect + COUNT_TOLERANCE:
            problems.append(f"the magnetization of {moment:.3f} exceeds the {rho.nelect:.3f} electrons")
    return Report(tuple(problems), tuple(flags))


def _electron_problems(rho: Density) -> list[str]:
    stated = rho.meta.get("nelect")
    if stated is not None and abs(rho.nelect - stated) > COUNT_TOLERANCE * max(1.0, abs(stated)):
        return [f"the grid integrates to {rho.nelect:.4f} electrons where {stated:.4f} are stated"]
    if rho.nelect <= 0:
        return [f"the grid integrates to {rho.nelect:.4f} electrons"]
    nuclear = int(rho.numbers.sum())
    if (rho.numbers > 0).all() and rho.nelect > nuclear * 1.05 + 1:
        return [
            f"{rho.nelect:.2f} electrons are more than the nuclear charge {nuclear} holds: not rho * V, or other axes"
        ]
    return []
