"""Where data lie: a path or URL, or a configuration name under the data root or in the embedded sample."""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path

from ecd_data.errors import UsageError
from ecd_data.io.locations import exists
from ecd_data.store.index import INDEX
from ecd_data.store.reader import Store

log = logging.getLogger("ecd_data")

CONFIGURATIONS = ("pbe", "hse", "mp", "ood", "exp")
EMBEDDED = {"pbe": "pbe", "hse": "hse", "ood": "ood", "exp": "pbe"}


def open_store(name: str | Path) -> Store:
    """The store at a path or fsspec URL, or the one of a configuration name ("pbe", "hse", ...).

    A configuration is looked for under $ECD_ROOT, then in the embedded sample. Raises StoreError where there is no
    store, UsageError for a configuration that is not at hand.
    """
    root = resolve(str(name)) if str(name) in CONFIGURATIONS and not Path(name).exists() else str(name)
    store = Store(root)
    len(store)  # raises where there is none
    return store


def resolve(configuration: str, data_dir: str | Path | None = None, sample: bool = False) -> str:
    """The root of the store that serves a configuration; one log line says when it is the embedded sample.

    sample: the caller wants the sample, which is then taken whatever ECD_ROOT says, without a line; data_dir= is where
    a copy of it lies. Raises UsageError where there is nothing for the configuration.
    """
    given = data_dir if sample else given_root(data_dir)
    if given:
        return configured(str(given), configuration)
    if sample and configuration in EMBEDDED:
        return embedded(configuration)
    if sample:
        raise UsageError(f"the embedded sample has nothing for {configuration!r}: it serves {', '.join(EMBEDDED)}")
    if configuration not in EMBEDDED:
        raise UsageError(
            f"no data for {configuration!r}: set ECD_ROOT (or data_dir=) to a folder or URL that holds "
            f"{configuration}.ecd; `ecd convert` makes such a store from CHGCAR files"
        )
    _say_once(configuration)
    return embedded(configuration)


def given_root(data_dir: str | Path | None = None) -> str | None:
    """The data root that a caller or the environment variable ECD_ROOT names, None where neither does."""
    return str(data_dir) if data_dir else os.environ.get("ECD_ROOT") or None


@cache
def _say_once(configuration: str) -> None:
    log.warning("%s: the embedded sample (set ECD_ROOT for the release)", configuration)


def configured(root: str, configuration: str) -> str:
    """The store of a configuration under a data root: ROOT/<configuration>.ecd, or ROOT where it is a store itself."""
    root = root.rstrip("/")
    return root if exists(f"{root}/{INDEX}") else f"{root}/{configuration}.ecd"


def embedded(configuration: str) -> str:
    """The path of the embedded sample's store for a configuration."""
    from importlib.resources import files

    return str(files("ecd_data.sample").joinpath(f"{EMBEDDED[configuration]}.ecd"))
