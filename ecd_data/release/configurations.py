"""The configurations of `load_dataset("ecd", name)`: their names, the set of crystals of each and its store."""

from __future__ import annotations

from pathlib import Path

from ecd_data.errors import UsageError
from ecd_data.release.tasks import (
    Split,
    UnknownTaskError,
    find_task,
    load_split,
    set_of,
    task_names,
    unknown_name_error,
)
from ecd_data.store.data_root import find_store

PROBES = "probes-"
OWN_STORE = "store"  # the configuration for a store that is not a set of ECD
GAP = "gap_exp_eV"
SETS = ("pbe", "hse", "mp", "ood", "exp")


def configuration_names() -> list[str]:
    """The names that load_dataset("ecd", name) takes."""
    sets = [*SETS, f"{PROBES}pbe", f"{PROBES}hse"]
    return sets + [name for name in task_names(strict=True) if name not in sets]


def find_configuration(name: str | None) -> str:
    """The configuration that a name stands for, also the paper's name for a task.

    Raises UsageError, which suggests similar names, if there is no such configuration.
    """
    names = configuration_names()
    if name is None:
        raise UsageError(f'name a configuration, as in load_dataset("ecd", "hse"); there are {", ".join(names)}')
    if name in names:
        return name
    try:
        return find_task(name).name
    except UnknownTaskError:
        raise unknown_name_error(name, names, "configuration") from None


def set_of_configuration(configuration: str) -> str:
    """The set whose store has the crystals of a configuration: "pbe" for "probes-pbe" and "ecd_pbe"."""
    plain = configuration.removeprefix(PROBES)
    return plain if plain in SETS else find_task(plain).set


def make_absolute(root: str) -> str:
    """The absolute path of a store; a URL is returned unchanged."""
    return root if "://" in root else str(Path(root).expanduser().resolve())


def find_configuration_store(configuration: str, data_dir: str | Path | None, sample: bool = False) -> str:
    """The path or URL of the store that has the crystals of a configuration.

    Parameters
    ----------
    configuration : a name of `configuration_names`.
    data_dir : folder or URL that holds the stores; if None, the environment variable ECD_ROOT, else the embedded
        sample.
    sample : take the embedded sample in any case.

    Raises
    ------
    UsageError : there is no data for this configuration.
    """
    return make_absolute(find_store(set_of_configuration(configuration), data_dir, sample))


def load_official_split(configuration: str) -> Split:
    """The ids of a configuration by part, from the official lists of the benchmark."""
    plain = configuration.removeprefix(PROBES)
    return set_of(plain) if plain in SETS else load_split(plain)
