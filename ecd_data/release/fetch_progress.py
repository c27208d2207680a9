"""How far a fetch is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("ecd_data")

LINE_SECONDS = 30.0


class Tally:
    """Counts of a fetch under way; `came` may be called from any thread."""

    def __init__(self, total: int) -> None:
        self.total, self.files, self.failures, self.size = total, 0, 0, 0
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def came(self, count: int) -> None:
        """Note bytes that came from the server."""
        with self._lock:
            self.size += count

    def finished(self, well: bool) -> None:
        """Note a file that is done or has failed."""
        self.files += 1
        self.failures += not well

    def shown(self) -> None:
        """Bring what the user sees up to date."""

    def __str__(self) -> str:
        rate = self.size / max(time.monotonic() - self._began, 1e-9)
        return f"{self.size / 1e6:,.1f} MB, {rate / 1e6:.1f} MB/s, {self.failures:,} failed"


class _Lines(Tally):
    _last = 0.0

    def shown(self) -> None:
        now = time.monotonic()
        self._last = self._last or now
        if now - self._last >= LINE_SECONDS:
            self._last = now
            log.info("fetching: %d of %d files, %s", self.files, self.total, self)


@contextmanager
def tally(total: int, progress: bool) -> Iterator[Tally]:
    """The Tally of a fetch of `total` files, which shows itself where `progress` is wanted."""
    if not progress:
        yield Tally(total)
    elif not sys.stderr.isatty():
        yield _Lines(total)
    else:
        yield from _bar(total)


def _bar(total: int) -> Iterator[Tally]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("fetching"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, TextColumn("{task.fields[counts]}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total, counts="")

        class Bar(Tally):
            def shown(self) -> None:
                bar.update(task, completed=self.files, counts=str(self))

        yield Bar(total)
