"""The crystals that an interrupted evaluation has finished, in a file of JSON lines, so that it can continue.

The first line says what is evaluated; each further one is the result of a crystal. Crystals that failed are not in it,
so that they are tried again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from ecd_data.errors import FormatError, UsageError
from ecd_data.io.atomic_write import write_whole
from ecd_models.evaluation.crystal_result import CrystalResult

ENDING = ".partial"


class PartialResults:
    """The finished crystals of an evaluation, which `add` writes to a file at once.

    Parameters
    ----------
    path : the file of the finished crystals; None keeps them in memory alone.
    identity : what is evaluated, as JSON holds it: task, part, hashes of data, split and weights.

    Raises
    ------
    UsageError : the file is of another evaluation.
    FormatError : a line that is not the last is damaged.
    """

    def __init__(self, path: Path | None, identity: dict[str, Any]) -> None:
        self.path, self.identity = path, identity
        self.crystals: dict[str, CrystalResult] = {}
        self._file: IO[str] | None = None
        if path is not None:
            self._open(path)

    def _open(self, path: Path) -> None:
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        complete = lines[:-1]  # an interrupted write leaves a last line without its end
        if complete:
            self._read(path, complete)
        kept = b"".join(line + b"\n" for line in complete) or (json.dumps(self.identity) + "\n").encode()
        with write_whole(path) as aside:
            aside.write_bytes(kept)
        self._file = path.open("a", encoding="utf-8")

    def _read(self, path: Path, lines: list[bytes]) -> None:
        try:
            identity, *records = map(json.loads, lines)
            results = [CrystalResult.model_validate(record) for record in records]
        except (ValueError, ValidationError) as error:
            raise FormatError(f"{path} is damaged ({' '.join(str(error).split())[:100]}): remove it") from None
        if identity != self.identity:
            other = next((key for key in self.identity if identity.get(key) != self.identity[key]), "format")
            raise UsageError(
                f"{path} is of an interrupted evaluation with another {other.replace('_', ' ')}: finish that one with "
                "its own command, or remove the file"
            )
        self.crystals = {result.id: result for result in results}

    def add(self, result: CrystalResult) -> None:
        """Keep a finished crystal."""
        self.crystals[result.id] = result
        if self._file is not None:
            self._file.write(result.model_dump_json() + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file, which stays until `remove_partial` is called after the results were written."""
        if self._file is not None:
            self._file.close()


def remove_partial(path: Path) -> None:
    """Remove the file of the finished crystals, after the results of the whole evaluation were written."""
    path.unlink(missing_ok=True)
