"""The name of a new store: a folder, whose name must not look like that of a file."""

from __future__ import annotations

from pathlib import Path

from ecd_data.arguments import path_text
from ecd_data.errors import UsageError
from ecd_data.io.density_names import ARCHIVE, CHGCAR, NAME_ENDINGS, OTHER_VASP_FILES

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
