"""Independent uniform probes of stored densities: some hundred grid points of a crystal for one small read."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
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
from ecd_data.store.probes.index import FOLDER, INDEX, Place, ProbeIndex, Settings, load_index
from ecd_data.store.probes.permutation import keys_of, permuted, start_of

AGAIN = 5  # times that the extract may be renewed while one sample is drawn
CACHED = 2048  # crystals without an extract whose permuted values are kept, 64 KiB each
Draw = tuple[int, str]  # epoch and id
Load = Callable[[str], Density]


@dataclass(frozen=True, eq=False)
class Probes:
    """Grid points of one crystal and the density there.

    index [n]: flat, C order, on the grid `shape`; frac_coords [n, 3]; values [n] float32 in e/Å^3; magnetization:
    n_up - n_down [n] float32, [n, 3] when non-collinear, None without spin or where it was not asked for.
    """

    id: str
    crystal: Crystal
    shape: tuple[int, int, int]
    index: NDArray[np.int64]
    frac_coords: Floats
    values: NDArray[np.float32]
    magnetization: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False)
class Pool:
    """The first `place.count` points of a crystal's permutation: where their values lie, or the values themselves."""

    id: str
    crystal: Crystal
    place: Place
    seed: int
    values: NDArray[np.float32] | None = None

    @property
    def size(self) -> int:
        """Points of the crystal's grid."""
        a, b, c = self.place.shape
        return a * b * c


def pool_of(id: str, density: Density, settings: Settings) -> Pool:
    """The pool of a density, with the values of its points [1 + components, count] as float32."""
    grids = [density.values]
    if density.magnetization is not None:
        grids += list(density.magnetization.reshape(-1, *density.shape))
    count = min(settings.per_crystal, density.values.size)
    flat = permuted(np.arange(count)[None], [density.values.size], keys_of(settings.seed, id))[0]
    values = np.stack([grid.ravel()[flat].astype(np.float32) for grid in grids])
    return Pool(id, density.crystal, Place("", 0, count, len(grids) - 1, density.shape), settings.seed, values)


def draw(
    pools: Sequence[Pool],
    epochs: Sequence[int],
    n: int,
    seed: int,
    magnetization: bool = False,
    ranges: RangeReader | None = None,
) -> list[Probes]:
    """The n probes of every pool in its epoch; `ranges` reads what the pools do not hold.

    Raises UsageError where n is more than an extract has of a crystal; of a grid that is smaller than n, every point
    comes equally often, give or take one.
    """
    if n < 1 or seed < 0 or min(epochs, default=0) < 0:
        raise UsageError(f"at least one probe, and no negative seed or epoch: {n=}, {seed=}")
    for pool in pools:
        if pool.place.count < min(n, pool.size):
            raise UsageError(
                f"{pool.id}: the extract has {pool.place.count} probes of it and {n} were asked for; ask for fewer, or "
                f"remove the store's folder {FOLDER} and run `ecd probes --per-crystal {n}`"
            )
    counts = np.array([[pool.place.count] for pool in pools])
    starts = [start_of(seed, e, p.id, n, p.place.count) for p, e in zip(pools, epochs, strict=True)]
    positions = (np.array(starts)[:, None] + np.arange(n)) % counts
    flat = permuted(positions, [pool.size for pool in pools], np.array([keys_of(p.seed, p.id) for p in pools]))
    values = _values(pools, positions, magnetization, ranges)
    return [_probes(*each, magnetization) for each in zip(pools, flat, values, strict=True)]


def _probes(pool: Pool, flat: NDArray[np.int64], values: NDArray[np.float32], magnetization: bool) -> Probes:
    shape = pool.place.shape
    frac_coords = np.stack(np.unravel_index(flat, shape), axis=-1) / np.array(shape)
    spin = None
    if magnetization and len(values) > 1:
        spin = values[1] if len(values) == 2 else values[1:].T
    return Probes(pool.id, pool.crystal, shape, flat, frac_coords, values[0], spin)


def _values(
    pools: Sequence[Pool], positions: NDArray[np.int64], magnetization: bool, ranges: RangeReader | None
) -> list[NDArray[np.float32]]:
    """The values [1 or 1 + components, n] of every pool at its positions; all that lies in files is one request."""
    wanted: list[tuple[str, int, int]] = []
    owners: list[int] = []
    rows = [1 + pool.place.components if magnetization else 1 for pool in pools]
    for number, pool in enumerate(pools):
        if pool.values is None:
            spans = _spans(int(positions[number, 0]), positions.shape[1], pool.place.count)
            for row in range(rows[number]):
                base = pool.place.offset + 4 * row * pool.place.count
                wanted += [(pool.place.file, base + 4 * start, base + 4 * stop) for start, stop in spans]
                owners += [number] * len(spans)
    read: dict[int, list[bytes]] = {}
    if wanted and ranges is not None:
        for number, data in zip(owners, ranges.read(wanted), strict=True):
            read.setdefault(number, []).append(data)
    return [
        pool.values[:count, positions[number]]
        if pool.values is not None
        else np.frombuffer(b"".join(read[number]), "<f4").reshape(count, -1)
        for number, (pool, count) in enumerate(zip(pools, rows, strict=True))
    ]


