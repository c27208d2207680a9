"""The crystals of a store by the splits of a configuration."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

from ecd_data.errors import StoreError, UsageError
from ecd_data.io.network import refuse_remote_url
from ecd_data.release import tasks
from ecd_data.release.configurations import GAP, PROBES, SETS, load_official_split, set_of_configuration
from ecd_data.release.data_origin import check_functional
from ecd_data.release.own_splits import read_split
from ecd_data.release.split_files import SUMS, read_gaps, splits_folder
from ecd_data.release.tasks import (
    PARTS,
    SAMPLE_PARTS,
    find_task,
    load_sample_split,
)
from ecd_data.store.index import INDEX

if TYPE_CHECKING:
    from pandas import DataFrame

    from ecd_data.store import Store

log = logging.getLogger("ecd_data")

COLUMNS = 3  # number of the table's layout, for the cache


def hash_lists() -> str:
    """A hash of the package's version and of all lists of splits, for the cache of prepared datasets."""
    from ecd_data import __version__

    lists = [splits_folder() / SUMS, tasks.SAMPLE_SPLIT_FILE]
    digest = hashlib.sha256(f"{__version__} {COLUMNS}".encode())
    for path in lists:
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]


def store_fingerprint(root: str) -> str:
    """A text that changes with the index of the store at `root`, for caches; raises StoreError if there is no store."""
    import fsspec

    refuse_remote_url(root)
    fs, path = fsspec.url_to_fs(f"{root}/{INDEX}")
    try:
        return f"{root} {fs.checksum(path)}"
    except FileNotFoundError as error:
        remedy = "set data_dir= or ECD_ROOT to the folder or URL that holds one, or unset ECD_ROOT for the sample"
        raise StoreError(f"{root} is not a store, it has no {INDEX}: {remedy}") from error


def select_rows(configuration: str, store: Store) -> DataFrame:
    """The crystals of a configuration in a store: their number in the index, id, split and kind.

    The split is the official one if the store has any id of it, else that of the embedded sample, whose validation and
    test crystals have a kind: what training has not seen of them, such as "compositions". The set "exp" has the
    measured gap, gap_exp_eV, too. Raises UsageError if the store has ids of neither split, or densities of another
    functional than the set.
    """
    import pandas as pd

    check_functional(configuration, store)
    parts = _find_official_parts(configuration, store) or _find_sample_parts(configuration, store)
    if not parts:
        raise UsageError(
            f"none of the {len(store)} crystals of {store.root} is in the lists of {configuration}: "
            "give the folder of that set's store, or read this one with ecd_data.open_store"
        )
    rows = [(number, id, *parts[id]) for number, id in enumerate(store.ids) if id in parts]
    frame = pd.DataFrame(rows, columns=["number", "id", "split", "kind"])
    if set_of_configuration(configuration) == "exp":
        gaps = {row[key]: float(row[GAP]) for row in read_gaps() for key in ("id", "sample_id")}
        frame[GAP] = frame["id"].map(gaps)
    return frame


def select_own_rows(store: Store, split_file: str | None = None) -> DataFrame:
    """The crystals of any store with the split of a file, as `select_rows` gives them; without a file all are in train.

    Raises UsageError if the file is no split of the store, see `ecd_data.release.own_splits.read_split`.
    """
    import pandas as pd

    split = {"train": store.ids} if split_file is None else read_split(split_file, store)
    parts = {id: part for part in PARTS for id in split.get(part, [])}
    rows = [(number, id, parts[id], None) for number, id in enumerate(store.ids) if id in parts]
    return pd.DataFrame(rows, columns=["number", "id", "split", "kind"])


PartById = dict[str, tuple[str, str | None]]


def _find_official_parts(configuration: str, store: Store) -> PartById:
    """The part of each crystal of the store in the official split, with None for its kind."""
    plain = configuration.removeprefix(PROBES)
    split = load_official_split(configuration)
    parts: PartById = {id: (part, None) for part in PARTS for id in split.get(part, [])}
    if plain.startswith("exp"):  # the embedded sample has other ids for the compounds of the list
        parts |= {row["sample_id"]: ("test", None) for row in read_gaps() if row["sample_id"] in store}
    found = {id: part for id, part in parts.items() if id in store}
    total = sum(len(split.get(part, [])) for part in PARTS)
    if found and len(found) < total:
        absent = total - len(found)
        log.warning("%s: %d of the list's %d crystals are not in %s", configuration, absent, total, store.root)
    return found


def _find_sample_parts(configuration: str, store: Store) -> PartById:
    """The part of each crystal of the store in the sample's split, and its kind."""
    name = set_of_configuration(configuration)
    if name not in ("pbe", "hse", "ood"):
        return {}
    split = load_sample_split(name)
    plain = configuration.removeprefix(PROBES)
    parts = PARTS if plain in SETS else find_task(plain).parts
    kinds = {id: part.partition("_")[2] for part in SAMPLE_PARTS for id in split.get(part, [])}
    return {id: (part, kinds.get(id)) for part in parts for id in split[part] if id in store}
