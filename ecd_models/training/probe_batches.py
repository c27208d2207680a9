"""Training items: probe points of stored densities with their neighbours, drawn by (seed, epoch, material id)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ecd_data.crystal import Floats
from ecd_data.errors import UsageError
from ecd_data.fixed_order import order_key
from ecd_data.store.probes.draw import Draw, ProbeReader, Probes
from ecd_data.work.recent_cache import RecentCache
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.batch import ProbeBatch, make_item
from ecd_models.graph import Neighbors
from ecd_models.training.near_nuclei import NearNuclei, find_near_nuclei


def generator(seed: int, epoch: int, id: str) -> np.random.Generator:
    """The random generator of a material in an epoch, the same wherever it is asked for."""
    digest = hashlib.sha256(id.encode()).digest()
    return np.random.default_rng([seed, epoch, int.from_bytes(digest[:8], "little")])


class CrystalInput(NamedTuple):
    """What the items of a crystal share; None where the training does not need it.

    baseline: superposed atoms at the points of its pool in e/Å^3; mean: the mean density in e/Å^3; near: the points of
    its pool that are near nuclei.
    """

    neighbors: Neighbors
    baseline: NDArray[np.float32] | None
    mean: float | None
    near: NearNuclei | None

    @property
    def nbytes(self) -> int:
        """The memory in bytes."""
        arrays = 0 if self.baseline is None else self.baseline.nbytes
        return self.neighbors.nbytes + arrays + (0 if self.near is None else self.near.nbytes)


class ProbeDataset(Dataset[ProbeBatch]):
    """Items of `probes` points for any (epoch, id), the points that `Store.probes` draws.

    A list of draws is one round of small reads from the extract of `ecd probes`. A crystal that the extract lacks is
    decoded, with the same result where the extract has its default settings. What the items of a crystal share is kept,
    up to as many bytes as the reader keeps of decoded crystals.

    Parameters
    ----------
    reader : draws the points.
    cutoff : of the network, in Å.
    probes : points of an item.
    seed : decides, with the epoch and the id, which points are drawn.
    atoms : superposed atoms for the items' baseline.
    spin : whether targets are [p, 2], density and magnetization.
    nelect : gives the number of electrons of an id, where the loss needs the mean density.
    near_nuclei : share of the points that is drawn near nuclei, with weights that keep the expectation of sums.
    """

    def __init__(
        self,
        reader: ProbeReader,
        *,
        cutoff: float,
        probes: int,
        seed: int,
        atoms: SuperposedAtoms | None = None,
        spin: bool = False,
        nelect: Callable[[str], float] | None = None,
        near_nuclei: float = 0.0,
    ) -> None:
        self.reader, self.cutoff, self.probes, self.seed = reader, cutoff, probes, seed
        self.atoms, self.spin, self.nelect = atoms, spin, nelect
        self.near = min(round(near_nuclei * probes), probes - 1)  # points of an item near nuclei
        self._inputs = RecentCache(reader.cache.limit)

    def __getitem__(self, draw: Draw) -> ProbeBatch:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[Draw]) -> list[ProbeBatch]:
        drawn = self.reader.draw(draws, self.probes, self.seed, self.spin)
        if not self.near:
            return [self.make_item(probes) for probes in drawn]
        return [self._make_weighted_item(probes, epoch) for probes, (epoch, _) in zip(drawn, draws, strict=True)]

    def _make_weighted_item(self, probes: Probes, epoch: int) -> ProbeBatch:
        """The item of probes of which the last ones are replaced by points near nuclei."""
        near = self._crystal_input(probes).near
        assert near is not None
        return self.make_item(*near.replace_last(probes, self.near, self.seed, epoch))

    def make_item(self, probes: Probes, weight: Floats | None = None) -> ProbeBatch:
        """The item of some probes of one crystal; weight [n]: what each probe counts, 1 if left out."""
        shared = self._crystal_input(probes)
        target = probes.values
        if self.spin:
            target = np.stack([target, _collinear_magnetization(probes)], axis=1)
        baseline = None if shared.baseline is None else shared.baseline[probes.positions]
        numbers = probes.crystal.numbers
        return make_item(
            shared.neighbors, numbers, probes.frac_coords, target, baseline, mean=shared.mean, weight=weight
        )

    def _crystal_input(self, probes: Probes) -> CrystalInput:
        shared: CrystalInput | None = self._inputs.get(probes.id)
        if shared is None:
            baseline = None
            if self.atoms is not None:
                index = self.reader.pool(probes.id, self.probes).index
                baseline = self.atoms(probes.crystal, probes.shape).values.ravel()[index].astype(np.float32)
            mean = None if self.nelect is None else self.nelect(probes.id) / probes.crystal.volume
            near = find_near_nuclei(self.reader, probes.id, self.probes, self.spin) if self.near else None
            shared = CrystalInput(Neighbors(probes.crystal, self.cutoff), baseline, mean, near)
            self._inputs.put(probes.id, shared, shared.nbytes)
        return shared


def _collinear_magnetization(probes: Probes) -> NDArray[np.float32]:
    """The magnetization, zero where the density is not spin-polarised."""
    if probes.magnetization is None:
        return np.zeros_like(probes.values)
    if probes.magnetization.ndim != 1:
        raise UsageError(
            f"{probes.id} is non-collinear, its magnetization a vector: train with spin = false, or without it"
        )
    return probes.magnetization


class EpochOrder:
    """The order in which crystals are drawn: each epoch visits every id once, in an order of its own."""

    def __init__(self, ids: Sequence[str], seed: int) -> None:
        self.ids, self.seed = list(ids), seed
        self._orders: dict[int, NDArray[np.int64]] = {}

    def __getitem__(self, position: int) -> Draw:
        """The epoch and the id of the crystal that is drawn after `position` others."""
        epoch, place = divmod(position, len(self.ids))
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = np.random.default_rng([self.seed, epoch]).permutation(len(self.ids))
        return epoch, self.ids[self._orders[epoch][place]]


class EpochBatches:
    """The draws of each of `steps` steps of `size` crystals from `first`, the number of crystals drawn before.

    They depend on (seed, position) alone, so that a run can resume anywhere. Batches run on across epochs. Of each step
    only the `share` that one process takes is given.
    """

    def __init__(
        self,
        ids: Sequence[str],
        size: int,
        seed: int,
        first: int,
        steps: int,
        share: Callable[[list[Draw]], list[Draw]] = list,
    ) -> None:
        self.ids, self.size, self.seed = list(ids), size, seed
        self.first, self.steps, self.share = first, steps, share

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[Draw]]:
        order = EpochOrder(self.ids, self.seed)
        for start in range(self.first, self.first + self.steps * self.size, self.size):
            yield self.share([order[position] for position in range(start, start + self.size)])


def subset(ids: Sequence[str], fraction: float, seed: int) -> list[str]:
    """A share of the ids, in their order, drawn by seed; a larger share contains every smaller one."""
    count = round(fraction * len(ids)) or int(fraction > 0)
    chosen = set(sorted(ids, key=partial(order_key, seed=seed))[:count])
    return [id for id in ids if id in chosen]
