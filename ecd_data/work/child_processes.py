"""Programs that run as child processes, started from several threads and ended together."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # several programs run at a time, one on each core


class ChildProcesses:
    """Child processes of one thread each; a copy in another process or on another machine starts with none."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def __reduce__(self) -> tuple[Any, ...]:
        return ChildProcesses, ()

    def run(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], output: IO[str] | None = None
    ) -> tuple[int, str]:
        """The exit status and error output of a command, after it has ended.

        Parameters
        ----------
        command : the program and its arguments.
        folder : the folder that it runs in.
        environment : variables in addition to those of this process.
        output : a file for both outputs; the error output that is returned is then empty.
        """
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output or subprocess.DEVNULL,
            stderr=subprocess.STDOUT if output else subprocess.PIPE,
            env={**os.environ, **environment, **ONE_THREAD},
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C must reach only this process, which then ends the program by `stop`
        )
        with self._lock:
            self._running = {p for p in self._running if p.poll() is None} | {process}
            if self._stopped:
                process.terminate()
        errors = process.communicate()[1]
        return process.returncode, errors or ""

    def stop(self) -> None:
        """End the processes that run; later ones are ended as soon as they start."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                if process.poll() is None:
                    process.terminate()
