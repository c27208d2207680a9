"""Reads and replaces the header of a checkpoint, which stands before the weights, without changing these."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

from ecd_data.errors import FormatError, UsageError
from ecd_data.io.atomic_write import write_whole

LENGTH = struct.Struct("<Q")  # of the header in bytes
MAX_HEADER = 100_000_000  # bytes: the limit of safetensors itself; refuses damaged lengths


def read_header(path: str | Path) -> dict[str, str]:
    """The texts by name in the header of a safetensors file.

    Raises
    ------
    UsageError : the file does not exist.
    FormatError : it is not a safetensors file.
    """
    return dict(_parse_header(Path(path))[0].get("__metadata__", {}))


def write_header(path: str | Path, texts: dict[str, str]) -> None:
    """Add texts by name to the header of a safetensors file; they replace texts of the same names.

    Raises
    ------
    UsageError, FormatError : as `read_header`.
    """
    path = Path(path)
    header, start = _parse_header(path)
    header["__metadata__"] = {**header.get("__metadata__", {}), **texts}
    content = json.dumps(header, separators=(",", ":")).encode()
    content += b" " * (-len(content) % LENGTH.size)  # so that the weights begin at a multiple of 8
    with write_whole(path) as temporary, path.open("rb") as old, temporary.open("wb") as new:
        old.seek(start)
        new.write(LENGTH.pack(len(content)) + content)
        shutil.copyfileobj(old, new)


def _parse_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file and the position where its weights begin."""
    try:
        with path.open("rb") as file:
            (length,) = LENGTH.unpack(file.read(LENGTH.size))
            header = json.loads(file.read(min(length, MAX_HEADER)))
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: give the path of a checkpoint") from error
    except (struct.error, ValueError) as error:
        raise FormatError(f"{path} is not a safetensors file: give a checkpoint that `ecd train` wrote") from error
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise FormatError(f"{path} is not a safetensors file: give a checkpoint that `ecd train` wrote")
    return header, LENGTH.size + length
