"""Ctrl-C for work in steps: the current step is completed, then the work ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_between_steps() -> Iterator[Callable[[], bool]]:
    """A function that says whether Ctrl-C or SIGTERM was received.

    Inside the block the first signal only makes the function true, so that the caller completes its step; a second one
    raises KeyboardInterrupt. An exception in the middle of a step would make exact resuming impossible, and Python
    ignores an exception inside a destructor. In other threads than the main one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    signals: list[int] = []

    def record(number: int, frame: object) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)

    handlers = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(signals)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
