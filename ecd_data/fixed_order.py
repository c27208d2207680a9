"""The hash that puts names in an order which looks random and is the same on every machine."""

from __future__ import annotations

import hashlib


def order_key(text: str, seed: int | None = None) -> str:
    """The SHA-256 of a text, or of "seed:text", as the key that sorts names; a seed gives another order."""
    return hashlib.sha256((text if seed is None else f"{seed}:{text}").encode()).hexdigest()
