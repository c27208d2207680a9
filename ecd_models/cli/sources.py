"""The density that an argument of the command line means: a file, STORE::ID, or an id of a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ecd_data.errors import StoreError, UnknownIdError, UsageError

if TYPE_CHECKING:
    from ecd_data.density import Density

DEFAULT_STORE = "pbe"


def find_density(source: str, store: str | None = None, unit: str | None = None) -> Density:
    """The density that `source` means.

    With a store, it is an id of the store, else a file. Without one, it is a file, else STORE::ID or ARCHIVE::MEMBER,
    else an id of the store "pbe".

    Parameters
    ----------
    source : the argument.
    store : a store, as --store names it.
    unit : the unit of the values in a cube or XSF.

    Raises
    ------
    StoreError, FormatError : there is no such id or file, or it cannot be read.
    UsageError : the source is a folder, or no file although a unit is stated.
    """
    from ecd_data.formats import read_run
    from ecd_data.store.data_root import open_store

    if unit is not None and not Path(source.partition("::")[0]).is_file():
        raise UsageError(f"{source} is no file: leave --unit out, which states the unit of a cube or XSF")
    if store is not None:
        opened_store = open_store(store)
        if source in opened_store or not Path(source).is_file():
            return opened_store[source]
    if Path(source).is_dir():
        raise UsageError(f"{source} is a folder: name a density file in it, or with a store {source}::ID")
    path, separator, id = source.partition("::")
    if separator and not Path(source).exists() and not Path(path).is_file():
        return open_store(path)[id]
    if Path(path if separator else source).exists():
        return read_run(source, unit)
    if looks_like_file(source):
        raise make_not_found_error(source)
    try:
        return open_store(DEFAULT_STORE)[source]
    except UnknownIdError as error:
        near = str(error).partition("; ")[2]
        raise StoreError(
            f"{source} was not found: there is no such file here and no such id in {DEFAULT_STORE} ({near}); name the "
            "store of an id with --store"
        ) from None


def looks_like_file(source: str) -> bool:
    """Whether a name can only mean a file: it is a path, or has the form of a density file's name."""
    from ecd_data.formats import FORMATS
    from ecd_data.io.compression import ENDINGS

    name = Path(source).name
    named = any(format.names.search(name) for format in FORMATS.values())
    return "/" in source or named or name.endswith(tuple(ENDINGS))


def make_not_found_error(source: str) -> StoreError:
    """The error for a source that does not exist, with similar names in its folder."""
    from ecd_data.errors import suggest_ids

    folder = Path(source).parent
    similar = suggest_ids(Path(source).name, [path.name for path in folder.iterdir()]) if folder.is_dir() else []
    hint = f"; near: {', '.join(similar)}" if similar else "" if folder.is_dir() else f"; there is no folder {folder}"
    return StoreError(f"{source} was not found: there is no such file or folder here{hint}")
