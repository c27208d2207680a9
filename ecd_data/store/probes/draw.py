"""Drawing probes: uniformly distributed grid points of stored crystals, some hundred of them by one small read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import MovedError, StoreError, UsageError
from ecd_data.io.byte_ranges import RangeReader
from ecd_data.io.locations import file_state
from ecd_data.store.probes.index import FOLDER, INDEX, ProbeIndex, ProbeLocation, Settings, load_index
from ecd_data.store.probes.permutation import permute, round_keys, start_position
from ecd_data.work.recent_cache import RecentCache

MAX_RENEWALS = 5  # of the extract while one sample is drawn: ends a loop that would never succeed
CACHE_BYTES = 1 << 27  # of crystals without an extract, 64 KiB each: a store of 2,000 crystals is decoded only once
Draw = tuple[int, str]  # epoch and id
Load = Callable[[str], Density]  # loads the density of an id


@dataclass(frozen=True, eq=False)
class Probes:
    """Grid points of one crystal and the density at them.

    Attributes
    ----------
    id, crystal, shape : the material, its crystal and its grid.
    index [n] : the flat indices of the points in the grid, in C order.
    frac_coords [n, 3] : the fractional positions of the points.
    values [n] : the density in e/Å^3, float32.
    magnetization [n] : n_up - n_down in e/Å^3, float32; [n, 3] when non-collinear; None without spin or when it was
        not requested.
    positions [n] : the positions of the points in the crystal's pool, the order in which its points are drawn.
    """

    id: str
    crystal: Crystal
    shape: tuple[int, int, int]
    index: NDArray[np.int64]
    frac_coords: Floats
    values: NDArray[np.float32]
    magnetization: NDArray[np.float32] | None
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False)
class Pool:
    """The first `place.count` points of a crystal's permutation, with the location of their values or the values."""

    id: str
    crystal: Crystal
    place: ProbeLocation
    seed: int
    values: NDArray[np.float32] | None = None

    @property
    def size(self) -> int:
        """The number of points of the crystal's grid."""
        a, b, c = self.place.shape
        return a * b * c

    @property
    def index(self) -> NDArray[np.int64]:
        """The flat indices of all points of the pool in the grid, in C order [place.count]."""
        return permute(np.arange(self.place.count)[None], [self.size], round_keys(self.seed, self.id))[0]


def make_pool(id: str, density: Density, settings: Settings) -> Pool:
    """The Pool of a density, with the values [1 + components, count] at its points as float32."""
    grids = [density.values]
    if density.magnetization is not None:
        grids += list(density.magnetization.reshape(-1, *density.shape))
    count = min(settings.per_crystal, density.values.size)
    pool = Pool(id, density.crystal, ProbeLocation("", 0, count, len(grids) - 1, density.shape), settings.seed)
    flat = pool.index
    return replace(pool, values=np.stack([grid.ravel()[flat].astype(np.float32) for grid in grids]))


def draw_probes(
    pools: Sequence[Pool],
    epochs: Sequence[int],
    n: int,
    seed: int,
    magnetization: bool,
    ranges: RangeReader | None,
) -> list[Probes]:
    """n probes of each pool in its epoch.

    Of a grid with fewer than n points, every point is drawn equally often, plus or minus once.

    Parameters
    ----------
    pools, epochs : the pools, and the epoch of each.
    n : the number of points of each pool.
    seed : decides, with the epoch and the id, which points are drawn.
    magnetization : whether the magnetization is read, too.
    ranges : reads the values of pools that have only their location.

    Raises
    ------
    UsageError : n is below 1 or larger than the number of points in the extract, or a seed or epoch is negative.
    """
    if n < 1 or seed < 0 or min(epochs, default=0) < 0:
        raise UsageError(f"give at least one probe, and no negative seed or epoch: {n=}, {seed=}")
    for pool in pools:
        if pool.place.count < min(n, pool.size):
            raise UsageError(
                f"{pool.id}: the extract has {pool.place.count} probes of it, fewer than {n}; draw fewer, or "
                f"remove the store's folder {FOLDER} and run `ecd probes --per-crystal {n}`"
            )
    counts = np.array([[pool.place.count] for pool in pools])
    starts = [start_position(seed, e, p.id, n, p.place.count) for p, e in zip(pools, epochs, strict=True)]
    positions = (np.array(starts)[:, None] + np.arange(n)) % counts
    flat = permute(positions, [pool.size for pool in pools], np.array([round_keys(p.seed, p.id) for p in pools]))
    values = _read_values(pools, positions, magnetization, ranges)
    return [_make_probes(*each, magnetization) for each in zip(pools, flat, positions, values, strict=True)]


def _make_probes(
    pool: Pool,
    flat: NDArray[np.int64],
    positions: NDArray[np.int64],
    values: NDArray[np.float32],
    magnetization: bool,
) -> Probes:
    shape = pool.place.shape
    frac_coords = np.stack(np.unravel_index(flat, shape), axis=-1) / np.array(shape)
    spin = None
    if magnetization and len(values) > 1:
        spin = values[1] if len(values) == 2 else values[1:].T
    return Probes(pool.id, pool.crystal, shape, flat, frac_coords, values[0], spin, positions)


