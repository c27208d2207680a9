"""Which crystals a fetch means, and where their files are served."""

from __future__ import annotations

import difflib
import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from ecd_data.errors import UnknownIdError, UsageError
from ecd_data.release.split_files import read_ids, read_tasks
from ecd_data.release.tasks import PARTS, UnknownTaskError, find_task, load_split, task_names
from ecd_data.store.near_ids import suggest_ids

MIRROR = "ECD_MIRROR"
ENDINGS = (".gz", ".tar", ".json", ".chgcar")
WILD = "*?["


@dataclass(frozen=True)
class Plan:
    """The crystals of one set that are wanted, in the order of its lists, and what their URLs are made from."""

    set: str
    functional: str
    ids: tuple[str, ...]
    template: str

    def url(self, id: str) -> str:
        """Where the file of a crystal is served."""
        return self.template.replace("{id}", quote(id, safe=""))

    def file(self, id: str) -> str:
        """The name of that file."""
        return urlsplit(self.url(id)).path.rpartition("/")[2]


def plan_fetch(
    what: str | Sequence[str],
    *,
    part: str | None = None,
    set: str | None = None,
    limit: int | None = None,
    mirror: str | None = None,
) -> Plan:
    """The Plan for tasks or sets, ids and patterns with * ? [].

    A task or a set ("hse") alone means all of its crystals, of one `part` where given; ids and patterns beside it
    choose among them, and without it are looked up in `set`, else in every set. `mirror` (else ECD_MIRROR) replaces
    the part of the URL before its last folder, or is a whole URL with {id}. Raises UnknownIdError, UnknownTaskError or
    UsageError with near names where nothing, or more than one set, is meant.
    """
    words = [what] if isinstance(what, str) else list(what)
    if part is not None and part not in (*PARTS, "unassigned"):
        raise UsageError(f"the parts are {', '.join(PARTS)}, not {part!r}")
    if limit is not None and limit < 1:
        raise UsageError(f"a limit is a positive number of files, not {limit}")
    if not words:
        raise UsageError("name what to fetch: a task such as ecd_hse, ids, or a pattern such as 'icsd-*'")
    sources = [word for word in words if _is_source(word)] or ([set] if set else [])
    named = [_bare(word) for word in words if not _is_source(word)]
    name, ids = _of_sources(sources, part) if sources else _of_names(named, part)
    if set and name != set:
        raise UsageError(f"{' '.join(sources)} is of the set {name}, not {set}: leave one of them out")
    chosen = _chosen(named, ids, name) if named else ids
    if not chosen:
        raise UsageError(f"{' '.join(words)} has no part {part!r}: see `ecd split`")
    table = read_tasks()["sets"][name]
    return Plan(name, table["functional"], tuple(chosen[:limit]), _template(table["url"], mirror))


def _is_source(word: str) -> bool:
    if word in read_tasks()["sets"]:
        return True
    try:
        find_task(word)
    except UnknownTaskError:
        return False
    return True


def _bare(word: str) -> str:
    """An id without the endings of its file."""
    while word.endswith(ENDINGS):
        word = word[: word.rfind(".")]
    return word


def _of_sources(sources: list[str], part: str | None) -> tuple[str, list[str]]:
    """The one set of some tasks and sets, and their ids together."""
    sets = dict.fromkeys(_set_name(source) for source in sources)
    if len(sets) > 1:
        raise UsageError(f"{', '.join(sources)} are of different sets ({', '.join(sets)}): fetch each to its own store")
    name = next(iter(sets))
    if "url" not in read_tasks()["sets"][name]:
        raise UsageError(f'the release has no {name}: the embedded sample serves it, load_dataset("ecd", "{name}")')
    ids = dict.fromkeys(id for source in sources for id in _ids_of(source, part))
    return name, list(ids)


def _set_name(source: str) -> str:
    return source if source in read_tasks()["sets"] else find_task(source).set


def _ids_of(source: str, part: str | None) -> list[str]:
    sets = read_tasks()["sets"]
    if source in sets:
        return [id for p in sets[source]["parts"] if part in (None, p) for id in read_ids(f"{source}/{p}")]
    return [id for p, ids in load_split(source).items() if part in (None, p) for id in ids]


def _of_names(named: list[str], part: str | None) -> tuple[str, list[str]]:
    """The one set that has the ids and patterns, and all its ids."""
    served = [name for name, table in read_tasks()["sets"].items() if "url" in table]
    lists = {name: _ids_of(name, part) for name in served}
    having = {name for name, ids in lists.items() if _matching(named, ids)}
    if not having:
        raise _unknown(named[0], [id for ids in lists.values() for id in ids], "the release")
    if len(having) > 1:
        names = ", ".join(name for name in served if name in having)
        raise UsageError(f"{' '.join(named)} is in the sets {names}: say which, as in --set {names.split(', ')[0]}")
    (name,) = having
    return name, lists[name]


def _matching(named: list[str], ids: list[str]) -> bool:
    """Whether every name without wildcards is among the ids, and at least one pattern where there is no such name."""
    known = frozenset(ids)
    plain = [word for word in named if not _wild(word)]
    if plain:
        return any(word in known for word in plain)
    return any(fnmatch.filter(ids, word) for word in named)


def _chosen(named: list[str], ids: list[str], where: str) -> list[str]:
    known, chosen = frozenset(ids), dict[str, None]()
    for word in named:
        found = fnmatch.filter(ids, word) if _wild(word) else [word] if word in known else []
        if not found:
            raise _unknown(word, ids, where)
        chosen |= dict.fromkeys(found)
    return list(chosen)


def _wild(word: str) -> bool:
    return any(mark in word for mark in WILD)


def _unknown(word: str, ids: list[str], where: str) -> UnknownIdError:
    if _wild(word):
        return UnknownIdError(f"{word!r} matches no id of {where}: see the ids with `ecd split TASK --part test`")
    alike = suggest_ids(word, list(dict.fromkeys(ids)))
    tasks = difflib.get_close_matches(word.lower().replace("-", "_"), [*task_names(strict=True)], n=2, cutoff=0.75)
    hint = f"near: {', '.join([*tasks, *alike])}" if alike or tasks else "see the ids with `ecd split TASK --part test`"
    return UnknownIdError(f"{word} is neither a task nor an id of {where}; {hint}")


def _template(url: str, mirror: str | None) -> str:
    scheme, _, rest = url.partition("://")
    if scheme == "s3":  # a public bucket is a web server too
        bucket, _, key = rest.partition("/")
        url = f"https://{bucket}.s3.amazonaws.com/{key}"
    mirror = mirror or os.environ.get(MIRROR)
    if not mirror:
        return url
    if urlsplit(mirror).scheme not in ("http", "https") or not urlsplit(mirror).netloc:
        raise UsageError(f"{mirror} is no mirror: give a URL that begins with https:// or http://")
    if "{id}" in mirror:
        return mirror
    return "/".join([mirror.rstrip("/"), *url.rsplit("/", 2)[1:]])
