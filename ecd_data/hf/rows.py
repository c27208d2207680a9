"""Which crystals of a store belong to which split of a configuration."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

from ecd_data.errors import StoreError, UsageError
from ecd_data.release import tasks
from ecd_data.release.configurations import GAP, PROBES, SETS, load_official_split, set_of_configuration
from ecd_data.release.own_splits import read_split
from ecd_data.release.split_files import SUMS, read_gaps, splits_folder
from ecd_data.release.tasks import (
    PARTS,
    find_task,
    load_sample_split,
)
from ecd_data.store.index import INDEX

if TYPE_CHECKING:
    from pandas import DataFrame

    from ecd_data.store import Store

log = logging.getLogger("ecd_data")

COLUMNS = 2  # number of the table's layout, for the cache
SAMPLE_PARTS = ("geometries", "compositions", "pairs", "types")


def lists_hash() -> str:
    """A hash of this version with all lists that decide on splits, for the cache of prepared datasets."""
    from ecd_data import __version__

    lists = [splits_folder() / SUMS, tasks.SAMPLE_SPLIT_FILE]
    digest = hashlib.sha256(f"{__version__} {COLUMNS}".encode())
    for path in lists:
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]


def fingerprint(root: str) -> str:
    """A name of what the store at `root` holds now, so that a cache notices another index; raises StoreError."""
    import fsspec

    fs, path = fsspec.url_to_fs(f"{root}/{INDEX}")
    try:
        return f"{root} {fs.checksum(path)}"
    except FileNotFoundError as error:
        remedy = "set data_dir= or ECD_ROOT to the folder or URL that holds it, or unset ECD_ROOT for the sample"
        raise StoreError(f"{root} is not a store, it has no {INDEX}: {remedy}") from error


def rows_of(configuration: str, store: Store) -> DataFrame:
    """The crystals that a configuration has in `store`: their number in its index, id, split and test_part.

    The official split where the store has any of its ids, else the embedded sample's own; raises UsageError where the
    store has ids of neither. Of the set "exp" the experimental gap, gap_exp_eV, too.
    """
    import pandas as pd

    places = _official(configuration, store) or _sample(configuration, store)
    if not places:
        raise UsageError(
            f"none of the {len(store)} crystals of {store.root} is in the lists of {configuration}: "
            "give the folder of that set's store, or read this one with ecd_data.open_store"
        )
    found = [(number, id, *places[id]) for number, id in enumerate(store.ids) if id in places]
    frame = pd.DataFrame(found, columns=["number", "id", "split", "test_part"])
    if set_of_configuration(configuration) == "exp":
        gaps = {row[key]: float(row[GAP]) for row in read_gaps() for key in ("id", "sample_id")}
        frame[GAP] = frame["id"].map(gaps)
    return frame


def own_rows(store: Store, split_file: str | None = None) -> DataFrame:
    """The crystals of a store of one's own, as `rows_of` gives them; without a split all are in "train".

    Raises UsageError where the file is no split of the store, see `ecd_data.release.own_splits.read_split`.
    """
    import pandas as pd

    split = {"train": store.ids} if split_file is None else read_split(split_file, store)
    places = {id: part for part in PARTS for id in split.get(part, [])}
    found = [(number, id, places[id], None) for number, id in enumerate(store.ids) if id in places]
    return pd.DataFrame(found, columns=["number", "id", "split", "test_part"])


Places = dict[str, tuple[str, str | None]]


def _official(configuration: str, store: Store) -> Places:
    plain = configuration.removeprefix(PROBES)
    split = load_official_split(configuration)
    places: Places = {id: (part, None) for part in PARTS for id in split.get(part, [])}
    if plain.startswith("exp"):  # the sample's crystals have names of their own for the compounds of the list
        places |= {row["sample_id"]: ("test", None) for row in read_gaps() if row["sample_id"] in store}
    found = {id: place for id, place in places.items() if id in store}
    total = sum(len(split.get(part, [])) for part in PARTS)
    if found and len(found) < total:
        absent = total - len(found)
        log.warning("%s: %d of the list's %d crystals are not in %s", configuration, absent, total, store.root)
    return found


def _sample(configuration: str, store: Store) -> Places:
    name = set_of_configuration(configuration)
    if name not in ("pbe", "hse", "ood"):
        return {}
    split = load_sample_split(name)
    plain = configuration.removeprefix(PROBES)
    parts = PARTS if plain in SETS else find_task(plain).parts
    kinds = {id: kind for kind in SAMPLE_PARTS for id in split.get(f"test_{kind}", [])}
    return {id: (part, kinds.get(id)) for part in parts for id in split[part] if id in store}
