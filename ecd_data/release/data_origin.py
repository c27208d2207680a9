"""Where the data of a result come from: the official release, the embedded sample, or a store known by its hash.

store_hash: SHA-256 over a line "id, tab, SHA-256 of its bytes" for each crystal of the store's index, sorted. It reads
no density, stays the same when parts are merged or the store is copied, and changes with any crystal.
split_hash: SHA-256 over a line "part, tab, id" for each crystal of train, validation and test, sorted.
Of both the first 16 hex digits are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from ecd_data.errors import StoreError, UsageError
from ecd_data.release.configurations import PROBES, SETS, configuration, official_split, set_name
from ecd_data.release.split_files import tasks_table
from ecd_data.release.tasks import PARTS
from ecd_data.store import data_root
from ecd_data.store.reader import Store

RELEASE, SAMPLE = "release", "sample"
UNRELEASED = ("exp",)  # sets whose lists are ours: no data of them are official


@dataclass(frozen=True)
class Origin:
    """The data of a result: data_origin is "release", "sample" or the store's hash; with both hashes of the module."""

    data_origin: str
    store_hash: str
    split_hash: str

    def __str__(self) -> str:
        kind = f"the {self.data_origin}" if self.data_origin in (RELEASE, SAMPLE) else "neither release nor sample"
        return f"{kind} (store {self.store_hash}, split {self.split_hash})"

    def to_dict(self) -> dict[str, str]:
        """The fields as a dictionary, for JSON."""
        return asdict(self)


def origin_of(task: str, store: Store, parts: Mapping[str, Sequence[str]]) -> Origin:
    """The origin of the crystals in `parts` (ids by part) of the store that serves a configuration, `task`.

    "sample" is a store with just the embedded sample's crystals, wherever it lies; "release" is one that has every
    crystal of the configuration's official lists; any other is called by its hash, also a release that lacks some.
    """
    hashed = store_hash(store)
    official = {id for ids in official_split(task).values() for id in ids}
    if hashed in _sample_hashes(task):
        kind = SAMPLE
    elif official and set_name(task) not in UNRELEASED and all(id in store for id in official):
        kind = RELEASE
    else:
        kind = hashed
    return Origin(kind, hashed, split_hash(parts))


def store_hash(store: Store) -> str:
    """The hash of what a store holds, from its index alone."""
    table = store.columns("id", "sha256")
    pairs = zip(table["id"].to_pylist(), table["sha256"].to_pylist(), strict=True)
    return _hash(f"{id}\t{digest}" for id, digest in pairs)


def split_hash(parts: Mapping[str, Sequence[str]]) -> str:
    """The hash of which crystals train, validate and test."""
    return _hash(f"{part}\t{id}" for part in PARTS for id in parts.get(part, ()))


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


def _sample_hashes(task: str) -> list[str]:
    if set_name(task) not in data_root.SAMPLE_STORES:
        return []
    try:
        return [store_hash(Store(data_root.sample_store(set_name(task))))]
    except StoreError:  # a sample that is not installed
        return []


def named_officially(name: str) -> bool:
    """Whether a name is a task's of the benchmark, as "ecd_pbe" or the paper's "OOD-id", and not a set's, as "pbe"."""
    return name.strip().lower().removeprefix(PROBES) not in SETS


def refuse_unofficial(name: str, given: str | None) -> None:
    """Raise UsageError for an official task without a data root, for which only the sample would be left."""
    if named_officially(name) and not given:
        there = set_name(configuration(name)) in data_root.SAMPLE_STORES
        other = ", or say --sample (sample=True) for the embedded sample, and the result says so" if there else ""
        raise UsageError(
            f"{name} is a task of the benchmark, and its data are not here: set ECD_ROOT (or --data, data_dir=) to the "
            f"folder or URL of the release{other}"
        )


def check_origin(name: str, store: Store, sample: bool) -> None:
    """Raise UsageError where a store is not what the name of a task, or `sample`, says.

    An official task wants at least one crystal of its lists; sample=True wants none of them.
    """
    official = any(id in store for ids in official_split(configuration(name)).values() for id in ids)
    if sample and official:
        raise UsageError(f"{store.root} has crystals of the official lists of {name}: leave the sample's option out")
    if not sample and named_officially(name) and not official:
        raise UsageError(
            f"{name} is a task of the benchmark, and {store.root} has none of the crystals of its lists: give the "
            "folder of the release, or say --sample (sample=True) for the sample's crystals, and the result says so"
        )
    _check_functional(name, store)


def _check_functional(name: str, store: Store) -> None:
    """Raise UsageError where a hybrid's densities stand for PBE's or the other way round: many ids are in both sets."""
    needed = set_name(configuration(name))
    due = tasks_table()["sets"][needed]["functional"]
    there = {str(found) for found in store.columns("functional")["functional"].to_pylist() if found}
    hybrid = {found.upper().startswith("HSE") for found in there}
    if hybrid and due.upper().startswith("HSE") not in hybrid:
        raise UsageError(
            f"{name} is about {due} densities, and those of {store.root} are {', '.join(sorted(there))}: give the "
            f"folder that holds {needed}.ecd"
        )
