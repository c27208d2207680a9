"""Where a store may be written: a folder, whose name is not that of a file."""

from __future__ import annotations

from pathlib import Path

from ecd_data.arguments import path_text
from ecd_data.errors import UsageError
from ecd_data.io.density_names import ARCHIVE, CHGCAR, DROPPED, OTHER

WORDS = """zip 7z rar bz z tbz txz lz lzma npy npz pkl pt pth safetensors ckpt parquet arrow csv tsv txt md html xml
yaml yml toml jsonl log in out py png jpg jpeg svg pdf nc hdf db cif xyz extxyz pdb mol poscar contcar chgcar locpot
elfcar bxsf grd grid rho den den_fmt upf save traj fchk wfn"""
FILES = (*DROPPED, *(f".{word}" for word in WORDS.split()))


def refuse_file_name(path: str | Path) -> None:
    """Raises UsageError for a new store whose name is that of a file: out.cube, new_CHGCAR, x.tar.gz."""
    place = Path(path_text(path, "the store to write"))
    if place.is_dir():
        return
    if "::" in str(path):
        raise UsageError(f"{path}: `::` stands between a store and an id in it: name the store without it")
    name = place.name
    if place.is_file() or not (
        place.suffix.lower() in FILES or CHGCAR.search(name) or OTHER.fullmatch(name) or ARCHIVE.search(name)
    ):
        return
    raise UsageError(
        f"{path} is the name of a file, and what is written is a store, a folder such as my.ecd; for a file give"
        " `ecd export ID FILE --store STORE`, or ecd_data.read and write"
    )
