"""Configurations: the names that `load_dataset("ecd", name)` takes, the set behind each, and where its store lies."""

from __future__ import annotations

from pathlib import Path

from ecd_data.errors import UsageError
from ecd_data.release.tasks import Split, UnknownTaskError, find_task, load_split, set_of, task_names, unknown
from ecd_data.store.data_root import find_store

PROBES = "probes-"
OWN = "store"  # the configuration of a store of one's own
GAP = "gap_exp_eV"
SETS = ("pbe", "hse", "mp", "ood", "exp")


def configurations() -> list[str]:
    """The names that load_dataset("ecd", name) takes."""
    sets = [*SETS, f"{PROBES}pbe", f"{PROBES}hse"]
    return sets + [name for name in task_names(strict=True) if name not in sets]


def configuration(name: str | None) -> str:
    """The configuration of a name or of the paper's name for a task; raises UsageError with near names."""
    known = configurations()
    if name is None:
        raise UsageError(f'name a configuration, as in load_dataset("ecd", "hse"); there are {", ".join(known)}')
    if name in known:
        return name
    try:
        return find_task(name).name
    except UnknownTaskError:
        raise unknown(name, known, "configuration") from None


def set_name(configuration: str) -> str:
    """The set whose store serves a configuration: "pbe" for "probes-pbe" and "ecd_pbe"."""
    plain = configuration.removeprefix(PROBES)
    return plain if plain in SETS else find_task(plain).set


def absolute(root: str) -> str:
    """The root as it can be found from any folder: URLs as they are."""
    return root if "://" in root else str(Path(root).expanduser().resolve())


def locate(configuration: str, data_dir: str | Path | None, sample: bool = False) -> str:
    """The root of the store that serves a configuration, found as open_store finds it; with `sample`, the sample's.

    Raises UsageError where there is no data for it.
    """
    return absolute(find_store(set_name(configuration), data_dir, sample))


def official_split(configuration: str) -> Split:
    """The ids of a configuration by part, as the benchmark's lists have them."""
    plain = configuration.removeprefix(PROBES)
    return set_of(plain) if plain in SETS else load_split(plain)
