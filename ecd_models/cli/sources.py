"""The density that an argument means: a file, STORE::ID, or an id of a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ecd_data.errors import StoreError, UnknownIdError, UsageError

if TYPE_CHECKING:
    from ecd_data.density import Density

DEFAULT_STORE = "pbe"


def density_of(source: str, store: str | None = None, unit: str | None = None) -> Density:
    """The Density that `source` means.

    With a store, an id of it comes first, then a file; without one, a file, then STORE::ID or archive::member, then an
    id of "pbe". unit: of a cube or XSF, refused for what states its own. Raises StoreError or FormatError that says
    where it was looked for, UsageError for a folder.
    """
    from ecd_data.formats import read_run
    from ecd_data.store.data_root import open_store

    if unit is not None and not Path(source.partition("::")[0]).is_file():
        raise UsageError(f"{source} is no file: --unit states the unit in a cube or XSF, leave it out")
    if store is not None:
        opened = open_store(store)
        if source in opened or not Path(source).is_file():
            return opened[source]
    if Path(source).is_dir():
        raise UsageError(f"{source} is a folder: name a density file in it, or with a store {source}::ID")
    place, mark, id = source.partition("::")
    if mark and not Path(source).exists() and not Path(place).is_file():
        return open_store(place)[id]
    if Path(place if mark else source).exists():
        return read_run(source, unit)
    if looks_like_file(source):
        raise not_found(source)
    try:
        return open_store(DEFAULT_STORE)[source]
    except UnknownIdError as error:
        near = str(error).partition("; ")[2]
        raise StoreError(
            f"{source} was not found: there is no such file here and no such id in {DEFAULT_STORE} ({near}); name the "
            "store of an id with --store"
        ) from None


def looks_like_file(source: str) -> bool:
    """Whether a name that means no file here can only be meant as one: a path, or the name of a density file."""
    from ecd_data.formats import FORMATS
    from ecd_data.io.compression import ENDINGS

    name = Path(source).name
    named = any(format.names.search(name) for format in FORMATS.values())
    return "/" in source or named or name.endswith(tuple(ENDINGS))


def not_found(source: str) -> StoreError:
    """The error that says that there is nothing of this name, with what is alike beside it."""
    from ecd_data.store.near_ids import suggest_ids

    folder = Path(source).parent
    beside = suggest_ids(Path(source).name, [path.name for path in folder.iterdir()]) if folder.is_dir() else []
    hint = f"; near: {', '.join(beside)}" if beside else "" if folder.is_dir() else f"; there is no folder {folder}"
    return StoreError(f"{source} was not found: there is no such file or folder here{hint}")
