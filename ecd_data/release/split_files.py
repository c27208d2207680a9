"""The files of the folder splits/: where it is, how they are read with their hashes checked, how they are made.

`python -m ecd_data.release.split_files LISTS DEST [--gaps GAPS]` makes them again from the release's own lists.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from ecd_data.errors import EcdError
from ecd_data.io.file_bytes import hash_file
from ecd_data.release.formula import formula_in_id, reduce_formula
from ecd_data.work.programs import run_program

SUMS = "SHA256SUMS"
TASKS = "tasks.toml"
REMEDY = "restore it from version control or reinstall ecd-data"


def splits_folder() -> Path:
    """The folder of the lists: inside the installed package, else at the top of the repository."""
    inside = Path(__file__).parent / "splits"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "splits"


@cache
def _read_sums(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    if not path.is_file():
        raise EcdError(f"{path} is missing: {REMEDY}")
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def read_manifest(name: str, folder: Path | None = None) -> bytes:
    """The bytes of one file of the folder; raises EcdError if it is missing or its hash is not in SHA256SUMS."""
    folder = folder or splits_folder()
    path = folder / name
    expected = _read_sums(folder).get(name)
    if expected is None:
        raise EcdError(f"{path} is not listed in {SUMS}: {REMEDY}")
    if not path.is_file():
        raise EcdError(f"{path} is missing: {REMEDY}")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != expected:
        raise EcdError(f"{path} was altered, its SHA-256 is not the one in {SUMS}: {REMEDY}")
    return data


def verify_splits(folder: Path | None = None) -> list[str]:
    """The names of all files of the folder after a check of their hashes.

    Raises EcdError, which names the first file that was altered, is missing or is not listed.
    """
    folder = folder or splits_folder()
    _read_sums.cache_clear()
    names = sorted(_read_sums(folder))
    for name in names:
        read_manifest(name, folder)
    extra = sorted(_list_files(folder) - set(names))
    if extra:
        raise EcdError(f"{folder / extra[0]} is not listed in {SUMS}: remove it or make the lists again")
    return names


def _list_files(folder: Path) -> set[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return {path.as_posix() for path in found if not path.name.startswith(".")}


@cache
def read_tasks() -> dict[str, Any]:
    """The contents of tasks.toml: `sets`, `tasks`, `strict`."""
    return tomllib.loads(read_manifest(TASKS).decode())


@cache
def read_ids(name: str) -> tuple[str, ...]:
    """The sorted ids of one list, such as "hse/test"."""
    if name.startswith("exp/"):
        return tuple(row["id"] for row in read_gaps())
    name = name if name.endswith(".gz") else f"{name}.txt.gz"
    return tuple(gzip.decompress(read_manifest(name)).decode().split())


@cache
def read_gaps() -> tuple[dict[str, str], ...]:
    """The compounds with a measured band gap: rows with id, formula, gap_exp_eV (in eV) and sample_id."""
    return tuple(csv.DictReader(io.StringIO(read_manifest("exp/gaps.csv").decode())))


def build_manifests(lists: Path, dest: Path, gaps: Path | None) -> None:
    """Write the lists of all sets, their strict twins and SHA256SUMS; the same input gives the same bytes.

    Parameters
    ----------
    lists : folder with the *_filelist.txt.gz and *_split.json.gz of the release.
    dest : the folder splits/, which holds tasks.toml.
    gaps : folder with exp_gaps.csv and crystals.csv; with None dest/exp/gaps.csv stays as it is.

    Raises
    ------
    EcdError : a list does not have the number of ids that tasks.toml states.
    """
    table = tomllib.loads((dest / TASKS).read_text(encoding="utf-8"))
    if gaps is not None:
        _write(dest / "exp/gaps.csv", _gap_table(gaps))
    with open(dest / "exp/gaps.csv", encoding="utf-8") as file:
        formulas = {reduce_formula(row["formula"]) for row in csv.DictReader(file)}
    parts: dict[str, dict[str, list[str]]] = {
        name: read_release_lists(lists, name) for name in ("pbe", "hse", "mp", "ood")
    }
    _check_sizes(table, parts)
    for name, lists_of in parts.items():
        for part, ids in lists_of.items():
            _write_ids(dest / name / f"{part}.txt.gz", ids)
    test = set(parts["pbe"]["test"]) | set(parts["hse"]["test"])
    formulas |= {formula for id in test if (formula := formula_in_id(id))}
    for name in ("pbe", "hse"):
        dropped = [id for id in parts[name]["train"] if id in test or formula_in_id(id) in formulas]
        _write_ids(dest / table["sets"][name]["strict_train"], dropped)
    sums = (f"{hash_file(dest / n)}  {n}\n" for n in sorted(_list_files(dest)))
    _write(dest / SUMS, "".join(sums).encode())


def read_release_lists(lists: Path, name: str) -> dict[str, list[str]]:
    """The sorted ids of each part of a set, from the release's lists in the folder `lists`.

    A split file has numbers of lines, from 0, of the file list of the same set; those lines end in .chgcar or
    .chgcar.gz.
    """
    source = "gnome" if name == "ood" else name
    lines = gzip.decompress((lists / f"{source}_filelist.txt.gz").read_bytes()).decode().split()
    ids = [line.removesuffix(".gz").removesuffix(".chgcar") for line in lines]
    if name == "ood":
        return {"test": sorted(ids)}
    split = json.loads(gzip.decompress((lists / f"{name}_split.json.gz").read_bytes()))
    parts = {part: sorted(ids[i] for i in split[part]) for part in ("train", "validation", "test")}
    rest = set(ids).difference(*parts.values())
    return parts | ({"unassigned": sorted(rest)} if rest else {})


def _check_sizes(table: dict[str, Any], parts: dict[str, dict[str, list[str]]]) -> None:
    for name, lists_of in parts.items():
        count = len({id for ids in lists_of.values() for id in ids})
        stated = table["sets"][name]
        if count != stated["count"] or list(lists_of) != stated["parts"]:
            raise EcdError(
                f"{TASKS} states {stated['count']} ids for {name}, the lists have {count}: correct {TASKS} or the lists"
            )


def _gap_table(folder: Path) -> bytes:
    """The bytes of exp/gaps.csv: the 54 compounds with a measured gap, and the sample's id of each if it has it."""
    with open(folder / "crystals.csv", encoding="utf-8") as file:
        names = {row["jid"]: row["name"] for row in csv.DictReader(file) if row["jid"]}
    with open(folder / "exp_gaps.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(line for line in file if line[0] != "#") if row["in_54_list"] == "1"]
    lines = [f"{r['jid']},{r['formula']},{r['gap_exp_eV']},{names.get(r['jid'], '')}\n" for r in rows]
    return ("id,formula,gap_exp_eV,sample_id\n" + "".join(sorted(lines))).encode()


def _write_ids(path: Path, ids: Iterable[str]) -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, buffer, mtime=0) as file:  # without name and time the bytes depend on ids alone
        file.write("".join(f"{id}\n" for id in ids).encode())
    _write(path, buffer.getvalue())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def main(arguments: list[str] | None = None) -> None:
    """Make the lists from the command line."""
    import argparse

    description = "Make the files of splits/ from the release's own lists; the same lists give the same bytes."
    parser = argparse.ArgumentParser(prog="python -m ecd_data.release.split_files", description=description)
    parser.add_argument("lists", type=Path, help="folder with the release's *_filelist.txt.gz and *_split.json.gz")
    parser.add_argument("dest", type=Path, help="the folder splits/ with its tasks.toml")
    parser.add_argument("--gaps", type=Path, help="folder with exp_gaps.csv and crystals.csv, for splits/exp/gaps.csv")
    options = parser.parse_args(arguments)
    build_manifests(options.lists, options.dest, options.gaps)
    print(f"{len(verify_splits(options.dest))} files in {options.dest}")


if __name__ == "__main__":
    run_program(main)
