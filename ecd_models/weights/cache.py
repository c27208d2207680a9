"""The user's cache of published weights: each file is downloaded once and checked against its recorded hash."""

from __future__ import annotations

import errno
import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

from ecd_data.dft.pseudopotentials import cache_folder
from ecd_data.download.http_answers import TransferError
from ecd_data.download.partial_files import remove_spool
from ecd_data.download.transfer import Connection, Patience, RequestGate
from ecd_data.errors import EcdError, StoreError
from ecd_data.io.lock import lock_folder
from ecd_data.io.network import refuse_network
from ecd_models.weights.catalogue import PublishedWeights

log = logging.getLogger("ecd_models")

PATIENCE = Patience(retries=3)  # few, since a user is waiting
MAX_WAIT = 900.0  # seconds that another process may take to download to the same cache
LFS_POINTER = b"version https://git-lfs"  # the first bytes of the file that git has in place of one in Git LFS


def compute_git_hash(path: Path) -> str:
    """The hash by which git stores the content of a file."""
    size = path.stat().st_size
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def cached_path(weights: PublishedWeights) -> Path:
    """The path of a published network's file in the cache; the hash in its name keeps versions apart."""
    return cache_folder() / "models" / f"{weights.name}-{weights.blob[:12]}.pt"


def is_cached(weights: PublishedWeights) -> bool:
    """Whether the whole file is in the cache."""
    path = cached_path(weights)
    return path.is_file() and compute_git_hash(path) == weights.blob


def fetch_weights(weights: PublishedWeights) -> Path:
    """The path of a published network's file in the cache, into which it is downloaded the first time.

    An interrupted download is continued. A file whose git hash is not the recorded one is removed and downloaded once
    more.

    Raises
    ------
    EcdError : the server cannot be reached, the disk is full, or the content is not the recorded one.
    """
    path = cached_path(weights)
    if is_cached(weights):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        release = _lock_cache(path.parent, weights)
        try:
            if not is_cached(weights):  # another process may have fetched it meanwhile
                _download(weights, path)
        finally:
            release()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        fault = "the disk is full" if full else f"it cannot be written ({error.strerror or error})"
        raise EcdError(
            f"{weights.name} cannot be kept in {path.parent}, {fault}: "
            + ("free some space" if full else "name another folder with $ECD_CACHE")
            + " and run the same command again"
        ) from error
    return path


def _lock_cache(folder: Path, weights: PublishedWeights) -> Callable[[], object]:
    """A function that releases the lock on the cache, which is taken once no other process downloads to it."""
    until = time.monotonic() + MAX_WAIT
    while True:
        try:
            return lock_folder(folder, weights)
        except StoreError as error:
            if time.monotonic() > until:
                raise EcdError(
                    f"{weights.name}: another process has been downloading to {folder} for {MAX_WAIT / 60:.0f}"
                    " minutes: end it, or name another folder with $ECD_CACHE"
                ) from error
            time.sleep(0.2)


def _download(weights: PublishedWeights, path: Path) -> None:
    """Download to the cache; an interrupted download is continued from its partial file."""
    spool = path.with_name(path.name + ".part")
    refuse_network(f"{weights.name}, which is not in the cache ({path}),")
    log.info("%s: downloading %s to %s", weights.name, weights.url, path)
    connection = Connection(PATIENCE, RequestGate(), 0, lambda count: None)
    try:
        for _ in range(2):
            body = connection.download(weights.url, spool)
            digest = compute_git_hash(body.path)
            if digest == weights.blob:
                _move_to_cache(weights, spool, path)
                return
            remove_spool(spool)
    except TransferError as error:
        raise EcdError(
            f"{weights.name} is not in the cache and could not be downloaded ({error}); if you have the file, copy it"
            f" to {path} (git hash-object prints {weights.blob})"
        ) from error
    finally:
        connection.close()
    raise EcdError(
        f"{weights.url} is not the file that was published (git hash {digest}, recorded {weights.blob}): nothing was"
        " kept; a proxy may have altered it, so try another network"
    )


def _move_to_cache(weights: PublishedWeights, spool: Path, path: Path) -> None:
    """Give a complete download its name; raises EcdError if it is only a pointer to Git LFS."""
    with spool.open("rb") as file:
        is_pointer = file.read(len(LFS_POINTER)) == LFS_POINTER
    if is_pointer:
        remove_spool(spool)
        raise EcdError(
            f"{weights.source} is kept in Git LFS, from which nothing is fetched here: clone the repository with"
            " git lfs and give the path of its file"
        )
    spool.replace(path)
    remove_spool(spool)
