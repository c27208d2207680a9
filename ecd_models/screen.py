"""Progress on the terminal; plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ecd_models.training import Progress


@contextmanager
def training_progress(steps: int, shown: bool = True) -> Iterator[Callable[[Progress], None] | None]:
    """A function that shows a training's progress: a bar on a terminal, else a line a validation."""
    if not shown:
        yield None
        return
    pace = Pace()
    if sys.stderr.isatty():
        with _bar(steps, "training", "{task.fields[errors]}") as (bar, task):

            def move(p: Progress) -> None:
                bar.update(task, completed=p.step, errors=f"{pace(p)}  {_errors(p)}")

            yield move
    else:
        last: list[float | None] = [None]

        def line(p: Progress) -> None:
            speed = pace(p)
            if p.validation_error != last[0]:
                last[0] = p.validation_error
                print(f"step {p.step}/{p.steps}  {_errors(p)}  {speed}{pace.left(p)}", file=sys.stderr, flush=True)

        yield line


class Pace:
    """How fast a training goes, from the steps that were told: an average that forgets, so that pauses pass."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._seconds = 0.0

    def __call__(self, p: Progress) -> str:
        """Crystals and probes a second, empty after the first step."""
        now = time.monotonic()
        if self._last is not None:
            taken = now - self._last
            self._seconds = 0.98 * self._seconds + 0.02 * taken if self._seconds else taken
        self._last = now
        if not self._seconds:
            return ""
        return f"{p.crystals / self._seconds:,.1f} crystals/s, {p.probes / self._seconds:,.0f} probes/s"

    def left(self, p: Progress) -> str:
        """The time that the remaining steps will take."""
        seconds = (p.steps - p.step) * self._seconds
        unit, name = (1, "s") if seconds < 120 else (60, "min") if seconds < 7200 else (3600, "h")
        return f", {seconds / unit:.0f} {name} left" if seconds else ""


def _errors(p: Progress) -> str:
    parts = [f"train {100 * p.train_error:.2f} %"] if p.train_error == p.train_error else []
    if p.validation_error is not None and p.best_error is not None:
        parts.append(f"validation {100 * p.validation_error:.3f} % (best {100 * p.best_error:.3f} %)")
    return "eps_mae: " + ", ".join(parts)


@contextmanager
def evaluation_progress(shown: bool = True) -> Iterator[Callable[[int, int, str, float], None] | None]:
    """A function that shows how far an evaluation is: a bar on a terminal, else a line a crystal."""
    if not shown:
        yield None
    elif sys.stderr.isatty():
        with _bar(None, "evaluating", "{task.fields[errors]}") as (bar, task):
            yield lambda done, total, id, error: bar.update(
                task, completed=done, total=total, errors=f"{id}: {100 * error:.2f} %"
            )
    else:
        yield lambda done, total, id, error: print(f"{done}/{total} {id}: {100 * error:.3f} %", file=sys.stderr)


@contextmanager
def counting(what: str, total: int, shown: bool = True) -> Iterator[Callable[[int], None] | None]:
    """A function that advances a bar by a number of `what`; nothing off a terminal."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    with _bar(total, what, "") as (bar, task):
        yield lambda n: bar.update(task, advance=n)


@contextmanager
def _bar(total: int | None, description: str, extra: str) -> Iterator[tuple]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, TextColumn(extra), console=Console(stderr=True)) as bar:
        yield bar, bar.add_task(description, total=total, errors="")
