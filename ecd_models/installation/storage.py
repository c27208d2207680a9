"""Data, models, caches, free disk space and processors."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from ecd_data.errors import EcdError
from ecd_data.io.network import OFFLINE, is_offline
from ecd_data.work.processors import count_processors
from ecd_models.installation.finding import Finding

LITTLE_SPACE = 2e9  # bytes; a conversion, a training or a download may need more
ERRORS = (OSError, ImportError, ValueError, RuntimeError, EcdError)  # RuntimeError: the user has no home folder


def examine_data() -> Iterator[Finding]:
    """The embedded sample, and the stores under ECD_ROOT."""
    from ecd_data.store.data_root import (
        CONFIGURATIONS,
        SAMPLE_STORES,
        configuration_store,
        find_data_root,
        sample_store,
    )
    from ecd_data.store.reader import Store

    counts = [f"{name} {len(Store(sample_store(name)))}" for name in SAMPLE_STORES if name != "exp"]
    yield Finding("embedded sample", "ok", f"crystals: {', '.join(counts)}")
    root = find_data_root()
    if root is None:
        remedy = "`ecd fetch ecd_hse data/hse.ecd`, then ECD_ROOT=data, uses the release"
        yield Finding("ECD_ROOT", "absent", "not set, so pbe, hse, ood and exp are the embedded sample", remedy)
        return
    with ThreadPoolExecutor(len(CONFIGURATIONS)) as threads:  # a server that does not answer is waited for once
        found = list(filter(None, threads.map(partial(_describe_store, root), CONFIGURATIONS)))
    if found and configuration_store(root, "pbe") == configuration_store(root, "hse"):
        remedy = "if it is not for all of them, name the folder that holds it as pbe.ecd, hse.ecd, ..."
        count = found[0].removeprefix("pbe ")
        yield Finding(
            "ECD_ROOT", "warning", f"{root}: one store of {count} for all of {', '.join(CONFIGURATIONS)}", remedy
        )
        return
    if found:
        yield Finding("ECD_ROOT", "ok", f"{root}: {', '.join(found)}")
        return
    remedy = "name the folder or URL that holds pbe.ecd, hse.ecd, ..., or unset it for the embedded sample"
    why = ", and URLs are not read offline" if is_offline() and "://" in root else ""
    yield Finding("ECD_ROOT", "warning", f"{root} holds none of {', '.join(CONFIGURATIONS)}{why}", remedy)


def _describe_store(root: str, name: str) -> str:
    """The name of a configuration and its number of crystals; empty where the root has no such store."""
    from ecd_data.store.data_root import configuration_store
    from ecd_data.store.reader import Store

    try:
        return f"{name} {len(Store(configuration_store(root, name))):,} crystals"
    except ERRORS:
        return ""


def examine_models() -> Iterator[Finding]:
    """The checkpoints of this package, and the published ones in the cache."""
    from ecd_models.weights.cache import is_cached
    from ecd_models.weights.catalogue import published_weights, shipped_checkpoints

    cached = [name for name, weights in published_weights().items() if is_cached(weights)]
    text = f"{len(shipped_checkpoints())} shipped, {len(cached)} of {len(published_weights())} published ones fetched"
    yield Finding("models", "ok", text + (f" ({', '.join(cached)})" if cached else "") + "; `ecd models` lists them")


def examine_network() -> Iterator[Finding]:
    """Whether the network may be used, and the mirrors; nothing is asked for."""
    state = f"{OFFLINE} forbids it" if is_offline() else "allowed"
    mirrors = [f"{name}={os.environ[name]}" for name in ("ECD_MIRROR", "ECD_MODELS_MIRROR") if os.environ.get(name)]
    yield Finding("network", "ok", ", ".join([state, *mirrors]))


def examine_disk() -> Iterator[Finding]:
    """The cache folders with their sizes, and the free space where ecd writes."""
    from ecd_data.dft.pseudopotentials import cache_folder

    cache = cache_folder()
    yield Finding("cache", "ok", f"{cache}: {_format_size(_folder_size(cache))} (ECD_CACHE names another)")
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")
    datasets = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets")
    text = f"{datasets}: {_format_size(sum(map(_folder_size, datasets.glob('ecd*'))))} of ecd"
    yield Finding("cache of datasets", "ok", f"{text} (HF_DATASETS_CACHE names another)")
    written = {"this folder": Path.cwd(), "cache": cache, "temporary files": Path(tempfile.gettempdir())}
    for name, folder in written.items():
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free
        little = free < LITTLE_SPACE
        yield Finding(
            f"free disk, {name}",
            "warning" if little else "ok",
            f"{_format_size(free)} at {there}",
            "free some space before a large conversion or download" if little else "",
        )


def _folder_size(folder: Path) -> int:
    """Bytes of all files in a folder; 0 where it does not exist. Files that vanish meanwhile are not counted."""
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                continue
    return size


def _format_size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def examine_processors() -> Iterator[Finding]:
    """The processors that this process may use, and the variables that limit the threads of libraries."""
    usable = f"{count_processors()} of {os.cpu_count()} processors may be used"
    limits = [f"{name}={os.environ[name]}" for name in THREADS if os.environ.get(name)]
    yield Finding("threads", "ok", ", ".join([usable, *limits]))


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
