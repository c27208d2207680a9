"""The plan of a fetch: the ids of the crystals, and the URLs of their files."""

from __future__ import annotations

import difflib
import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from ecd_data.errors import UnknownIdError, UsageError, suggest_ids
from ecd_data.io.compression import strip_endings
from ecd_data.release.split_files import read_ids, read_tasks
from ecd_data.release.tasks import PARTS, UnknownTaskError, find_task, load_split, task_names

MIRROR = "ECD_MIRROR"
ENDINGS = (".gz", ".tar", ".json", ".chgcar")
WILDCARDS = "*?["


@dataclass(frozen=True)
class FetchPlan:
    """The crystals of one set to fetch, in the order of its lists, and the template of their URLs."""

    set: str
    functional: str
    ids: tuple[str, ...]
    template: str

    def url(self, id: str) -> str:
        """The URL of the file of a crystal."""
        return self.template.replace("{id}", quote(id, safe=""))

    def file(self, id: str) -> str:
        """The name of the file of a crystal."""
        return urlsplit(self.url(id)).path.rpartition("/")[2]


def plan_fetch(
    what: str | Sequence[str],
    *,
    part: str | None = None,
    set: str | None = None,
    limit: int | None = None,
    mirror: str | None = None,
) -> FetchPlan:
    """The FetchPlan for tasks, sets, ids and patterns.

    Parameters
    ----------
    what : tasks or sets ("hse") mean all of their crystals. Ids, and patterns with * ? [], select among these; without
        a task or set they are looked up in `set`, else in every set.
    part : only this part of the tasks or sets.
    set : the set of the ids.
    limit : largest number of crystals.
    mirror : replaces the part of the URLs before their last folder, or is a whole URL with {id}; by default the
        environment variable ECD_MIRROR.

    Raises
    ------
    UnknownIdError, UnknownTaskError, UsageError : the words name nothing, or crystals of more than one set; the message
        suggests similar names.
    """
    words = [what] if isinstance(what, str) else list(what)
    if part is not None and part not in (*PARTS, "unassigned"):
        raise UsageError(f"the parts are {', '.join(PARTS)}, not {part!r}")
    if limit is not None and limit < 1:
        raise UsageError(f"the limit is a positive number of crystals, not {limit}")
    if not words:
        raise UsageError("name what to fetch: a task such as ecd_hse, ids, or a pattern such as 'icsd-*'")
    tasks = [word for word in words if _is_task_or_set(word)] or ([set] if set else [])
    patterns = [strip_endings(word, ENDINGS) for word in words if not _is_task_or_set(word)]
    name, ids = _resolve_tasks(tasks, part) if tasks else _resolve_ids(patterns, part)
    if set and name != set:
        raise UsageError(f"{' '.join(tasks)} is of the set {name}, not {set}: leave one of them out")
    selection = _select_ids(patterns, ids, name) if patterns else ids
    if not selection:
        raise UsageError(f"{' '.join(words)} has no part {part!r}: see `ecd split`")
    table = read_tasks()["sets"][name]
    return FetchPlan(name, table["functional"], tuple(selection[:limit]), _make_template(table["url"], mirror))


def _is_task_or_set(word: str) -> bool:
    if word in read_tasks()["sets"]:
        return True
    try:
        find_task(word)
    except UnknownTaskError:
        return False
    return True


def _resolve_tasks(tasks: list[str], part: str | None) -> tuple[str, list[str]]:
    """The one set of some tasks and sets, and all their ids."""
    sets = dict.fromkeys(_set_of(task) for task in tasks)
    if len(sets) > 1:
        raise UsageError(f"{', '.join(tasks)} are of different sets ({', '.join(sets)}): fetch each to its own store")
    name = next(iter(sets))
    if "url" not in read_tasks()["sets"][name]:
        raise UsageError(f'the release has no {name}: the embedded sample serves it, load_dataset("ecd", "{name}")')
    ids = dict.fromkeys(id for task in tasks for id in _list_ids(task, part))
    return name, list(ids)


def _set_of(task: str) -> str:
    return task if task in read_tasks()["sets"] else find_task(task).set


def _list_ids(task: str, part: str | None) -> list[str]:
    sets = read_tasks()["sets"]
    if task in sets:
        return [id for p in sets[task]["parts"] if part in (None, p) for id in read_ids(f"{task}/{p}")]
    return [id for p, ids in load_split(task).items() if part in (None, p) for id in ids]


def _resolve_ids(patterns: list[str], part: str | None) -> tuple[str, list[str]]:
    """The one set that has the ids and patterns, and all ids of that set."""
    with_url = [name for name, table in read_tasks()["sets"].items() if "url" in table]
    lists = {name: _list_ids(name, part) for name in with_url}
    matches = [name for name in with_url if _match_any(patterns, lists[name])]
    if not matches:
        raise _unknown_id_error(patterns[0], [id for ids in lists.values() for id in ids], "the release")
    if len(matches) > 1:
        words, names = " ".join(patterns), ", ".join(matches)
        raise UsageError(f"{words} is in the sets {names}: say which, as in --set {matches[0]} (set=)")
    return matches[0], lists[matches[0]]


def _match_any(patterns: list[str], ids: list[str]) -> bool:
    """Whether the ids have any of the names without wildcards; without such names, whether any pattern matches."""
    all_ids = frozenset(ids)
    names = [word for word in patterns if not _is_pattern(word)]
    if names:
        return any(word in all_ids for word in names)
    return any(fnmatch.filter(ids, word) for word in patterns)


def _select_ids(patterns: list[str], ids: list[str], set_name: str) -> list[str]:
    all_ids, selection = frozenset(ids), dict[str, None]()
    for word in patterns:
        matches = fnmatch.filter(ids, word) if _is_pattern(word) else [word] if word in all_ids else []
        if not matches:
            raise _unknown_id_error(word, ids, set_name)
        selection |= dict.fromkeys(matches)
    return list(selection)


def _is_pattern(word: str) -> bool:
    return any(mark in word for mark in WILDCARDS)


def _unknown_id_error(word: str, ids: list[str], set_name: str) -> UnknownIdError:
    if _is_pattern(word):
        return UnknownIdError(f"{word!r} matches no id of {set_name}: see the ids with `ecd split TASK --part test`")
    alike = suggest_ids(word, list(dict.fromkeys(ids)))
    tasks = difflib.get_close_matches(word.lower().replace("-", "_"), [*task_names(strict=True)], n=2, cutoff=0.75)
    hint = f"near: {', '.join([*tasks, *alike])}" if alike or tasks else "see the ids with `ecd split TASK --part test`"
    return UnknownIdError(f"{word} is neither a task nor an id of {set_name}; {hint}")


def _make_template(url: str, mirror: str | None) -> str:
    scheme, _, rest = url.partition("://")
    if scheme == "s3":  # a public bucket is a web server too
        bucket, _, key = rest.partition("/")
        url = f"https://{bucket}.s3.amazonaws.com/{key}"
    mirror = mirror or os.environ.get(MIRROR)
    if not mirror:
        return url
    if urlsplit(mirror).scheme not in ("http", "https") or not urlsplit(mirror).netloc:
        raise UsageError(f"{mirror} is no URL of a mirror: give one that begins with https:// or http://")
    if "{id}" in mirror:
        return mirror
    return "/".join([mirror.rstrip("/"), *url.rsplit("/", 2)[1:]])
