"""How far a fetch is: files, bytes and failures, shown as they change."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ecd_data.work.progress import Progress, show_progress


class Tally:
    """Counts of a fetch under way; `came` may be called from any thread."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.files, self.failures, self.size = total, 0, 0, 0
        self._progress = progress
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def came(self, count: int) -> None:
        """Note bytes that came from the server."""
        with self._lock:
            self.size += count

    def finished(self, id: str, well: bool) -> None:
        """Note a file that is done or has failed."""
        self.files += 1
        self.failures += not well
        self._progress.show(self.files, f"{id} {'done' if well else 'failed'}: {self}")

    def shown(self) -> None:
        """Bring what the user sees up to date."""
        self._progress.show(self.files, str(self))

    def __str__(self) -> str:
        rate = self.size / max(time.monotonic() - self._began, 1e-9)
        return f"{self.size / 1e6:,.1f} MB, {rate / 1e6:.1f} MB/s, {self.failures:,} failed"


@contextmanager
def tally(total: int, progress: bool) -> Iterator[Tally]:
    """The Tally of a fetch of `total` files, which shows itself where `progress` is wanted."""
    with show_progress("fetching", total, progress) as shown:
        yield Tally(total, shown)
