"""Lets the site read both forms of the docstrings: `name : sentence` on one line, and the sentence below the name."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

SECTION = re.compile(r"^(Parameters|Attributes|Raises|Returns|Yields)\n-+\n((?:.*\n?)*?)(?=\n\S[^\n]*\n-+\n|\Z)", re.M)
ON_ONE_LINE = re.compile(r"^(\*{0,2}\w[\w, .*\[\]]*?) : (.+)$")


def put_sentences_below(text: str) -> str:
    """The docstring with `name : sentence` as `name` and an indented line; griffe takes such a sentence for a type."""
    return SECTION.sub(lambda match: match[0].replace(match[2], _split_lines(match[2])), text)


def _split_lines(section: str) -> str:
    lines = []
    for line in section.split("\n"):
        found = ON_ONE_LINE.match(line)
        lines += [found[1], f"    {found[2]}"] if found else [line]
    return "\n".join(lines)


class DocstringForms(Extension):
    """Rewrites each docstring before griffe parses it; types come from the annotations of the code."""

    def on_object(self, *, obj: Object, **options: Any) -> None:
        """Called by griffe for each object."""
        if obj.docstring is not None:
            obj.docstring.value = put_sentences_below(obj.docstring.value)
