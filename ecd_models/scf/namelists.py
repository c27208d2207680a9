"""Fortran namelists in the text of an input: what they assign, and the same text with another value.

Comments, order and lines of the text stay as they are where a value is set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ecd_data.errors import FormatError

GROUP = re.compile(r"^[ \t]*&([A-Za-z_]\w*)", re.MULTILINE)
TOKEN = re.compile(
    r"""[\s,;]*(?:
    (?P<comment>![^\n]*)
    | (?P<end>/|&end\b)
    | (?P<key>[A-Za-z]\w*(?:[ \t]*\([^)\n]*\))?)\s*=
    | (?P<value>'(?:[^'\n]|'')*'|"(?:[^"\n]|"")*"|[^\s,;'"!/=&]+)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
REPEATED = re.compile(r"(\d+)\*(\S+)")  # 3*0.5 stands for three values
LONGEST_ARRAY = 10_000  # values: a larger count of repetitions is a typing error
LOGICAL = re.compile(r"\.?([tf])", re.IGNORECASE)


@dataclass(frozen=True)
class Assignment:
    """A key in lower case, the texts of its values, and where they stand in the text."""

    key: str
    values: tuple[str, ...]
    start: int
    end: int


class Namelists:
    """The namelists of a text; `name` is what errors call it.

    Raises
    ------
    FormatError : a namelist has no end, stands there twice, or cannot be read.
    """

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self.groups: dict[str, list[Assignment]] = {}
        self._behind_name: dict[str, int] = {}
        self.end = 0  # behind the last namelist, where the cards of pw.x begin
        while match := GROUP.search(text, self.end):
            group = match[1].lower()
            if group in self.groups:
                raise FormatError(f"{name} has &{group} twice: remove one of them")
            self._behind_name[group] = match.end()
            self.groups[group], self.end = self._scan(group, match.end())

    def _scan(self, group: str, position: int) -> tuple[list[Assignment], int]:
        """The assignments of a namelist, and the position behind its end."""
        found: list[Assignment] = []
        while True:
            match = TOKEN.match(self.text, position)
            if match is None:
                rest = " ".join(self.text[position:].split())[:40]
                where = f"cannot be read at {rest!r}" if rest else "has no / at its end"
                raise FormatError(f"{self.name}: the namelist &{group} {where}: correct it")
            position = match.end()
            if match["end"]:
                return found, position
            if match["key"]:
                found.append(Assignment(re.sub(r"\s", "", match["key"]).lower(), (), position, position))
            elif match["value"]:
                if not found:
                    raise FormatError(f"{self.name}: &{group} begins with {match['value']!r}, which has no name and =")
                last = found.pop()
                start = last.start if last.values else match.start("value")
                found.append(Assignment(last.key, (*last.values, match["value"]), start, position))

    def number(self, group: str, key: str) -> float | None:
        """The number that is assigned; None without one."""
        text = self._single(group, key)
        return None if text is None else self._parse_number(text, key)

    def whole_number(self, group: str, key: str) -> int | None:
        """The whole number that is assigned; None without one."""
        number = self.number(group, key)
        if number is not None and number != int(number):
            raise FormatError(f"{self.name} has {key} = {number:g}, which is no whole number: correct it")
        return None if number is None else int(number)

    def flag(self, group: str, key: str) -> bool:
        """Whether .true. is assigned."""
        text = self._single(group, key)
        if text is None:
            return False
        match = LOGICAL.match(text)
        if match is None:
            raise FormatError(f"{self.name} has {key} = {text}, which is neither .true. nor .false.: correct it")
        return match[1].lower() == "t"

    def word(self, group: str, key: str) -> str | None:
        """The text in quotes that is assigned, without blanks around it; None without one."""
        text = self._single(group, key)
        if text is None:
            return None
        if text[0] not in "'\"":
            raise FormatError(f"{self.name} has {key} = {text} without quotes: write {key} = '{text}'")
        return text[1:-1].replace(2 * text[0], text[0]).strip()

    def numbers(self, group: str, key: str) -> dict[int, float]:
        """The numbers of an array by index from 1: of `key(2) = 0.5`, `key = 0.1, 0.5` or `key(2:3) = 0.1, 0.5`."""
        found: dict[int, float] = {}
        for one in self.groups.get(group, ()):
            match = re.fullmatch(re.escape(key) + r"(?:\((\d*)(?::\d*)?\))?", one.key)
            if match:
                index = int(match[1] or 1)
                texts = [text for value in one.values for text in self._repeat(value)]
                found |= {index + n: self._parse_number(text, key) for n, text in enumerate(texts)}
        return found

    def set_value(self, group: str, key: str, literal: str) -> Namelists:
        """Namelists of the same text with another value of a key, which is added behind `&group` if it is not there.

        Raises
        ------
        FormatError : there is no such namelist.
        """
        if group not in self.groups:
            raise FormatError(f"{self.name} has no namelist &{group}, without which pw.x stops: add it")
        text = self.text
        there = [one for one in self.groups[group] if one.key == key]
        for one in reversed(there):
            text = text[: one.start] + (literal if one.values else f" {literal}") + text[one.end :]
        if not there:
            behind = self._behind_name[group]
            line_end = "\r\n" if "\r\n" in text else "\n"
            text = f"{text[:behind]}{line_end}  {key} = {literal}{line_end}{text[behind:].removeprefix(line_end)}"
        return Namelists(text, self.name)

    def has(self, group: str, key: str) -> bool:
        """Whether a value is assigned to a key."""
        return any(one.key == key and one.values for one in self.groups.get(group, ()))

    def _single(self, group: str, key: str) -> str | None:
        """The text of the only value of a key: as in Fortran, the last assignment counts."""
        found = [one.values for one in self.groups.get(group, ()) if one.key == key and one.values]
        if not found:
            return None
        if len(found[-1]) != 1:
            raise FormatError(f"{self.name} has {key} = {' '.join(found[-1])} where one value is due: correct it")
        return found[-1][0]

    def _repeat(self, text: str) -> list[str]:
        match = REPEATED.fullmatch(text)
        return [text] if match is None else [match[2]] * min(int(match[1]), LONGEST_ARRAY)

    def _parse_number(self, text: str, key: str) -> float:
        try:
            return parse_fortran_number(text)
        except ValueError:
            raise FormatError(f"{self.name} has {key} = {text}, which is no number: correct it") from None


def parse_fortran_number(text: str) -> float:
    """The number in a text such as 1.5, 2d-3 or 1.0D0; raises ValueError where it is none, or not finite."""
    number = float(re.sub("[dq]", "e", text, flags=re.IGNORECASE))
    if number - number != 0:
        raise ValueError(f"{text} is not finite")
    return number


def quote(text: str) -> str:
    """The text as a Fortran string."""
    return "'" + text.replace("'", "''") + "'"
