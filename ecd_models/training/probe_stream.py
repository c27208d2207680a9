"""Training batches from the probes of a store on a disk or at a URL, divided exactly among processes and machines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any

from torch import distributed
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ecd_data.errors import UsageError
from ecd_data.store import Store, open_store
from ecd_data.store.probes.draw import Draw
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.batch import ProbeBatch, collate
from ecd_models.training.probe_batches import EpochOrder, ProbeDataset
from ecd_models.training.worker_errors import CatchingStream, raise_errors


class ProbeStream(IterableDataset[ProbeBatch]):
    """Batches of `batch_size` crystals x `probes` points, from the extract of `ecd probes` where the store has one.

    Every epoch visits each id once, over all ranks and workers, in an order of its own; batches run on across epochs,
    endlessly or until `epochs` are done; then another pass raises UsageError. The probes of a crystal depend on
    (seed, epoch, id) alone, and the batches of a rank come in the same order from any number of workers. Ranks are
    those of torch.distributed or torchrun unless given. With `atoms`, batches have a baseline, which costs an inverse
    FFT a crystal; with `spin`, targets are [p, 2], density and magnetization.

    `batches(workers)` reads in worker processes; `state_dict` then, or after plain iteration, says where to go on, on
    any number of workers and ranks. In a DataLoader of your own (batch_size=None) count the batches yourself and give
    `load_state_dict` the crystals of all ranks.
    """

    def __init__(
        self,
        store: Store | str,
        ids: Sequence[str] | None = None,
        *,
        cutoff: float,
        probes: int = 200,
        batch_size: int = 16,
        seed: int = 0,
        epochs: int | None = None,
        atoms: SuperposedAtoms | None = None,
        spin: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self.store = store if isinstance(store, Store) else open_store(store)
        self.ids = list(self.store.ids if ids is None else ids)
        self.cutoff, self.probes, self.batch_size, self.seed = cutoff, probes, batch_size, seed
        self.epochs, self.atoms, self.spin = epochs, atoms, spin
        self.rank, self.world_size = _place(rank, world_size)
        self.crystals, self._finished = 0, False
        self._check()

    def _check(self) -> None:
        if min(self.probes, self.batch_size, self.epochs or 1) < 1 or self.seed < 0:
            raise UsageError("probes, batch_size and epochs must be at least 1, and seed not negative")
        if not self.ids or len(set(self.ids)) < len(self.ids):
            raise UsageError(f"{self.store.root}: give at least one id, and each once")
        index = self.store.probe_reader.index
        for id in self.ids:
            if index is None or id not in index:
                self.store.place(id)

    def state_dict(self) -> dict[str, int]:
        """How many crystals all ranks together have drawn, with the seed."""
        return {"seed": self.seed, "crystals": self.crystals}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken; raises UsageError where that had another seed."""
        if state["seed"] != self.seed:
            raise UsageError(f"the state is of seed {state['seed']} and the stream of {self.seed}: give the same seed")
        self.crystals, self._finished = state["crystals"], False

    def _refuse_another_pass(self) -> None:
        """Raise UsageError where a pass has come to its end: the same epochs again would be the same probes again."""
        if self._finished:
            raise UsageError(
                f"all epochs of the stream ({self.epochs}) are drawn: give it more epochs in place of several passes,"
                f" or draw the same again after load_state_dict({{'seed': {self.seed}, 'crystals': 0}})"
            )

    def __len__(self) -> int:
        """Batches of this rank that are left; raises TypeError for an endless stream."""
        if self.epochs is None:
            raise TypeError("an endless stream has no length: give epochs")
        left = self.epochs * len(self.ids) - self.crystals - self.rank * self.batch_size
        return max(0, -(-left // self._stride))

    @property
    def _stride(self) -> int:
        return self.batch_size * self.world_size

    def batches(self, workers: int = 0, **options: Any) -> Iterator[ProbeBatch]:
        """The batches of this rank, made by worker processes where there are any, counted for `state_dict`.

        Further options are those of torch's DataLoader, as in pin_memory=True.
        """
        if workers == 0:
            yield from self
            return
        self._refuse_another_pass()
        for batch in raise_errors(DataLoader(CatchingStream(self), batch_size=None, num_workers=workers, **options)):
            self._count()
            yield batch
        self._finished = True

    def _count(self) -> None:
        self.crystals += self._stride
        if self.epochs is not None:
            self.crystals = min(self.crystals, self.epochs * len(self.ids))

    def __iter__(self) -> Iterator[ProbeBatch]:
        worker = get_worker_info()
        if worker is None:
            self._refuse_another_pass()
        draws = self._draws(0, 1) if worker is None else self._draws(worker.id, worker.num_workers)
        options: dict[str, Any] = {"cutoff": self.cutoff, "probes": self.probes, "seed": self.seed, "spin": self.spin}
        items = ProbeDataset(self.store.probe_reader, atoms=self.atoms, **options)
        probes = items.reader.stream(draws, self.probes, self.seed, self.spin)
        while drawn := list(islice(probes, self.batch_size)):
            if worker is None:
                self._count()
            yield collate([items.make_item(each) for each in drawn])
        self._finished = worker is None

    def _draws(self, worker: int, workers: int) -> Iterator[Draw]:
        """The crystals of every `workers`-th batch of this rank from number `worker` on."""
        order, first = EpochOrder(self.ids, self.seed), self.crystals + self.rank * self.batch_size
        end = None if self.epochs is None else self.epochs * len(self.ids)
        for step in count(worker, workers):
            start = first + step * self._stride
            for position in range(start, start + self.batch_size):
                if end is not None and position >= end:
                    return
                yield order[position]


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """The rank of this process and the number of processes: the arguments, else those of torch or torchrun."""
    if distributed.is_available() and distributed.is_initialized():
        found = distributed.get_rank(), distributed.get_world_size()
    else:
        found = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    place = found[0] if rank is None else rank, found[1] if world_size is None else world_size
    if not 0 <= place[0] < place[1]:
        raise UsageError(f"rank {place[0]} of {place[1]} processes does not exist: ranks count from 0")
    return place
