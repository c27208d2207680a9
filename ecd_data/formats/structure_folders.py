"""Structures in folders: which files are meant, where VASP left several with the structure of one run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ecd_data.errors import FormatError, UsageError
from ecd_data.formats.structure_names import NAMES, has_structure_name, structure_id
from ecd_data.io.density_names import VASP_NAMES, is_backup, is_derived, is_part, is_predicted
from ecd_data.io.text_streams import read_pieces
from ecd_data.safe_text import name_some

log = logging.getLogger("ecd_data")

SHOWN = 3  # paths that a log line names at most
EMPTY_BYTES = 1024  # a larger file is not opened to see whether it is empty

Groups = dict[str, list[Path]]  # paths by what a log line says about them


def search_folder(folder: Path) -> list[Path]:
    """The structure files in a folder and those below it, sorted; of each VASP run one file.

    CONTCAR is taken rather than CHGCAR and CHGCAR rather than POSCAR, unless it is empty: CONTCAR has the relaxed
    positions with all their digits, and a CHGCAR may be that of an earlier run. Derived and predicted densities, whose
    crystal is that of another file, and backups such as POSCAR.orig are left out. The log says what was left out.

    Raises
    ------
    UsageError : there is no structure file.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file() and has_structure_name(file))
    backups = [file for file in files if is_backup(file.name)]
    files = [file for file in files if file not in backups]
    if backups and files:
        log.info("backups in %s are left out, name those that you want: %s", folder, name_some(backups, SHOWN))
    own = [file for file in files if not _repeats_crystal(file)]
    if not own and backups and not files:
        raise UsageError(
            f"{folder} holds only backups of structure files, name those that you want: {name_some(backups, SHOWN)}"
        )
    if not own:
        more = f"; {name_some(files, SHOWN)}: derived or predicted densities, name those that you want" if files else ""
        raise UsageError(f"{folder} holds no structure file such as a CIF or POSCAR{more}")
    if len(own) < len(files):
        log.info(
            "derived or predicted densities in %s are left out, name those that you want: %s",
            folder,
            name_some([file for file in files if file not in own], SHOWN),
        )
    notes: Groups = {}
    rivals: dict[tuple[Path, str], list[Path]] = {}
    for file in own:
        rivals.setdefault((file.parent, structure_id(file)), []).append(file)
    kept = {file for group in rivals.values() for file in _choose_of_run(group, notes)}
    for sentence, folders in notes.items():
        log.info("%s: %s", name_some(folders, SHOWN), sentence)
    return [file for file in own if file in kept]


def name_apart(files: Mapping[str, Sequence[Path]]) -> dict[str, Path]:
    """The files by ids that differ: folders go into the ids of those that would have the same one, as the log says.

    Parameters
    ----------
    files : the files of each id, which lie in different folders.

    Raises
    ------
    UsageError : two ids cannot be made different.
    """
    named: dict[str, Path] = {}
    for id, group in files.items():
        if len(group) == 1:
            named[id] = group[0]
            continue
        apart = _add_folders(id, group)
        if len(apart) < len(group) or apart.keys() & (files.keys() | named.keys()):
            raise UsageError(f"{group[0]} and {group[1]} would both have the id {id!r}: rename one of them")
        ids = ", ".join(sorted(apart)[:SHOWN]) + (", ..." if len(apart) > SHOWN else "")
        log.info("%d files would be %r, so that their folders go into their ids: %s", len(group), id, ids)
        named |= apart
    return named


def _add_folders(id: str, files: Sequence[Path]) -> dict[str, Path]:
    """The files by ids with as few names of folders as make them different; fewer than files where none do."""
    chains = {}
    for file in files:
        above = [part for part in file.absolute().parts[1:-1] if part != ".."]
        chains[file] = above[:-1] if above[-1:] == [id] else above
    found: dict[str, Path] = {}
    for depth in range(1, max(map(len, chains.values()), default=0) + 1):
        found = {"_".join([*chain[-depth:], id]): file for file, chain in chains.items()}
        if len(found) == len(files):
            break
    return found


def _choose_of_run(files: list[Path], notes: Groups) -> list[Path]:
    """The file of one VASP run that is taken, of CONTCAR, CHGCAR and POSCAR; other files are all taken."""
    ranks = {file: rank for file in files if (rank := _rank(file)) is not None}
    if len(set(ranks.values())) < 2:
        return files
    empty = [file for file in ranks if _is_empty(file)]
    best = min((rank for file, rank in ranks.items() if file not in empty), default=min(ranks.values()))
    left = [file for file, rank in ranks.items() if rank != best or (file in empty and len(empty) < len(ranks))]
    taken = next(file for file in ranks if file not in left)
    others = [f"{file.name} is not" + (", since it is empty" if file in empty else "") for file in left]
    notes.setdefault("; ".join([f"{taken.name} is taken", *others]), []).append(taken.parent)
    return [file for file in files if file not in left]


def _rank(file: Path) -> int | None:
    """The place of a file of a VASP run among those with its structure; None for other files."""
    return next((rank for rank, name in enumerate(NAMES) if name in file.name.upper()), None)


def _is_empty(file: Path) -> bool:
    """Whether a file has no text, as the CONTCAR of a run that has just started."""
    if file.stat().st_size > EMPTY_BYTES:
        return False
    try:
        return not any(piece.strip() for piece in read_pieces(file))
    except FormatError:
        return False  # reading it says what is wrong


def _repeats_crystal(file: Path) -> bool:
    """Whether a file is a derived or predicted density, or another quantity of a VASP run."""
    name = file.name
    if is_part(name) or any(word in name.lower() for word in VASP_NAMES):
        return True
    if "CHGCAR" not in name.upper():
        return False
    try:
        return is_derived(name) or is_predicted(name, next(read_pieces(file), b""))
    except FormatError:
        return False
