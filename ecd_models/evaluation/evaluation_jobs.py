"""The crystals of an evaluation one after the other, in this process or in several, each with its result or failure."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import cache, partial
from pathlib import Path

import torch

from ecd_data.errors import EcdError, UsageError
from ecd_data.store.reader import Store
from ecd_data.work.process_pool import LostJob, run_jobs
from ecd_models.checkpoint import load_checkpoint, save_checkpoint
from ecd_models.evaluation.crystal_result import CrystalResult, evaluate_crystal
from ecd_models.model import DensityModel

LOST = "the process that predicted it was ended by the system, for example for lack of memory: use fewer workers"

Outcome = CrystalResult | str  # a text says why there is no result


def evaluate_crystals(
    model: DensityModel, store: Store, ids: Sequence[str], workers: int, stopped: Callable[[], bool]
) -> Generator[tuple[str, Outcome], None, None]:
    """Each id with its CrystalResult, or with the reason why there is none, in the order of the ids.

    Parameters
    ----------
    model, store : what is evaluated, on what.
    ids : the crystals of the store.
    workers : the number of processes; each has its own copy of the model on the model's device.
    stopped : the work ends early once this function returns True.

    Raises
    ------
    UsageError : several processes cannot load a network that is not registered.
    """
    if workers == 1 or len(ids) < 2:
        with closing(run_jobs(partial(_evaluate_one, model, store), ids, stopped=stopped)) as results:
            yield from ((id, LOST if isinstance(result, LostJob) else result) for id, result in results)
        return
    threads = max(1, torch.get_num_threads() // workers)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        _save_copy(model, file)
        function = partial(_evaluate_copy, str(file), model.name, str(model.device), threads, store)
        with closing(run_jobs(function, ids, workers=min(workers, len(ids)), stopped=stopped)) as results:
            yield from ((id, LOST if isinstance(result, LostJob) else result) for id, result in results)


def _save_copy(model: DensityModel, file: Path) -> None:
    try:
        save_checkpoint(file, model, model.metadata)
    except UsageError as error:
        raise UsageError(f"several processes need a model that each can load: {error}, or use one worker") from None


def _evaluate_one(model: DensityModel, store: Store, id: str) -> Outcome:
    try:
        return evaluate_crystal(model, store, id)
    except EcdError as error:
        return str(error)


def _evaluate_copy(file: str, name: str, device: str, threads: int, store: Store, id: str) -> Outcome:
    return _evaluate_one(_load_copy(file, name, device, threads), store, id)


@cache
def _load_copy(file: str, name: str, device: str, threads: int) -> DensityModel:
    """The copy of a model in a worker process, which loads it once."""
    torch.set_num_threads(threads)
    model = load_checkpoint(file).model.to(device)
    model.name = name
    return model
