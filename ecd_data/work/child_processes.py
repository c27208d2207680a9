"""The programs that an engine has under way in several threads, so that they end together."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Processes:
    """Processes of one thread each; a copy in another process or on another machine begins without any."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Processes, ()

    def run(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], output: IO[str] | None = None
    ) -> tuple[int, str]:
        """The exit status of a command run in `folder`, and its errors where `output` does not take them."""
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output or subprocess.DEVNULL,
            stderr=subprocess.STDOUT if output else subprocess.PIPE,
            env={**os.environ, **environment, **ONE_THREAD},
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C goes to us; we end the engine
        )
        with self._lock:
            self._running = {p for p in self._running if p.poll() is None} | {process}
            if self._stopped:
                process.terminate()
        errors = process.communicate()[1]
        return process.returncode, errors or ""

    def stop(self) -> None:
        """Ends the processes under way; later ones end at once."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                if process.poll() is None:
                    process.terminate()
