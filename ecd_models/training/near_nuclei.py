"""Probes near nuclei, of which uniformly distributed ones are few, with weights that keep the expectation of sums.

They come from the same pool as the others, the K points of a crystal that `Store.probes` draws from. An item of n
probes has u uniform ones and m = n - u of the M points of the pool near nuclei. A point of the pool is then drawn u / K
times on average, one near a nucleus u / K + m / M times, where n uniform probes would give n / K. The quotient is its
weight (the balance heuristic of E. Veach and L. Guibas, SIGGRAPH 1995). So the expectation of a weighted sum over the
probes is that over n uniform ones, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Floats
from ecd_data.store.probes.draw import ProbeReader, Probes
from ecd_data.store.probes.permutation import start_position
from ecd_models.graph import Neighbors

RADIUS = 0.3  # Å around a nucleus: there predictions go astray first, and 1 % of uniform probes lie there


@dataclass(frozen=True, eq=False)
class NearNuclei:
    """The M points of a crystal's pool that are near nuclei, and the number K of all its points."""

    points: Probes
    pool: int

    @property
    def nbytes(self) -> int:
        """The memory in bytes."""
        return sum(value.nbytes for value in vars(self.points).values() if isinstance(value, np.ndarray))

    def replace_last(self, probes: Probes, count: int, seed: int, epoch: int) -> tuple[Probes, Floats]:
        """The probes with the last `count` replaced by points near nuclei, and the weights of all [n].

        A pool without points near nuclei replaces none. Which of them are taken follows from (seed, epoch, id).
        """
        total, near = len(probes), len(self.points)
        if not near:
            return probes, np.ones(total)
        start = start_position(seed, epoch, f"{probes.id}/near nuclei", count, near)
        chosen = _join(_take(probes, np.arange(total - count)), _take(self.points, (start + np.arange(count)) % near))
        inside = np.isin(chosen.positions, self.points.positions)
        often = (total - count) / self.pool + inside * (count / near)
        return chosen, np.asarray((total / self.pool) / often, dtype=np.float64)


def find_near_nuclei(reader: ProbeReader, id: str, n: int, magnetization: bool) -> NearNuclei:
    """The points near nuclei of the pool from which n probes of a crystal are drawn; reads the whole pool once."""
    count = reader.pool(id, n).place.count
    [pool] = reader.draw([(0, id)], count, 0, magnetization)
    edges = Neighbors(pool.crystal, RADIUS).probes(pool.frac_coords)
    inside = np.unique(edges.dst)
    order = np.argsort(pool.positions[inside])  # that of the pool, which is random
    return NearNuclei(_take(pool, inside[order]), count)


def _arrays(probes: Probes) -> dict[str, Any]:
    """The arrays of probes that have one row for each point, by name."""
    named = {field.name: getattr(probes, field.name) for field in fields(Probes)}
    return {name: value for name, value in named.items() if isinstance(value, np.ndarray)}


def _take(probes: Probes, chosen: NDArray[np.int64]) -> Probes:
    rows: dict[str, Any] = {name: value[chosen] for name, value in _arrays(probes).items()}
    return replace(probes, **rows)


def _join(first: Probes, second: Probes) -> Probes:
    others = _arrays(second)
    rows: dict[str, Any] = {name: np.concatenate([value, others[name]]) for name, value in _arrays(first).items()}
    return replace(first, **rows)
