"""Pieces of work for compiled functions that let go of the interpreter, on as many threads as torch may use."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import torch


def share(count: int, size: int, worker: Callable[[], Callable[[int, int], None]]) -> None:
    """Have range(count) done in pieces start..stop of `size`, each thread by a function of its own from `worker()`."""
    starts, lock = iter(range(0, count, size)), Lock()

    def run() -> None:
        work = worker()
        while True:
            with lock:
                start = next(starts, None)
            if start is None:
                return
            work(start, min(count, start + size))

    threads = min(torch.get_num_threads(), -(-count // size))
    if threads <= 1:
        return run()
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(run) for _ in range(threads)]:
            future.result()
