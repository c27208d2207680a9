"""The files that a conversion reads: from files, folders, patterns, lists and members of tar archives."""

from __future__ import annotations

import bz2
import glob
import gzip
import logging
import lzma
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from ecd_data.arguments import describe_value, path_text
from ecd_data.conversion.source_ids import CHG, CHGCAR, Source, default_id, is_coarse, member_id, resolve_ids
from ecd_data.errors import UsageError
from ecd_data.formats import FORMATS, HEAD
from ecd_data.io.archives import split_member
from ecd_data.io.compression import CODECS
from ecd_data.io.density_names import (
    ARCHIVE,
    OTHER_VASP_FILES,
    VASP_NAMES,
    find_other_quantity,
    is_backup,
    is_derived,
    is_part,
    is_predicted,
)
from ecd_data.safe_text import name_some

__all__ = ["Source", "content_is_density", "default_id", "find_sources", "is_data", "is_density"]

log = logging.getLogger("ecd_data")

PYMATGEN = re.compile(rb'"(?:poscar|fs_id)"|"@class"\s*:\s*"(?:Chgcar|Locpot|Elfcar)"')
SHOWN = 3  # files that a message names at most
BACKUP = "a backup"
COMPRESSED: dict[bytes, Any] = {b"\x1f\x8b": gzip, b"BZh": bz2, b"\xfd7zXZ\x00": lzma}


def find_sources(given: str | Path | Iterable[str | Path], *, predictions: bool = False) -> list[Source]:
    """The sources of a conversion in the order given, each file once, with different ids as by `resolve_ids`.

    Parameters
    ----------
    given : paths of files. A folder is searched, in sorted order, for files whose name or content is that of a density;
        of a VASP run it gives CHGCAR, else CHG. A pattern with * ? [] gives its files in sorted order. `@FILE` is a
        list with one path a line, and after a tab an id if wanted; `@-` reads the list from standard input.
        `archive.tar.gz` gives all densities in it, `archive.tar.gz::member` one.
    predictions : take densities that a model predicted from folders, too. Without it they are converted only if they
        are named, like files derived from densities (CHGCAR_sum, PARCHG).

    Raises
    ------
    UsageError : a path does not exist, or a folder has no density.
    """
    if isinstance(given, str | Path):
        given = [given]
    elif not isinstance(given, Iterable):
        raise UsageError(f"sources are a path, or a list of paths, not {describe_value(given)}")
    return resolve_ids(_list_sources(given, predictions))


def is_density(name: str) -> bool:
    """Whether a file is a density by its name."""
    if name.startswith("._") or OTHER_VASP_FILES.fullmatch(name) or find_other_quantity(name):
        return False
    by_name = any(f.names.search(name) for key, f in FORMATS.items() if key != "json")
    return by_name or CHGCAR.search(name) is not None or CHG.fullmatch(name) is not None


def is_data(name: str, head: bytes, predictions: bool) -> bool:
    """Whether a density is neither derived from others nor predicted by a model; `head` has its first bytes."""
    return not is_derived(name) and (predictions or not is_predicted(name, head))


def _list_sources(given: Iterable[str | Path], predictions: bool) -> Iterator[Source]:
    for item in given:
        text = path_text(item, "a source")
        if text.startswith("@"):
            yield from _read_list(text[1:], predictions)
        else:
            yield from _expand(text, predictions)


def _read_list(file: str, predictions: bool) -> Iterator[Source]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list {file} cannot be read ({error}): give a text file with one path a line") from error
    for line in text.splitlines():
        path, _, id = line.strip().partition("\t")
        if path and not path.startswith("#"):
            yield from [_with_id(path, id.strip())] if id.strip() else _expand(path, predictions)


def _with_id(path: str, id: str) -> Source:
    file, member = split_member(path)
    return Source(file, id, member, given=True)


def _expand(text: str, predictions: bool) -> Iterator[Source]:
    file, member = split_member(text)
    if os.path.isdir(text):
        yield from _expand_paths([text], text, predictions)
    elif os.path.exists(text):
        yield _make_source(text)
    elif member is not None and os.path.exists(file):
        yield Source(file, member_id(member, file), member)
    elif matches := sorted(glob.glob(text, recursive=True)):
        yield from _expand_paths(matches, text, predictions)
    else:
        raise UsageError(f"{text} does not exist: check the path or the pattern")


def _expand_paths(paths: list[str], text: str, predictions: bool) -> Iterator[Source]:
    """The sources of some paths, with those in folders; `text` is what the user gave. Raises UsageError for none."""
    count, left_out = 0, dict[str, str]()
    for path in paths:
        for source in _search_folder(path, predictions, left_out) if os.path.isdir(path) else [_make_source(path)]:
            count += 1
            yield source
    sentences = describe_left_out(text, left_out)
    if not count and sentences:
        raise UsageError(f"{text} holds no density of a crystal's own; {'; '.join(sentences)}")
    if not count:
        raise UsageError(f"{text} holds no file with CHGCAR in its name and none of another density format")
    for sentence in sentences:
        log.info("%s", sentence)


