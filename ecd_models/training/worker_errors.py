"""Errors in the worker processes of a DataLoader, raised in the main process as they are.

torch would raise an error of the same class whose message is the traceback of the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from torch.utils.data import Dataset, IterableDataset

from ecd_data.errors import EcdError

Batch = TypeVar("Batch")
CAUGHT = (EcdError, OSError)  # what the command line explains in one sentence


class CatchingDataset(Dataset[Any]):
    """The batches that `join` makes of the items of a dataset, or the error that came up in place of a batch."""

    def __init__(self, dataset: Dataset[Any], join: Callable[[list[Any]], Any]) -> None:
        self.dataset, self.join = dataset, join

    def __getitems__(self, keys: Sequence[Any]) -> Any:
        try:
            read_all: Any = getattr(self.dataset, "__getitems__", None)
            return self.join(read_all(keys) if read_all else [self.dataset[key] for key in keys])
        except CAUGHT as error:
            return error


class CatchingStream(IterableDataset[Any]):
    """The batches of a stream, and at last the error that ended it, if one did."""

    def __init__(self, stream: IterableDataset[Any]) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.stream
        except CAUGHT as error:
            yield error


def keep_batch(batch: Batch) -> Batch:
    """The batch: for a DataLoader whose dataset gives whole batches."""
    return batch


def raise_errors(batches: Iterable[Batch | Exception]) -> Iterator[Batch]:
    """The batches; raises the error that takes the place of one."""
    for batch in batches:
        if isinstance(batch, Exception):
            raise batch
        yield batch
