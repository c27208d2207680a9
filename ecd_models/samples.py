"""Training samples: probe points drawn from stored densities by (seed, epoch, material id)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_models.batch import ProbeBatch, make_item
from ecd_models.graph import Neighbors
from ecd_models.networks.atoms import SuperposedAtoms

Draw = tuple[int, str]  # epoch and material id: all that the drawn probes depend on beside the seed


def generator(seed: int, epoch: int, id: str) -> np.random.Generator:
    """The random generator of a material in an epoch, the same wherever it is asked for."""
    digest = hashlib.sha256(id.encode()).digest()
    return np.random.default_rng([seed, epoch, int.from_bytes(digest[:8], "little")])


class Prepared(NamedTuple):
    """What a material needs for drawing probes; grids are float32 to halve the memory."""

    crystal: Crystal
    neighbors: Neighbors
    values: NDArray[np.float32]
    baseline: NDArray[np.float32] | None


class ProbeDataset(Dataset[ProbeBatch]):
    """Items of `probes` grid points, drawn uniformly with replacement, for any (epoch, id).

    Densities are decoded on first use and kept up to `cache_bytes`, the least recently used ones dropped.
    """

    def __init__(
        self,
        load: Callable[[str], Density],
        *,
        cutoff: float,
        probes: int,
        seed: int,
        atoms: SuperposedAtoms | None = None,
        cache_bytes: int = 1 << 31,
    ) -> None:
        self.load, self.cutoff, self.probes, self.seed, self.atoms = load, cutoff, probes, seed, atoms
        self.cache_bytes, self._held = cache_bytes, 0
        self._cache: OrderedDict[str, Prepared] = OrderedDict()

    def __getitem__(self, draw: Draw) -> ProbeBatch:
        epoch, id = draw
        material = self._prepared(id)
        rng = generator(self.seed, epoch, id)
        flat = rng.integers(material.values.size, size=self.probes)
        shape = material.values.shape
        points = np.stack(np.unravel_index(flat, shape), axis=1) / np.array(shape)
        baseline = None if material.baseline is None else material.baseline.ravel()[flat]
        return make_item(material.neighbors, material.crystal.numbers, points, material.values.ravel()[flat], baseline)

    def _prepared(self, id: str) -> Prepared:
        if id in self._cache:
            self._cache.move_to_end(id)
            return self._cache[id]
        rho = self.load(id)
        baseline = None if self.atoms is None else self.atoms(rho.crystal, rho.shape).values.astype(np.float32)
        neighbors = Neighbors(rho.crystal, self.cutoff)
        material = Prepared(rho.crystal, neighbors, rho.values.astype(np.float32), baseline)
        self._cache[id] = material
        self._held += _size(material)
        while self._held > self.cache_bytes and len(self._cache) > 1:
            self._held -= _size(self._cache.popitem(last=False)[1])
        return material


def _size(material: Prepared) -> int:
    return material.values.nbytes + (0 if material.baseline is None else material.baseline.nbytes)


class EpochBatches:
    """The draws of every step from `start` to `steps`, a function of (seed, step) alone, so that a run can resume.

    Each epoch visits every id once in an order of its own; batches run on across epochs.
    """

    def __init__(self, ids: Sequence[str], batch_size: int, seed: int, start: int, steps: int) -> None:
        self.ids, self.batch_size, self.seed = list(ids), batch_size, seed
        self.start, self.steps = start, steps

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[Draw]]:
        count = len(self.ids)
        orders: dict[int, NDArray[np.int64]] = {}
        for step in range(self.start, self.steps):
            draws = []
            for position in range(step * self.batch_size, (step + 1) * self.batch_size):
                epoch, place = divmod(position, count)
                if epoch not in orders:
                    orders = {e: o for e, o in orders.items() if e == epoch - 1}
                    orders[epoch] = np.random.default_rng([self.seed, epoch]).permutation(count)
                draws.append((epoch, self.ids[orders[epoch][place]]))
            yield draws
