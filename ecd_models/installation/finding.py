"""One line of the report: a part of the installation, its state, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "absent", "warning", "fault"]
SIGNS: dict[State, str] = {"ok": "ok", "absent": "-", "warning": "warn", "fault": "FAULT"}


@dataclass(frozen=True)
class Finding:
    """What was found of one part of the installation.

    Attributes
    ----------
    name : the part, as in "GPU".
    state : "ok"; "absent" for something optional that is not there; "warning" for something that may stop work later;
        "fault" for something that ecd cannot work without.
    text : what was found.
    remedy : what to do about it; empty where nothing needs to be done.
    """

    name: str
    state: State
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{SIGNS[self.state]:5} {self.name}: {self.text}" + (f"; {self.remedy}" if self.remedy else "")

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return vars(self)


def run_probe(name: str, probe: Callable[[], Iterator[Finding]], errors: tuple[type[Exception], ...]) -> list[Finding]:
    """The findings of a probe, with a fault at the end if it raises one of the errors that it may raise."""
    found: list[Finding] = []
    try:
        for finding in probe():
            found.append(finding)
    except errors as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        found.append(Finding(name, "fault", f"it cannot be examined ({reason})", "mend it and call `ecd doctor` again"))
    return found
