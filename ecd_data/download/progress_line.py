"""The progress line of a fetch: counts of files, bytes and failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ecd_data.work.progress import Progress, show_progress


class Tally:
    """Counts of files, failures and bytes of a fetch; `add_bytes` may be called from any thread."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.files, self.failures, self.size = total, 0, 0, 0
        self._progress = progress
        self._lock = threading.Lock()
        self._started = time.monotonic()

    def add_bytes(self, count: int) -> None:
        """Count bytes that arrived from the server."""
        with self._lock:
            self.size += count

    def finish_file(self, id: str, success: bool) -> None:
        """Count a file that is done or has failed."""
        self.files += 1
        self.failures += not success
        self._progress.show(self.files, f"{id} {'done' if success else 'failed'}: {self}")

    def refresh(self) -> None:
        """Show the present counts."""
        self._progress.show(self.files, str(self))

    def __str__(self) -> str:
        rate = self.size / max(time.monotonic() - self._started, 1e-9)
        return f"{self.size / 1e6:,.1f} MB, {rate / 1e6:.1f} MB/s, {self.failures:,} failed"


@contextmanager
def tally(total: int, progress: bool) -> Iterator[Tally]:
    """The Tally of a fetch of `total` files; with `progress` it is shown."""
    with show_progress("fetching", total, progress) as shown:
        yield Tally(total, shown)
