"""Seconds that named steps of a computation take, such as finding neighbours inside a prediction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_seconds: ContextVar[dict[str, float] | None] = ContextVar("seconds", default=None)


@contextmanager
def measure_steps() -> Iterator[dict[str, float]]:
    """A dictionary that gets the seconds of each step, by its name, that runs inside the block in this thread."""
    token = _seconds.set({})
    try:
        seconds = _seconds.get()
        assert seconds is not None
        yield seconds
    finally:
        _seconds.reset(token)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Count the time of the block as a step of this name, where somebody measures."""
    seconds = _seconds.get()
    start = time.perf_counter()
    try:
        yield
    finally:
        if seconds is not None:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


def clocked(name: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """A decorator: the calls of a function count as steps of this name; it costs a microsecond."""

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @wraps(function)
        def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            if _seconds.get() is None:
                return function(*args, **kwargs)
            with step(name):
                return function(*args, **kwargs)

        return call

    return decorate
