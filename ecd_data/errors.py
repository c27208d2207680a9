"""The errors that users see, and what their messages suggest: similar ids, or the extra to install.

Each message is one sentence that names the file or material and says what to do.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Sequence


class EcdError(Exception):
    """The data are bad or a run failed; the CLI prints only the message and exits with code 1."""


class FormatError(EcdError, ValueError):
    """A file does not follow its format."""


class StoreError(EcdError):
    """A store is incomplete or altered, or a folder is not a store."""


class MovedError(StoreError):
    """A part is missing or has other bytes than the index says: it is lost, or another process wrote the store."""


class UnknownIdError(EcdError, KeyError):
    """A material id does not exist; the message suggests similar ids."""

    __str__ = Exception.__str__


class UsageError(EcdError):
    """The arguments of a call are wrong; the CLI exits with code 2."""


class MissingDependencyError(EcdError, ImportError):
    """An optional package or program is not installed; the message says how to get it."""


MAX_COMPARED = 2000  # ids that difflib can compare in a moment: of more, only some are compared
NEIGHBOURS = 300  # ids before and after the word in alphabetical order that are compared


def suggest_ids(word: str, ids: Sequence[str]) -> list[str]:
    """Up to three ids that begin with `word` or resemble it; upper and lower case do not matter.

    Of many ids only those near `word` in alphabetical order and those with the same end are compared.
    """
    folded = word.casefold()
    begins = sorted((id for id in ids if id.casefold().startswith(folded)), key=len)[:3] if word else []
    if len(ids) > MAX_COMPARED:
        ordered = sorted(ids)
        position = bisect_left(ordered, word)
        tail = word[-max(3, len(word) // 3) :]
        alike = [id for id in ordered if id.endswith(tail)][:NEIGHBOURS]
        ids = [*ordered[max(0, position - NEIGHBOURS) : position + NEIGHBOURS], *alike]
    names = {id.casefold(): id for id in ids}
    close = [names[name] for name in difflib.get_close_matches(folded, names, n=3, cutoff=0.5)]
    return list(dict.fromkeys([*begins, *close]))[:3]


EXTRAS = {
    "torch": "models",
    "e3nn": "models",
    "safetensors": "models",
    "jinja2": "models",
    "matplotlib": "plot",
    "plotly": "view",
    "baderkit": "bader",
    "jobflow": "jobflow",
    "ase": "ase",
    "h5py": "hdf5",
    "isal": "fast",
    "numba": "fast",
    "s3fs": "s3",
    "tensorboard": "tensorboard",
    "dask": "cluster",
    "distributed": "cluster",
    "dask_jobqueue": "cluster",
    "smact": "dft",
    "triton": "gpu",
}


def missing_extra(error: ImportError) -> MissingDependencyError | None:
    """The error that names the extra to install; None where the missing package is not an optional one."""
    package = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or package not in EXTRAS:
        return None
    return MissingDependencyError(f"{package} is not installed: pip install 'ecd-data[{EXTRAS[package]}]' installs it")
