"""The base of all parts of results files and entries, which accept no unknown key and no infinite number."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A part of a file with a schema: an unknown key, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)
