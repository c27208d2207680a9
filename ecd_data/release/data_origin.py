"""The origin of the data behind a result: the official release, the embedded sample, or a store named by its hash.

store_hash is the SHA-256 of sorted lines, one for each crystal of the store's index: its id, a tab, the SHA-256 of its
bytes. It needs no density. Merging and copying a store keep it, any change of a crystal changes it.
split_hash is the SHA-256 of sorted lines, one for each crystal of train, validation, test and the finer parts that the
embedded sample has of them: the part, a tab, the id.
Both are cut to their first 16 hexadecimal digits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from ecd_data.errors import StoreError, UsageError
from ecd_data.release.configurations import PROBES, SETS, find_configuration, load_official_split, set_of_configuration
from ecd_data.release.split_files import read_tasks
from ecd_data.release.tasks import PARTS, SAMPLE_PARTS
from ecd_data.store import data_root
from ecd_data.store.reader import Store

RELEASE, SAMPLE = "release", "sample"
UNOFFICIAL_SETS = ("exp",)  # the paper did not publish their lists, so ours cannot promise official data


@dataclass(frozen=True)
class Origin:
    """The origin of the data behind a result.

    data_origin is "release", "sample" or the hash of the store; store_hash and split_hash are those of the module's
    docstring.
    """

    data_origin: str
    store_hash: str
    split_hash: str

    def __str__(self) -> str:
        kind = f"the {self.data_origin}" if self.data_origin in (RELEASE, SAMPLE) else "neither release nor sample"
        return f"{kind} (store {self.store_hash}, split {self.split_hash})"

    def to_dict(self) -> dict[str, str]:
        """The fields as a dictionary, for JSON."""
        return asdict(self)


def find_origin(task: str, store: Store, parts: Mapping[str, Sequence[str]]) -> Origin:
    """The Origin of the crystals that a result was computed from.

    The origin is "sample" for a store with exactly the crystals of the embedded sample, and "release" for a store with
    every crystal of the official lists. Any other store, also an incomplete release, is named by its hash.

    Parameters
    ----------
    task : the configuration that the result is about.
    store : the store that was read.
    parts : the ids by part ("train", "validation", "test", "test_compositions" ...) that were used.
    """
    hashed = store_hash(store)
    official = {id for ids in load_official_split(task).values() for id in ids}
    if hashed in _sample_hashes(task):
        kind = SAMPLE
    elif official and set_of_configuration(task) not in UNOFFICIAL_SETS and all(id in store for id in official):
        kind = RELEASE
    else:
        kind = hashed
    return Origin(kind, hashed, split_hash(parts))


def store_hash(store: Store) -> str:
    """The hash of the crystals of a store, computed from its index."""
    table = store.columns("id", "sha256")
    pairs = zip(table["id"].to_pylist(), table["sha256"].to_pylist(), strict=True)
    return _hash(f"{id}\t{digest}" for id, digest in pairs)


def split_hash(parts: Mapping[str, Sequence[str]]) -> str:
    """The hash of the ids by part, see the module's docstring."""
    return _hash(f"{part}\t{id}" for part in (*PARTS, *SAMPLE_PARTS) for id in parts.get(part, ()))


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


def _sample_hashes(task: str) -> list[str]:
    if set_of_configuration(task) not in data_root.SAMPLE_STORES:
        return []
    try:
        return [store_hash(Store(data_root.sample_store(set_of_configuration(task))))]
    except StoreError:  # the sample is not installed
        return []


def is_official_name(name: str) -> bool:
    """Whether a name is a task of the benchmark, such as "ecd_pbe" or "OOD-id", and not a set, such as "pbe"."""
    return name.strip().lower().removeprefix(PROBES) not in SETS


def refuse_unofficial(name: str, data_dir: str | None) -> None:
    """Raise UsageError for a task of the benchmark without a folder of data, where only the sample would be left."""
    if is_official_name(name) and not data_dir:
        has_sample = set_of_configuration(find_configuration(name)) in data_root.SAMPLE_STORES
        other = ", or say --sample (sample=True) for the embedded sample, and the result says so" if has_sample else ""
        raise UsageError(
            f"{name} is a task of the benchmark, and its data are not here: set ECD_ROOT (or --data, data_dir=) to the "
            f"folder or URL of the release{other}"
        )


def check_origin(name: str, store: Store, sample: bool) -> None:
    """Raise UsageError if a store does not fit the name of a task.

    A task of the benchmark needs at least one crystal of its lists in the store, unless `sample` is true; then the
    store must have none of them. The functional of the densities must be that of the task.
    """
    official = any(id in store for ids in load_official_split(find_configuration(name)).values() for id in ids)
    if sample and official:
        raise UsageError(
            f"{store.root} has crystals of the official lists of {name}, so it is not the sample: leave out --sample "
            "(sample=True)"
        )
    if not sample and is_official_name(name) and not official:
        raise UsageError(
            f"{name} is a task of the benchmark, and {store.root} has none of the crystals of its lists: give the "
            "folder of the release, or say --sample (sample=True) for the sample's crystals, and the result says so"
        )
    check_functional(name, store)


def check_functional(name: str, store: Store) -> None:
    """Raise UsageError if a configuration of HSE06 meets densities of PBE alone, or the other way round."""
    set_name = set_of_configuration(find_configuration(name))
    data_root.refuse_other_functional(store, name, read_tasks()["sets"][set_name]["functional"], set_name)
