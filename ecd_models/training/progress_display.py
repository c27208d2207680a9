"""Progress of trainings, evaluations and predictions: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ecd_data.work.progress import SILENCE_SECONDS, show_progress

if TYPE_CHECKING:
    from ecd_models.training.loop import Progress


@contextmanager
def training_progress(steps: int, shown: bool = True) -> Iterator[Callable[[Progress], None] | None]:
    """A function that shows a training's progress: a bar, or off a terminal a line for each validation and half minute.

    It is None if `shown` is false.
    """
    if not shown:
        yield None
        return
    pace = Pace()
    last: list[float | None] = [None]
    line_time = [time.monotonic()]
    with show_progress("training", steps, sys.stderr.isatty()) as bar:

        def report_step(p: Progress) -> None:
            speed = pace(p)
            if bar.on_terminal:
                bar.show(p.step, f"{speed}  {_errors(p)}")
            elif p.validation_error != last[0] or time.monotonic() - line_time[0] >= SILENCE_SECONDS:
                last[0], line_time[0] = p.validation_error, time.monotonic()
                bar.say(f"step {p.step}/{p.steps}  {_errors(p)}  {speed}{pace.time_left(p)}")

        yield report_step


class Pace:
    """The speed of a training, an average over the last hundred steps or so, so that a pause is soon forgotten."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._seconds = 0.0

    def __call__(self, p: Progress) -> str:
        """The crystals and probes per second as text, empty after the first step."""
        now = time.monotonic()
        if self._last is not None:
            seconds = now - self._last
            self._seconds = 0.98 * self._seconds + 0.02 * seconds if self._seconds else seconds
        self._last = now
        if not self._seconds:
            return ""
        return f"{p.crystals / self._seconds:,.1f} crystals/s, {p.probes / self._seconds:,.0f} probes/s"

    def time_left(self, p: Progress) -> str:
        """The time that the remaining steps will take, as text."""
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
    """A function that shows the progress of an evaluation: a bar, or off a terminal a line for each crystal."""
    if not shown:
        yield None
        return
    with show_progress("evaluating", None) as bar:
        yield lambda done, total, id, error: bar.show(done, f"{id}: {100 * error:.3f} %", total)


@contextmanager
def show_point_count(what: str, total: int, shown: bool = True) -> Iterator[Callable[[int], None] | None]:
    """A function that advances a bar by a number of points; off a terminal None, and a line is printed at the end."""
    if not shown:
        yield None
        return
    with show_progress(what, total, sys.stderr.isatty()) as bar:
        yield (lambda count: bar.advance(count=count)) if bar.on_terminal else None
    if not bar.on_terminal:
        bar.say(f"{what}: {total:,} grid points predicted")
