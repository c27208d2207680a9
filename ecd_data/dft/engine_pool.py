"""The threads or Dask workers that run the steps of an engine, and their end after an error or a signal."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ecd_data.dft.engine import Engine

if TYPE_CHECKING:
    from ecd_data.work.process_pool import Cluster


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Within it SIGTERM, as batch systems send it, exits like Ctrl-C, so that no engine keeps running alone."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets only the main thread change handlers
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def open_pool(engine: Engine, processes: int, cluster: Cluster | None = None) -> Iterator[Executor]:
    """The threads or Dask workers that run the steps; after an error or Ctrl-C all runs on this machine are stopped."""
    pool = ThreadPoolExecutor(processes) if cluster is None else cluster.get_executor(pure=False)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        engine.stop()
        raise
    finally:
        pool.shutdown(wait=cluster is None)
