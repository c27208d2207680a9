"""One function over many jobs, in this process, in others, or on a cluster: results come in the order of the jobs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait
from typing import Any, Protocol, TypeVar

from ecd_data.arguments import whole_number
from ecd_data.errors import MissingDependencyError, UsageError

AHEAD = 4  # jobs a worker that may be done or waiting while the oldest is not

Job = TypeVar("Job")
Result = TypeVar("Result")


class Lost(Exception):
    """A job whose worker the system ended."""


class Cluster(Protocol):
    """What of dask.distributed.Client is used."""

    def get_executor(self, **options: Any) -> Executor: ...
    def scheduler_info(self) -> dict[str, Any]: ...


def spread(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int = 1,
    cluster: Cluster | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[tuple[Job, Result | Lost], None, None]:
    """Each job with its result, in the order of the jobs whatever the number of workers.

    workers: processes, 1 for this one; cluster: a dask.distributed.Client instead. At most AHEAD jobs a worker are
    under way, so that the memory does not grow with their number. A job that ends its worker, for lack of memory say,
    is Lost and the rest goes on. Ends early once `stopped` says so.
    """
    refuse_impossible(workers)
    if cluster is not None:
        threads = sum(worker["nthreads"] for worker in cluster.scheduler_info()["workers"].values())
        executor = cluster.get_executor(pure=False)
        return in_order(lambda: executor, function, jobs, AHEAD * max(1, threads), stopped, remote=True)
    if workers == 1:
        return _here(function, jobs, stopped)
    return in_order(lambda: _processes(workers), function, jobs, AHEAD * workers, stopped)


class Workers:
    """Processes to which threads give jobs, so many at a time; one worker is this process."""

    def __init__(self, workers: int) -> None:
        refuse_impossible(workers)
        self._workers, self._closed = workers, False
        self._executor: ProcessPoolExecutor | None = None
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def run(self, function: Callable[[Job], Result], job: Job) -> Result | Lost:
        """The result of a job, when a worker was free for it; raises what the function does.

        A job that ends its worker, for lack of memory say, is Lost, and others under way are done again. Raises
        CancelledError for a job that was not begun before `close`.
        """
        if self._workers == 1:
            return self._in_turn(lambda: function(job))
        with self._lock:
            if self._closed:
                raise CancelledError
            executor = self._executor = self._executor or _processes(self._workers)
        try:
            return executor.submit(function, job).result()
        except BrokenExecutor:  # by this job or another
            with self._lock:
                if self._executor is executor:
                    self._executor = None
            return self._in_turn(lambda: _alone(function, job))

    def _in_turn(self, act: Callable[[], Result | Lost]) -> Result | Lost:
        with self._turn:
            if self._closed:
                raise CancelledError
            return act()

    def close(self) -> None:
        """Begin no further job; those under way are not waited for."""
        with self._lock:
            self._closed = True
            if self._executor is not None:
                self._executor.shutdown(wait=False, cancel_futures=True)


def refuse_impossible(workers: int) -> None:
    """Raise UsageError for a number of workers that nobody can have, before anything is written."""
    whole_number(workers, "the number of workers", 1)


def _here(
    function: Callable[[Job], Result], jobs: Iterable[Job], stopped: Callable[[], bool]
) -> Generator[tuple[Job, Result | Lost], None, None]:
    for job in jobs:
        if stopped():
            return
        yield job, function(job)


def in_order(
    start: Callable[[], Executor],
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    window: int,
    stopped: Callable[[], bool],
    remote: bool = False,
) -> Generator[tuple[Job, Result | Lost], None, None]:
    """Each job with its result in the order of the jobs, `window` of them under way in what `start` gives."""
    left = iter(jobs)
    executor = start()
    waiting: deque[tuple[Job, Future[Result]]] = deque()
    try:
        while not stopped():
            waiting += [(job, executor.submit(function, job)) for job in islice(left, window - len(waiting))]
            if not waiting:
                return
            job, future = waiting.popleft()
            result: Result | Lost
            if not _finished(future, stopped):
                return
            try:
                result = future.result()
            except BrokenExecutor:  # one of those under way ended its process: the oldest alone, the others again
                executor.shutdown(wait=False)
                result = _alone(function, job)
                executor = start()
                waiting = deque((other, executor.submit(function, other)) for other, _ in waiting)
            except Exception as error:
                if not remote:
                    raise
                result = Lost(str(error))  # dask gave it up: its workers died, or cannot be reached
            yield job, result
    finally:
        for _, future in waiting:
            future.cancel()
        executor.shutdown(wait=not remote)  # a cluster forgets what is under way


def _finished(future: Future[Result], stopped: Callable[[], bool]) -> bool:
    """Wait for a result; False where the work was stopped before."""
    while not future.done():
        if stopped():
            return False
        wait_for([future], timeout=0.5)
    return True


def _alone(function: Callable[[Job], Result], job: Job) -> Result | Lost:
    with _processes(1) as executor:
        try:
            return executor.submit(function, job).result()
        except BrokenExecutor as error:
            return Lost(str(error))


def _processes(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")  # a fork would copy zarr's and Arrow's threads in mid-air
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare)


def _prepare() -> None:
    """A worker leaves Ctrl-C to its parent, and ends when its parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


@contextmanager
def cluster_at(address: str | None, workers: int) -> Iterator[Any]:
    """A dask.distributed.Client for "local", the address of a scheduler, or its scheduler file; None for None.

    Raises MissingDependencyError without dask, UsageError where no scheduler answers.
    """
    if address is None:
        yield None
        return
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        raise MissingDependencyError("--dask needs dask: pip install 'ecd-data[cluster]'") from error
    if address == "local":
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as local,
            Client(local) as client,
        ):
            yield client
        return
    try:
        client = Client(scheduler_file=address) if os.path.isfile(address) else Client(address, timeout=20)
    except (OSError, ValueError, TimeoutError) as error:
        raise UsageError(f"no Dask scheduler answers at {address} ({error}): check the address") from error
    with client:
        yield client
