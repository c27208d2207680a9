"""Which files a conversion means, and under which ids: files, folders, globs, lists, members of tar archives."""

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

from ecd_data.arguments import path_text, shown
from ecd_data.conversion.source_ids import CHG, CHGCAR, Source, default_id, distinct, is_coarse, member_id
from ecd_data.errors import UsageError
from ecd_data.formats import FORMATS, HEAD
from ecd_data.io.archives import split_member
from ecd_data.io.compression import CODECS
from ecd_data.io.density_names import (
    ARCHIVE,
    OTHER_VASP_FILES,
    VASP_NAMES,
    find_other_quantity,
    is_derived,
    is_part,
    is_predicted,
)

__all__ = ["Source", "content_is_density", "default_id", "find_sources", "is_data", "is_density"]

log = logging.getLogger("ecd_data")

PYMATGEN = re.compile(rb'"(@class|@module|poscar|fs_id)"')
SHOWN = 3  # files that a message names
PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip, b"BZh": bz2, b"\xfd7zXZ\x00": lzma}


def find_sources(given: str | Path | Iterable[str | Path], *, predictions: bool = False) -> list[Source]:
    """The files that are meant, each once, in the order given, with ids of their own; folders and patterns are sorted.

    A folder is searched for everything whose name or content is a density's; of a VASP run that is CHGCAR, else CHG.
    What was made from densities (CHGCAR_sum, PARCHG) and, unless `predictions`, what a model predicted is converted
    where it is named, not where a folder is searched.
    `@FILE` is a list with a path a line, behind it where wanted a tab and the id; `@-` reads it from standard input.
    `archive.tar.gz` means all densities in it, `archive.tar.gz::member` one. Sources of one id are told apart, or
    refused, as `distinct` says. Raises UsageError where something is not there.
    """
    if isinstance(given, str | Path):
        given = [given]
    elif not isinstance(given, Iterable):
        raise UsageError(f"sources are a path, or a list of paths, not {shown(given)}")
    return distinct(_sources(given, predictions))


def is_density(name: str) -> bool:
    """Whether a file that a search found is a density by its name."""
    if name.startswith("._") or OTHER_VASP_FILES.fullmatch(name) or find_other_quantity(name):
        return False
    by_name = any(f.names.search(name) for key, f in FORMATS.items() if key != "json")
    return by_name or CHGCAR.search(name) is not None or CHG.fullmatch(name) is not None


def is_data(name: str, head: bytes, predictions: bool = False) -> bool:
    """Whether a density that a search found is a crystal's own: not derived from others, not a model's prediction."""
    return not is_derived(name) and (predictions or not is_predicted(name, head))


def _sources(given: Iterable[str | Path], predictions: bool) -> Iterator[Source]:
    for item in given:
        text = path_text(item, "a source")
        if text.startswith("@"):
            yield from _listed(text[1:], predictions)
        else:
            yield from _meant(text, predictions)


def _listed(file: str, predictions: bool) -> Iterator[Source]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list {file} cannot be read ({error}): give a text file with a path a line") from error
    for line in text.splitlines():
        path, _, id = line.strip().partition("\t")
        if path and not path.startswith("#"):
            yield from [_with_id(path, id.strip())] if id.strip() else _meant(path, predictions)


def _with_id(path: str, id: str) -> Source:
    file, member = split_member(path)
    return Source(file, id, member, given=True)


def _meant(text: str, predictions: bool) -> Iterator[Source]:
    file, member = split_member(text)
    if os.path.isdir(text):
        yield from _all_of([text], text, predictions)
    elif os.path.exists(text):
        yield _named(text)
    elif member is not None and os.path.exists(file):
        yield Source(file, member_id(member, file), member)
    elif matches := sorted(glob.glob(text, recursive=True)):
        yield from _all_of(matches, text, predictions)
    else:
        raise UsageError(f"{text} does not exist: check the path or the pattern")


def _all_of(paths: list[str], text: str, predictions: bool) -> Iterator[Source]:
    """The files among the paths that `text` means and what the folders among them hold; raises UsageError for none."""
    count, left_out = 0, dict[str, str]()
    for path in paths:
        for source in _searched(path, predictions, left_out) if os.path.isdir(path) else [_named(path)]:
            count += 1
            yield source
    said = told_left_out(text, left_out)
    if not count and said:
        raise UsageError(f"{text} holds no density of a crystal's own; {'; '.join(said)}")
    if not count:
        raise UsageError(f"{text} holds no file with CHGCAR in its name and none of another density format")
    for sentence in said:
        log.info("%s", sentence)


def told_left_out(text: str, left_out: Mapping[str, str]) -> list[str]:
    """Sentences on what a search of `text` left out: file -> the quantity that it is, "" for a density not its own."""
    derived = [path for path, quantity in left_out.items() if not quantity]
    others = [f"{path}, {quantity}" for path, quantity in left_out.items() if quantity]
    said = []
    if derived:
        what = "derived or predicted densities in"
        said.append(f"{what} {text} are left out, name those that you want: {_some(derived)}")
    if others:
        said.append(f"other quantities than densities in {text} are left out: {_some(others, '; ')}")
    return said


def why_left_out(name: str, head: bytes, predictions: bool = False) -> str | None:
    """What a file is that a search leaves out as no crystal's own density: another quantity, "" for a density; or None.

    None is also the answer for what is no grid at all.
    """
    vasp = any(word in name.lower() for word in VASP_NAMES)
    grid = vasp or any(f.names.search(name) for key, f in FORMATS.items() if key != "json") or content_is_density(head)
    if grid and (quantity := find_other_quantity(name, head)):
        return quantity
    if is_part(name) or ((is_density(name) or _looks_like_one(head, name)) and not is_data(name, head, predictions)):
        return ""
    return None


def _some(items: list[str], separator: str = ", ") -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return separator.join(items[:SHOWN]) + more


def _named(path: str, expected: bool = True) -> Source:
    return Source(path, "" if ARCHIVE.search(path) else default_id(path), expected=expected)


def _searched(folder: str, predictions: bool, left_out: dict[str, str]) -> Iterator[Source]:
    """The densities in a folder; derived and predicted ones and other quantities go to `left_out` instead."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        paths = {name: os.path.join(root, name) for name in sorted(names)}
        files = {name: path for name, path in paths.items() if os.path.isfile(path)}
        finer = {default_id(path) for name, path in files.items() if CHGCAR.search(name)}
        for name, path in files.items():
            if is_coarse(name) and default_id(path) in finer:
                continue
            if ARCHIVE.search(name):
                yield _named(path, expected=CHGCAR.search(name) is not None)
                continue
            head = b"" if name.startswith("._") or OTHER_VASP_FILES.fullmatch(name) else _head(path)
            if name.startswith("._"):
                continue
            if (quantity := why_left_out(name, head, predictions)) is not None:
                left_out[path] = quantity
            elif is_density(name) or _looks_like_one(head, name):
                yield _named(path, expected=CHGCAR.search(name) is not None)


def _head(path: str) -> bytes:
    """The first bytes of what a file holds, decompressed; b"" where it cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
        for magic, module in PACKED.items():
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


def _looks_like_one(head: bytes, name: str) -> bool:
    """Whether the content says that it is a density, where the name says nothing."""
    return not CHG.fullmatch(name) and not find_other_quantity(name, head) and content_is_density(head)


def content_is_density(head: bytes) -> bool:
    """Whether a file that begins so is of a density format that has a mark; JSON has one where it is pymatgen's."""
    found = [key for key, format in FORMATS.items() if format.looks_like(head)]
    return bool(found) and (found != ["json"] or PYMATGEN.search(head) is not None)