def _spans(start: int, n: int, count: int) -> list[tuple[int, int]]:
    """The stretches of a circle of `count` that n positions from `start` on cover."""
    spans = []
    while n:
        taken = min(n, count - start)
        spans.append((start, start + taken))
        n, start = n - taken, 0
    return spans


class ProbeReader:
    """Probes of the crystals of a store, from its extract; those without one are decoded, with the same result.

    load: the density of an id, asked for where the extract lacks it.
    """

    def __init__(self, root: str, load: Load) -> None:
        self.root, self._load = root, load
        self._decoded: OrderedDict[str, Pool] = OrderedDict()
        self._guard = Lock()
        self._settings: Settings | None = None
        self._open()

    def _open(self) -> None:
        """Take up the extract as it is now."""
        self.__dict__.pop("index", None)
        self._state = file_state(f"{self.root}/{INDEX}")
        self._ranges = RangeReader(f"{self.root}/{FOLDER}", self._holds)

    def _holds(self) -> bool:
        return file_state(f"{self.root}/{INDEX}") == self._state

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "_load": self._load}  # workers read the index themselves

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"], state["_load"])  # type: ignore[misc]

    @cached_property
    def index(self) -> ProbeIndex | None:
        """The extract's index, None where the store has no extract."""
        index = load_index(self.root)
        if index is not None:
            if self._settings not in (None, index.settings):
                raise StoreError(f"{self.root}/{FOLDER} was made again with other settings: open the store again")
            self._settings = index.settings
        return index

    @property
    def remote(self) -> bool:
        """Whether reading waits for a network."""
        return self._ranges.remote

    def pool(self, id: str, n: int, load: Load | None = None) -> Pool:
        """The pool of a crystal for samples of n, in the extract or decoded.

        Without an extract it has 16,384 points, or n where that is more. Raises UnknownIdError for an id that the store
        lacks.
        """
        index = self.index
        if index is not None and id in index:
            return Pool(id, index.crystal(id), index.place(id), index.settings.seed)
        with self._guard:
            if id in self._decoded and self._decoded[id].place.count >= min(n, self._decoded[id].size):
                self._decoded.move_to_end(id)
                return self._decoded[id]
        settings = self._settings or Settings(max(n, Settings().per_crystal))
        pool = pool_of(id, (load or self._load)(id), settings)
        with self._guard:
            self._decoded[id] = pool
            while len(self._decoded) > CACHED:
                self._decoded.popitem(last=False)
        return pool

    def draw(
        self, draws: Sequence[Draw], n: int, seed: int, magnetization: bool = False, load: Load | None = None
    ) -> list[Probes]:
        """The probes of every (epoch, id), all reads in one round; `load` decodes in place of the store."""
        for attempt in range(AGAIN):
            index, ranges = self.index, self._ranges
            try:
                pools = [self.pool(id, n, load) for _, id in draws]
                return draw(pools, [epoch for epoch, _ in draws], n, seed, magnetization, ranges)
            except MovedError:  # of the extract, which `ecd probes` may have renewed
                if index is None or attempt == AGAIN - 1 or not self._renewed(index):
                    raise
        raise AssertionError("not reached")

    def _renewed(self, index: ProbeIndex) -> bool:
        """Whether the extract's index, read again, is another than `index`."""
        with self._guard:
            if self.index is index:
                self._open()
            return self.index is None or not self.index.same(index)

    def stream(
        self, draws: Iterable[Draw], n: int, seed: int, magnetization: bool = False, group: int = 32, ahead: int = 8
    ) -> Iterator[Probes]:
        """The probes of every (epoch, id) in order; `ahead` groups of `group` crystals wait for a network."""
        left = iter(draws)
        if not self.remote:
            while chunk := list(islice(left, group)):
                yield from self.draw(chunk, n, seed, magnetization)
            return
        _ = self.index  # before threads ask for it
        pending: deque[Future[list[Probes]]] = deque()
        with ThreadPoolExecutor(ahead) as threads:
            try:
                while True:
                    while len(pending) < ahead and (chunk := list(islice(left, group))):
                        pending.append(threads.submit(self.draw, chunk, n, seed, magnetization))
                    if not pending:
                        return
                    yield from pending.popleft().result()
            finally:
                threads.shutdown(wait=False, cancel_futures=True)
