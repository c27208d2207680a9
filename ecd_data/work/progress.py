"""How far long work is: a bar on a terminal, and a line an item elsewhere, as in the log file of a batch job."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ecd_data.safe_text import printable

Item = TypeVar("Item")

MANY = 1000  # items; of more, those that come within PAUSE_SECONDS of the last line get none, so that a log stays short
PAUSE_SECONDS = 1.0
SILENCE_SECONDS = 30.0  # after which a line is due although no item has ended


class Progress:
    """How far one work is; this one counts and shows nothing, which is what a quiet call gets.

    on_terminal: whether a bar is shown. All methods may be called from any thread.
    """

    on_terminal = False

    def __init__(self, what: str, total: int | None) -> None:
        self.what, self.total, self.done = what, total, 0
        self._lock = threading.Lock()

    def advance(self, name: str = "", count: int = 1) -> None:
        """Note that `count` items are done, the last one of this name."""
        with self._lock:
            self.done += count
            self._show(name)

    def show(self, done: int, told: str = "", total: int | None = None) -> None:
        """Note how many items are done in all and what is to be told of them; `total` where it is known only now."""
        with self._lock:
            self.done, self.total = done, self.total if total is None else total
            self._show(told)

    def say(self, line: str) -> None:
        """Print a line, above the bar where there is one, also in a quiet call: for what went wrong."""
        print(printable(line), file=sys.stderr, flush=True)

    def _show(self, told: str) -> None:
        pass


class _Lines(Progress):
    def __init__(self, what: str, total: int | None) -> None:
        super().__init__(what, total)
        self._printed = 0
        self._last = time.monotonic()
        if total:
            self.say(f"{what}: 0 of {total:,}")

    def _show(self, told: str) -> None:
        since = time.monotonic() - self._last
        many = (self.total or 0) > MANY and self.done != self.total
        if (self.done != self._printed and not (many and since < PAUSE_SECONDS)) or since >= SILENCE_SECONDS:
            self._printed, self._last = self.done, time.monotonic()
            of = "" if self.total is None else f" of {self.total:,}"
            self.say(f"{self.what}: {self.done:,}{of}" + (f", {told}" if told else ""))


class _Bar(Progress):
    on_terminal = True

    def __init__(self, what: str, total: int | None, bar: Any) -> None:
        super().__init__(what, total)
        self._bar, self._task = bar, bar.add_task(what, total=total, told="")

    def say(self, line: str) -> None:
        self._bar.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def _show(self, told: str) -> None:
        self._bar.update(self._task, completed=self.done, total=self.total, told=printable(told))


@contextmanager
def progress_of(what: str, total: int | None, wanted: bool = True) -> Iterator[Progress]:
    """The Progress of a work of `total` items (None: not known yet), shown on stderr where it is wanted."""
    if not wanted:
        yield Progress(what, total)
        return
    if not sys.stderr.isatty():
        yield _Lines(what, total)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = TextColumn(escape(what)), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Bars(*columns, TextColumn("{task.fields[told]}", markup=False), console=Console(stderr=True)) as bar:
        yield _Bar(what, total, bar)


def tracked(
    items: Iterable[Item], total: int, what: str, wanted: bool, name: Callable[[Item], str] = lambda item: ""
) -> Iterator[Item]:
    """The items, each noted as done when the next one is asked for; `name` is what a line calls it."""
    with progress_of(what, total, wanted) as progress:
        for item in items:
            yield item
            progress.advance(name(item))
