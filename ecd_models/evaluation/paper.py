"""The tables of the ECD paper, from paper.toml beside this module."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any


@cache
def read_paper() -> dict[str, Any]:
    """The title of the paper, and table1 to table5, each with its source and rows."""
    return tomllib.loads(Path(__file__).with_name("paper.toml").read_text(encoding="utf-8"))