def _read_values(
    pools: Sequence[Pool], positions: NDArray[np.int64], magnetization: bool, ranges: RangeReader | None
) -> list[NDArray[np.float32]]:
    """The values [1 or 1 + components, n] of each pool at its positions; one request reads all that is in files."""
    requests: list[tuple[str, int, int]] = []
    owners: list[int] = []
    rows = [1 + pool.place.components if magnetization else 1 for pool in pools]
    for number, pool in enumerate(pools):
        if pool.values is None:
            spans = _split_circle(int(positions[number, 0]), positions.shape[1], pool.place.count)
            for row in range(rows[number]):
                base = pool.place.offset + 4 * row * pool.place.count
                requests += [(pool.place.file, base + 4 * start, base + 4 * stop) for start, stop in spans]
                owners += [number] * len(spans)
    read: dict[int, list[bytes]] = {}
    if requests and ranges is not None:
        for number, data in zip(owners, ranges.read(requests), strict=True):
            read.setdefault(number, []).append(data)
    return [
        pool.values[:count, positions[number]]
        if pool.values is not None
        else np.frombuffer(b"".join(read[number]), "<f4").reshape(count, -1)
        for number, (pool, count) in enumerate(zip(pools, rows, strict=True))
    ]


def _split_circle(start: int, n: int, count: int) -> list[tuple[int, int]]:
    """The ranges that n positions from `start` on cover, where position 0 follows position `count` - 1."""
    spans = []
    while n:
        taken = min(n, count - start)
        spans.append((start, start + taken))
        n, start = n - taken, 0
    return spans


class ProbeReader:
    """Draws probes of the crystals of a store from its extract; others are decoded, which gives the same probes.

    root: the path or URL of the store; load: loads the density of an id that the extract does not have; cache: keeps
    what was decoded.
    """

    def __init__(self, root: str, load: Load, cache: RecentCache | None = None) -> None:
        self.root, self._load = root, load
        self.cache = RecentCache(CACHE_BYTES) if cache is None else cache
        self._guard = Lock()
        self._settings: Settings | None = None
        self._open()

    def _open(self) -> None:
        """Use the extract as it is now."""
        self.__dict__.pop("index", None)
        self._state = file_state(f"{self.root}/{INDEX}")
        self._ranges = RangeReader(f"{self.root}/{FOLDER}", self._is_current)

    def _is_current(self) -> bool:
        return file_state(f"{self.root}/{INDEX}") == self._state

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "load": self._load, "cache": self.cache}  # each worker reads the index itself

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @cached_property
    def index(self) -> ProbeIndex | None:
        """The index of the extract; None where the store has no extract."""
        index = load_index(self.root)
        if index is not None:
            if self._settings not in (None, index.settings):
                raise StoreError(f"{self.root}/{FOLDER} was made again with other settings: open the store again")
            self._settings = index.settings
        return index

    @property
    def remote(self) -> bool:
        """Whether reading waits for a network, so that it pays to read ahead."""
        return self._ranges.remote

    def pool(self, id: str, n: int, load: Load | None = None, sha256: str | None = None) -> Pool:
        """The Pool of a crystal, in the extract or from its decoded density.

        Without an extract the pool has 16,384 points, or n where that is more. `load` replaces the function that loads
        a density, and `sha256` is the hash of its stored bytes: an older density of the same id is not used. Raises
        UnknownIdError for an id that the store does not have.
        """
        index = self.index
        if index is not None and id in index and sha256 in (None, index.sha256(id)):
            return Pool(id, index.crystal(id), index.place(id), index.settings.seed)
        settings = self._settings or Settings(max(n, Settings().per_crystal))
        key = "pool", id, sha256, settings.per_crystal  # not any larger pool: the order depends on its size
        pool: Pool | None = self.cache.get(key)
        if pool is None:
            pool = make_pool(id, (load or self._load)(id), settings)
            assert pool.values is not None
            self.cache.put(key, pool, pool.values.nbytes)
        return pool

    def draw(
        self,
        draws: Sequence[Draw],
        n: int,
        seed: int,
        magnetization: bool = False,
        load: Load | None = None,
        sha256: str | None = None,
    ) -> list[Probes]:
        """The probes of each (epoch, id), with all values read at once.

        The arguments are those of `draw_probes`, and `load` and `sha256` those of `pool`.
        """
        for attempt in range(MAX_RENEWALS):
            index, ranges = self.index, self._ranges
            try:
                pools = [self.pool(id, n, load, sha256) for _, id in draws]
                return draw_probes(pools, [epoch for epoch, _ in draws], n, seed, magnetization, ranges)
            except MovedError:  # `ecd probes` may have renewed the extract
                if index is None or attempt == MAX_RENEWALS - 1 or not self._renewed(index):
                    raise
        raise AssertionError("not reached")

    def _renewed(self, index: ProbeIndex) -> bool:
        """Whether the index of the extract has changed since `index` was read."""
        with self._guard:
            if self.index is index:
                self._open()
            return self.index is None or not self.index.same(index)

    def stream(
        self, draws: Iterable[Draw], n: int, seed: int, magnetization: bool = False, group: int = 32, ahead: int = 8
    ) -> Iterator[Probes]:
        """The probes of each (epoch, id) in order; at a URL, `ahead` groups of `group` crystals are read in advance."""
        remaining = iter(draws)
        if not self.remote:
            while chunk := list(islice(remaining, group)):
                yield from self.draw(chunk, n, seed, magnetization)
            return
        _ = self.index  # read it once, before the threads need it
        pending: deque[Future[list[Probes]]] = deque()
        with ThreadPoolExecutor(ahead) as threads:
            try:
                while True:
                    while len(pending) < ahead and (chunk := list(islice(remaining, group))):
                        pending.append(threads.submit(self.draw, chunk, n, seed, magnetization))
                    if not pending:
                        return
                    yield from pending.popleft().result()
            finally:
                threads.shutdown(wait=False, cancel_futures=True)