def describe_left_out(text: str, left_out: Mapping[str, str]) -> list[str]:
    """Sentences on the files that a search of `text` left out; `left_out` has the quantity of each file.

    The quantity is "" for a derived or predicted density, and BACKUP for a copy of another file.
    """
    derived = [path for path, quantity in left_out.items() if not quantity]
    backups = [path for path, quantity in left_out.items() if quantity == BACKUP]
    others = [f"{path}, {quantity}" for path, quantity in left_out.items() if quantity not in ("", BACKUP)]
    sentences = []
    if backups:
        sentences.append(f"backups in {text} are left out, name those that you want: {name_some(backups, SHOWN)}")
    if derived:
        what = "derived or predicted densities in"
        sentences.append(f"{what} {text} are left out, name those that you want: {name_some(derived, SHOWN)}")
    if others:
        sentences.append(f"other quantities than densities in {text} are left out: {name_some(others, SHOWN, '; ')}")
    return sentences


def why_left_out(name: str, head: bytes, predictions: bool = False) -> str | None:
    """What a file is that a search leaves out as no crystal's own density: another quantity, "" for a density; or None.

    BACKUP stands for an earlier copy of another file.

    None is also the answer for what is no grid at all.
    """
    vasp = any(word in name.lower() for word in VASP_NAMES)
    grid = vasp or any(f.names.search(name) for key, f in FORMATS.items() if key != "json") or content_is_density(head)
    if grid and (quantity := find_other_quantity(name, head)):
        return quantity
    density = is_density(name) or _has_density_content(head, name)
    if density and is_backup(name):
        return BACKUP
    if is_part(name) or (density and not is_data(name, head, predictions)):
        return ""
    return None


def _make_source(path: str, expected: bool = True) -> Source:
    return Source(path, "" if ARCHIVE.search(path) else default_id(path), expected=expected)


def _search_folder(folder: str, predictions: bool, left_out: dict[str, str]) -> Iterator[Source]:
    """The densities in a folder; derived and predicted ones and other quantities go to `left_out` instead."""
    for root, folders, names in os.walk(folder, onerror=_warn_of_folder):
        folders.sort()
        for link in (path for name in folders if os.path.islink(path := os.path.join(root, name))):
            log.warning("%s is a link to a folder, which a search does not follow: name it to have its densities", link)
        paths = {name: os.path.join(root, name) for name in sorted(names)}
        files = {name: path for name, path in paths.items() if os.path.isfile(path)}
        finer = {default_id(path) for name, path in files.items() if CHGCAR.search(name)}
        for name, path in files.items():
            if is_coarse(name) and default_id(path) in finer:
                continue
            if ARCHIVE.search(name):
                yield _make_source(path, expected=CHGCAR.search(name) is not None)
                continue
            head = b"" if name.startswith("._") or OTHER_VASP_FILES.fullmatch(name) else _read_head(path)
            if name.startswith("._"):
                continue
            if (quantity := why_left_out(name, head, predictions)) is not None:
                left_out[path] = quantity
            elif is_density(name) or _has_density_content(head, name):
                yield _make_source(path, expected=CHGCAR.search(name) is not None)


def _warn_of_folder(error: OSError) -> None:
    log.warning("%s is left out, since it cannot be searched (%s)", error.filename, error.strerror)


def _read_head(path: str) -> bytes:
    """The first bytes of a file after decompression; b"" if it cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
        for magic, module in COMPRESSED.items():
            if head.startswith(magic):
                with module.open(path, "rb") as stream:
                    return bytes(stream.read(HEAD))
        for magic, codec in CODECS.items():
            if head.startswith(magic):
                with pa.CompressedInputStream(path, codec) as stream:
                    return bytes(stream.read(HEAD))
    except (OSError, EOFError, lzma.LZMAError, zlib.error, pa.ArrowException):
        return b""
    return head


def _has_density_content(head: bytes, name: str) -> bool:
    """Whether a file is a density by its content, if its name does not decide."""
    return not CHG.fullmatch(name) and not find_other_quantity(name, head) and content_is_density(head)


def content_is_density(head: bytes) -> bool:
    """Whether a file with these first bytes has a density format that can be recognised; JSON only if pymatgen's.

    HDF5 is not recognised: many programs write other things in it, such as QE's wfc1.hdf5 beside its density.
    """
    found = [key for key, format in FORMATS.items() if format.looks_like(head) and key != "vaspwave"]
    return bool(found) and (found != ["json"] or PYMATGEN.search(head) is not None)
