"""The places of stores: those of configuration names ("pbe", ...), and the names that a new store may not have."""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path

from ecd_data.arguments import path_text
from ecd_data.errors import UsageError
from ecd_data.io.density_names import ARCHIVE, CHGCAR, NAME_ENDINGS, OTHER_VASP_FILES
from ecd_data.io.locations import url_exists
from ecd_data.store.index import INDEX
from ecd_data.store.reader import Store

log = logging.getLogger("ecd_data")

CONFIGURATIONS = ("pbe", "hse", "mp", "ood", "exp")
SAMPLE_STORES = {"pbe": "pbe", "hse": "hse", "ood": "ood", "exp": "pbe"}


def open_store(name: str | Path) -> Store:
    """The Store at a path or fsspec URL, or that of a configuration name ("pbe", "hse", ...).

    A configuration is searched under $ECD_ROOT, then in the embedded sample.

    Raises
    ------
    StoreError : there is no store.
    UsageError : there are no data for the configuration, or its store has densities of another functional.
    """
    configuration = str(name) if str(name) in CONFIGURATIONS and not Path(name).exists() else None
    store = Store(find_store(configuration) if configuration else str(name))
    len(store)  # raises StoreError where there is no store
    if configuration:
        refuse_other_functional(store, configuration, "HSE06" if configuration == "hse" else "PBE", configuration)
        if store.root == (find_data_root() or "").rstrip("/"):
            _warn_of_one_store(configuration, store.root)
    return store


def refuse_other_functional(store: Store, name: str, wanted: str, set_name: str) -> None:
    """Raise UsageError if a configuration of HSE06 meets densities of PBE alone, or the other way round.

    Nearly all ids of the set hse are in the set pbe too, so the ids do not tell.

    Parameters
    ----------
    name, wanted : the configuration and its functional.
    set_name : the set of crystals that has the configuration's densities.
    """
    stored = {str(functional) for functional in store.columns("functional")["functional"].to_pylist() if functional}
    hybrid = {functional.upper().startswith("HSE") for functional in stored}
    if hybrid and wanted.upper().startswith("HSE") not in hybrid:
        raise UsageError(
            f"{name} needs {wanted} densities, and those of {store.root} are {', '.join(sorted(stored))}: give the "
            f"folder that holds {set_name}.ecd"
        )


def find_store(configuration: str, data_dir: str | Path | None = None, sample: bool = False) -> str:
    """The path or URL of the store of a configuration; a log line says when it is the embedded sample.

    Parameters
    ----------
    configuration : "pbe", "hse", "mp", "ood" or "exp".
    data_dir : the data root, or the folder of a copy of the sample; ECD_ROOT by default.
    sample : use the sample, without a log line, whatever ECD_ROOT is.

    Raises
    ------
    UsageError : there are no data for the configuration.
    """
    root = data_dir if sample else find_data_root(data_dir)
    if root:
        return configuration_store(str(root), configuration)
    if sample and configuration in SAMPLE_STORES:
        return sample_store(configuration)
    if sample:
        raise UsageError(
            f"the embedded sample has no {configuration!r}, only {', '.join(SAMPLE_STORES)}: set ECD_ROOT (or "
            f"data_dir=) to a folder or URL that has {configuration}.ecd"
        )
    if configuration not in SAMPLE_STORES:
        raise UsageError(
            f"there are no data for {configuration!r}: set ECD_ROOT (or data_dir=) to a folder or URL that has "
            f"{configuration}.ecd; `ecd convert` makes such a store from CHGCAR files"
        )
    _warn_of_sample(configuration)
    return sample_store(configuration)


def find_data_root(data_dir: str | Path | None = None) -> str | None:
    """The data root: `data_dir`, else the environment variable ECD_ROOT; None where neither is set."""
    return str(data_dir) if data_dir else os.environ.get("ECD_ROOT") or None


@cache
def _warn_of_sample(configuration: str) -> None:
    log.warning("%s: the embedded sample (set ECD_ROOT for the release)", configuration)


def configuration_store(root: str, configuration: str) -> str:
    """The store of a configuration under a data root: ROOT/<configuration>.ecd, or ROOT if that is a store itself."""
    root = root.rstrip("/")
    return root if url_exists(f"{root}/{INDEX}") else f"{root}/{configuration}.ecd"


@cache
def _warn_of_one_store(configuration: str, root: str) -> None:
    log.warning("%s: %s, the store that ECD_ROOT names, which serves under every name", configuration, root)


def sample_store(configuration: str) -> str:
    """The path of the embedded sample's store for a configuration."""
    from importlib.resources import files

    return str(files("ecd_data.sample").joinpath(f"{SAMPLE_STORES[configuration]}.ecd"))


FILE_WORDS = """zip 7z rar bz z tbz txz lz lzma npy npz pkl pt pth safetensors ckpt parquet arrow csv tsv txt md html
xml yaml yml toml jsonl log in out py png jpg jpeg svg pdf nc hdf db cif xyz extxyz pdb mol poscar contcar chgcar locpot
elfcar bxsf grd grid rho den den_fmt upf save traj fchk wfn"""
FILE_ENDINGS = (*NAME_ENDINGS, *(f".{word}" for word in FILE_WORDS.split()))


def refuse_file_name(path: str | Path) -> None:
    """Raise UsageError for a new store with the name of a file: out.cube, new_CHGCAR, x.tar.gz."""
    folder = Path(path_text(path, "the store to write"))
    if folder.is_dir():
        return
    if "::" in str(path):
        raise UsageError(f"{path} has `::`, which separates a store from an id in it: give the store without it")
    name = folder.name
    if folder.is_file() or not (
        folder.suffix.lower() in FILE_ENDINGS
        or CHGCAR.search(name)
        or OTHER_VASP_FILES.fullmatch(name)
        or ARCHIVE.search(name)
    ):
        return
    raise UsageError(
        f"{path} is the name of a file, but a store is a folder such as my.ecd; to write a file use"
        " `ecd export ID FILE --store STORE`, or ecd_data.read and write"
    )
