"""One function applied to many jobs, in this process, in others, or on a cluster; results keep the jobs' order.

concurrent.futures notices a dead worker, as loky does. A pebble pool fails for good when an idle worker is killed, so
with either library the code here that runs the other jobs again would remain.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ecd_data.arguments import whole_number
from ecd_data.errors import MissingDependencyError, UsageError

JOBS_PER_WORKER = 4  # that may be finished or wait while the oldest job runs: limits memory, keeps workers busy

Job = TypeVar("Job")
Result = TypeVar("Result")


class LostJob(Exception):
    """The worker process of a job was ended by the system, for example for lack of memory."""


class Cluster(Protocol):
    """The methods of dask.distributed.Client that are used here."""

    def get_executor(self, **options: Any) -> Executor: ...
    def scheduler_info(self) -> dict[str, Any]: ...


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int = 1,
    cluster: Cluster | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[tuple[Job, Result | LostJob], None, None]:
    """Each job with its result, in the order of the jobs.

    A job whose worker dies, for example for lack of memory, has a LostJob as its result, and the other jobs go on. Only
    a few jobs are submitted at a time, so that memory does not grow with the number of jobs.

    Parameters
    ----------
    function : the function, which worker processes must be able to import.
    jobs : its arguments.
    workers : the number of processes; 1 means this process.
    cluster : a dask.distributed.Client to use in place of processes on this machine.
    stopped : the work ends early once this function returns True.

    Raises
    ------
    UsageError : `workers` is below 1.
    """
    refuse_worker_count(workers)
    if cluster is not None:
        threads = sum(worker["nthreads"] for worker in cluster.scheduler_info()["workers"].values())
        executor = cluster.get_executor(pure=False)
        return run_in_order(lambda: executor, function, jobs, JOBS_PER_WORKER * max(1, threads), stopped, remote=True)
    if workers == 1:
        return _run_here(function, jobs, stopped)
    return run_in_order(lambda: _start_processes(workers), function, jobs, JOBS_PER_WORKER * workers, stopped)


class ProcessPool:
    """A number of processes that several threads submit jobs to; with one worker the jobs run in this process."""

    def __init__(self, workers: int) -> None:
        refuse_worker_count(workers)
        self._workers, self._closed = workers, False
        self._executor: ProcessPoolExecutor | None = None
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def run(self, function: Callable[[Job], Result], job: Job) -> Result | LostJob:
        """The result of a job, after waiting for a free worker; raises the errors of the function.

        A job whose worker dies, for example for lack of memory, gives a LostJob; other jobs that ran then are repeated.

        Raises
        ------
        CancelledError : the job had not started when `close` was called.
        """
        if self._workers == 1:
            return self._run_in_turn(lambda: function(job))
        with self._lock:
            if self._closed:
                raise CancelledError
            executor = self._executor = self._executor or _start_processes(self._workers)
        try:
            return executor.submit(function, job).result()
        except BrokenExecutor:  # this job or another one ended its worker
            with self._lock:
                if self._executor is executor:
                    self._executor = None
            return self._run_in_turn(lambda: _run_alone(function, job))

    def _run_in_turn(self, act: Callable[[], Result | LostJob]) -> Result | LostJob:
        with self._turn:
            if self._closed:
                raise CancelledError
            return act()

    def close(self) -> None:
        """Start no more jobs; running jobs are not waited for."""
        with self._lock:
            self._closed = True
            if self._executor is not None:
                self._executor.shutdown(wait=False, cancel_futures=True)


def refuse_worker_count(workers: int) -> None:
    """Raise UsageError for fewer workers than one, or a script that cannot have several; before anything is written."""
    if whole_number(workers, "the number of workers", 1) > 1:
        refuse_unguarded_script()


def refuse_unguarded_script() -> None:
    """Raise UsageError where the script that runs would run again in each new process, since it tests no __name__."""
    main = sys.modules["__main__"]
    path, module = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    if path is None or (module is not None and module.name.endswith("__main__")):  # a notebook, python -m PACKAGE
        return
    try:
        tests_name = b"__name__" in Path(path).read_bytes()
    except OSError:  # a script in an archive
        return
    if not tests_name:
        raise UsageError(
            f'{path} has no `if __name__ == "__main__":`, and each worker process imports it: put what it runs below'
            " such a line, or take one worker"
        )


def _run_here(
    function: Callable[[Job], Result], jobs: Iterable[Job], stopped: Callable[[], bool]
) -> Generator[tuple[Job, Result | LostJob], None, None]:
    for job in jobs:
        if stopped():
            return
        yield job, function(job)


def run_in_order(
    start: Callable[[], Executor],
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    window: int,
    stopped: Callable[[], bool],
    remote: bool = False,
) -> Generator[tuple[Job, Result | LostJob], None, None]:
    """Each job with its result, in the order of the jobs, with at most `window` jobs submitted at a time.

    start: makes the executor, again after a job has ended a worker; remote: the executor is a cluster, whose errors
    mean that the job was lost. The other parameters are those of `run_jobs`.
    """
    remaining = iter(jobs)
    executor = start()
    waiting: deque[tuple[Job, Future[Result]]] = deque()
    try:
        while not stopped():
            new = islice(remaining, window - len(waiting))
            waiting += [(job, _submit(executor, function, job)) for job in new]
            if not waiting:
                return
            job, future = waiting.popleft()
            result: Result | LostJob
            if not _wait_for_result(future, stopped):
                return
            try:
                result = future.result()
            except BrokenExecutor:  # one of the jobs ended its process: run the oldest alone, submit the others again
                executor.shutdown(wait=False)
                result = _run_alone(function, job)
                executor = start()
                waiting = deque((other, _submit(executor, function, other)) for other, _ in waiting)
            except Exception as error:
                if not remote:
                    raise
                result = LostJob(str(error))  # dask gave up the job: its workers died or cannot be reached
            yield job, result
    finally:
        for _, future in waiting:
            future.cancel()
        executor.shutdown(wait=not remote)  # a cluster drops the running jobs


def _submit(executor: Executor, function: Callable[[Job], Result], job: Job) -> Future[Result]:
    """The future of a job; one that failed like those under way, where a job has ended a process meanwhile."""
    try:
        return executor.submit(function, job)
    except BrokenExecutor as error:
        failed: Future[Result] = Future()
        failed.set_exception(error)
        return failed


def _wait_for_result(future: Future[Result], stopped: Callable[[], bool]) -> bool:
    """Whether the result is there, after waiting for it; False where the work was stopped first."""
    while not future.done():
        if stopped():
            return False
        wait_for([future], timeout=0.5)
    return True


def _run_alone(function: Callable[[Job], Result], job: Job) -> Result | LostJob:
    with _start_processes(1) as executor:
        try:
            return executor.submit(function, job).result()
        except BrokenExecutor as error:
            return LostJob(str(error))


def _start_processes(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of running zarr and Arrow threads
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker)


def _prepare_worker() -> None:
    """Let a worker ignore Ctrl-C, which its parent handles, and end when its parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


@contextmanager
def connect_cluster(address: str | None, workers: int) -> Iterator[Any]:
    """A dask.distributed.Client; None where `address` is None.

    Parameters
    ----------
    address : "local" for a cluster of processes on this machine, the address of a scheduler, or its scheduler file.
    workers : the number of processes of a local cluster.

    Raises
    ------
    MissingDependencyError : dask is not installed.
    UsageError : no scheduler answers at the address.
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
