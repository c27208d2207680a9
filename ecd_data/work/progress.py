"""The progress of long work: rich's bar on a terminal, and a line for each item elsewhere, as in a job's log file.

The lines are our own, since rich and tqdm redraw a bar, which fills a log file with control characters.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ecd_data.safe_text import printable

Item = TypeVar("Item")

MANY_ITEMS = 1000  # from this number of items on a log gets at most one line in PAUSE_SECONDS
PAUSE_SECONDS = 1.0
SILENCE_SECONDS = 30.0  # after this time without a line one is printed although no item was completed


class Progress:
    """The progress of one work. This class counts and shows nothing, for a quiet call.

    on_terminal: whether a bar is shown. All methods may be called from any thread.
    """

    on_terminal = False

    def __init__(self, what: str, total: int | None) -> None:
        self.what, self.total, self.done = what, total, 0
        self._lock = threading.Lock()

    def advance(self, name: str = "", count: int = 1) -> None:
        """Count `count` more items as done; `name` is that of the last one."""
        with self._lock:
            self.done += count
            self._show(name)

    def show(self, done: int, note: str = "", total: int | None = None) -> None:
        """Set the number of items done, and show a note; `total` sets the number of all items."""
        with self._lock:
            self.done, self.total = done, self.total if total is None else total
            self._show(note)

    def say(self, line: str) -> None:
        """Print a line about a failure, above the bar where there is one; a quiet call prints it too."""
        print(printable(line), file=sys.stderr, flush=True)

    def _show(self, note: str) -> None:
        pass


class _Lines(Progress):
    def __init__(self, what: str, total: int | None) -> None:
        super().__init__(what, total)
        self._printed = 0
        self._last = time.monotonic()
        if total:
            self.say(f"{what}: 0 of {total:,}")

    def _show(self, note: str) -> None:
        since = time.monotonic() - self._last
        many = (self.total or 0) > MANY_ITEMS and self.done != self.total
        if (self.done != self._printed and not (many and since < PAUSE_SECONDS)) or since >= SILENCE_SECONDS:
            self._printed, self._last = self.done, time.monotonic()
            of = "" if self.total is None else f" of {self.total:,}"
            self.say(f"{self.what}: {self.done:,}{of}" + (f", {note}" if note else ""))


class _Bar(Progress):
    on_terminal = True

    def __init__(self, what: str, total: int | None, bar: Any) -> None:
        super().__init__(what, total)
        self._bar, self._task = bar, bar.add_task(what, total=total, note="")

    def say(self, line: str) -> None:
        self._bar.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def _show(self, note: str) -> None:
        self._bar.update(self._task, completed=self.done, total=self.total, note=printable(note))


_hidden = False  # whether the process shows no progress at all


def hide_progress(hidden: bool = True) -> None:
    """Let the works of this process show no progress, whatever they want; with False, let them again."""
    global _hidden
    _hidden = hidden


@contextmanager
def show_progress(what: str, total: int | None, wanted: bool = True) -> Iterator[Progress]:
    """The Progress of a work, shown on stderr.

    Parameters
    ----------
    what : what is done, as in "verifying".
    total : the number of items; None while it is unknown.
    wanted : whether anything is shown; after `hide_progress` nothing is.
    """
    if not wanted or _hidden:
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
    with Bars(*columns, TextColumn("{task.fields[note]}", markup=False), console=Console(stderr=True)) as bar:
        yield _Bar(what, total, bar)


def track_progress(
    items: Iterable[Item], total: int, what: str, wanted: bool, name: Callable[[Item], str] = lambda item: ""
) -> Iterator[Item]:
    """The items, each counted as done when the next one is requested; `name` gives the name of an item in a line.

    The other parameters are those of `show_progress`.
    """
    with show_progress(what, total, wanted) as progress:
        for item in items:
            yield item
            progress.advance(name(item))
