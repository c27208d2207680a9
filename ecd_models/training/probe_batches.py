"""Training samples: probe points drawn from stored densities by (seed, epoch, material id)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.io.atomic_write import write_whole
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.batch import ProbeBatch, make_item
from ecd_models.graph import Neighbors

POOLS = 2**32 - 1  # an epoch that no training reaches, whose generators draw the pools

Draw = tuple[int, str]  # epoch and material id: all that the drawn probes depend on beside the seed


def generator(seed: int, epoch: int, id: str) -> np.random.Generator:
    """The random generator of a material in an epoch, the same wherever it is asked for."""
    digest = hashlib.sha256(id.encode()).digest()
    return np.random.default_rng([seed, epoch, int.from_bytes(digest[:8], "little")])


class Prepared(NamedTuple):
    """What a material needs for drawing probes: its values at grid points, float32 to halve the memory.

    columns [k, grid points]: density, then magnetization and superposed atoms where the training needs them, in
    e/Å^3; where: flat grid indices of the points of a pool, None where it is the whole grid;
    mean: of the whole density.
    """

    neighbors: Neighbors
    shape: tuple[int, int, int]
    columns: NDArray[np.float32]
    where: NDArray[np.int64] | None
    mean: float

    @property
    def nbytes(self) -> int:
        return self.columns.nbytes + (0 if self.where is None else self.where.nbytes)


class ProbeDataset(Dataset[ProbeBatch]):
    """Items of `probes` grid points, drawn uniformly with replacement, for any (epoch, id).

    Densities are decoded on first use and kept up to `cache_bytes`, the least recently used ones dropped. With a
    `pool`, that many points of each grid, drawn once, stand for it: they stay in memory where grids would not, and in
    `folder`, where given, for other processes and runs.
    """

    def __init__(
        self,
        load: Callable[[str], Density],
        *,
        cutoff: float,
        probes: int,
        seed: int,
        atoms: SuperposedAtoms | None = None,
        spin: bool = False,
        pool: int = 0,
        folder: Path | None = None,
        cache_bytes: int = 1 << 31,
    ) -> None:
        self.load, self.cutoff, self.probes, self.seed, self.atoms = load, cutoff, probes, seed, atoms
        self.spin, self.pool, self.folder = spin, pool, folder if pool else None
        self.cache_bytes, self._held = cache_bytes, 0
        self._cache: OrderedDict[str, Prepared] = OrderedDict()

    def __getitem__(self, draw: Draw) -> ProbeBatch:
        epoch, id = draw
        material = self._prepared(id)
        chosen = generator(self.seed, epoch, id).integers(material.columns.shape[1], size=self.probes)
        flat = chosen if material.where is None else material.where[chosen]
        points = np.stack(np.unravel_index(flat, material.shape), axis=1) / np.array(material.shape)
        values = material.columns[:, chosen]
        target = values[:2].T if self.spin else values[0]
        baseline = None if self.atoms is None else values[-1]
        numbers = material.neighbors.crystal.numbers
        return make_item(material.neighbors, numbers, points, target, baseline, mean=material.mean)

    def _prepared(self, id: str) -> Prepared:
        if id in self._cache:
            self._cache.move_to_end(id)
            return self._cache[id]
        file = None if self.folder is None else self.folder / f"{hashlib.sha256(id.encode()).hexdigest()[:24]}.npz"
        material = self._kept(file) or self._decoded(id)
        if file is not None and material.where is not None and not file.exists():
            _keep(file, material, material.where)
        self._cache[id] = material
        self._held += material.nbytes
        while self._held > self.cache_bytes and len(self._cache) > 1:
            self._held -= self._cache.popitem(last=False)[1].nbytes
        return material

    def _decoded(self, id: str) -> Prepared:
        rho = self.load(id)
        grids = [rho.values]
        if self.spin:
            grids.append(_collinear(rho, id))
        if self.atoms is not None:
            grids.append(self.atoms(rho.crystal, rho.shape).values)
        where = None
        if 0 < self.pool < rho.values.size:
            where = generator(self.seed, POOLS, id).choice(rho.values.size, self.pool, replace=False, shuffle=False)
        columns = [(grid.ravel() if where is None else grid.ravel()[where]).astype(np.float32) for grid in grids]
        mean = float(rho.values.mean())
        return Prepared(Neighbors(rho.crystal, self.cutoff), rho.shape, np.stack(columns), where, mean)

    def _kept(self, file: Path | None) -> Prepared | None:
        """The material of a file that `_keep` wrote; None where it is missing or damaged."""
        try:
            with np.load(file) as arrays:  # type: ignore[arg-type]
                crystal = Crystal(arrays["lattice"], arrays["numbers"], arrays["frac_coords"], tuple(arrays["pbc"]))
                shape = tuple(int(n) for n in arrays["shape"])
                neighbors, where = Neighbors(crystal, self.cutoff), arrays["where"]
                return Prepared(neighbors, shape, arrays["columns"], where, float(arrays["mean"]))  # type: ignore[arg-type]
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
            return None


def _keep(file: Path, material: Prepared, where: NDArray[np.int64]) -> None:
    """Write a material's pool, which appears whole or not at all whoever else writes it."""
    crystal = material.neighbors.crystal
    arrays = {name: getattr(crystal, name) for name in ("lattice", "numbers", "frac_coords", "pbc")}
    file.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(file) as aside, aside.open("wb") as opened:
        np.savez(opened, shape=material.shape, columns=material.columns, where=where, mean=material.mean, **arrays)


def _collinear(rho: Density, id: str) -> NDArray[np.float64]:
    """The magnetization, zero where the density is not spin-polarised."""
    if rho.magnetization is None:
        return np.zeros(rho.shape)
    if rho.magnetization.ndim != 3:
        raise UsageError(f"{id} is non-collinear, its magnetization a vector: train with spin = false, or without it")
    return rho.magnetization


def pool_folder(cache_dir: str, store: str, pool: int, seed: int, spin: bool, atoms: SuperposedAtoms | None) -> Path:
    """The folder in `cache_dir` of the pools that depend on just these."""
    table = b"" if atoms is None else atoms.key
    key = hashlib.sha256(f"{store} {pool} {seed} {spin} mean".encode() + table).hexdigest()
    return Path(cache_dir) / f"probes-{key[:16]}"


class EpochBatches:
    """The draws of each of `steps` steps of `size` crystals from `first`, the number of crystals drawn before.

    They depend on (seed, position) alone, so that a run can resume anywhere. Each epoch visits every id once in an
    order of its own; batches run on across epochs. Of each step only the `share` that one process takes is given.
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
        count = len(self.ids)
        orders: dict[int, NDArray[np.int64]] = {}
        for start in range(self.first, self.first + self.steps * self.size, self.size):
            draws = []
            for position in range(start, start + self.size):
                epoch, place = divmod(position, count)
                if epoch not in orders:
                    orders = {e: o for e, o in orders.items() if e == epoch - 1}
                    orders[epoch] = np.random.default_rng([self.seed, epoch]).permutation(count)
                draws.append((epoch, self.ids[orders[epoch][place]]))
            yield self.share(draws)


def subset(ids: Sequence[str], fraction: float, seed: int) -> list[str]:
    """A share of the ids, in their order, drawn by seed; a larger share contains every smaller one."""

    def lot(id: str) -> bytes:
        return hashlib.sha256(f"{seed}:{id}".encode()).digest()

    count = round(fraction * len(ids)) or int(fraction > 0)
    chosen = set(sorted(ids, key=lot)[:count])
    return [id for id in ids if id in chosen]
