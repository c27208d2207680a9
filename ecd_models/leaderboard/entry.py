"""The schema of an entry of the leaderboard; `python -m ecd_models.leaderboard.entry` prints it as a JSON schema.

After matbench-discovery: files by name, size and hash; the licences of code and checkpoint apart; hardware and memory
required. An entry is "measured" with results files of `ecd evaluate`, or "reported" with numbers of a publication.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from ecd_data.errors import FormatError, UsageError
from ecd_models.evaluation.results import explain
from ecd_models.evaluation.strict import Strict

LARGEST = 200_000  # bytes of an entry: some thirty lines
Words = Annotated[str, StringConstraints(min_length=1, max_length=300, strip_whitespace=True)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s<>\"']+$", max_length=500)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]{0,150}\.json(\.gz)?$")]


class Author(Strict):
    """A person who answers for the entry."""

    name: Words
    affiliation: Words | None = None
    orcid: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{4}-\d{4}-\d{3}[\dX]$")] | None = None


class Code(Strict):
    """The code of a model, and its licence: an SPDX name such as MIT, or what is known of it."""

    url: Url | None
    licence: Words


class CheckpointFile(Strict):
    """The trained weights: where they are, their hash and size in bytes, and their licence."""

    url: Url | None
    name: Words
    sha256: Sha256
    size: Annotated[int, Field(gt=0)]
    licence: Words


class Training(Strict):
    """What trained a model."""

    data: Words
    crystals: Annotated[int, Field(gt=0)] | None
    functional: Words | None


class Hardware(Strict):
    """What a model was trained on and what its predictions need; "not stated" where a publication says nothing."""

    training: Words
    prediction: Words
    memory_GB: Annotated[float, Field(gt=0)] | None
    points_per_second: Annotated[float, Field(gt=0)] | None


class ResultsFile(Strict):
    """A results file of `ecd evaluate`, beside the entry or in the folder results/, by name, hash and size in bytes."""

    file: FileName
    sha256: Sha256
    size: Annotated[int, Field(gt=0)]


class Reported(Strict):
    """A number of a publication: the mean eps_mae in percent on a test set, or in words where it gives no number.

    task: one of the benchmark's, where the test set is its list. source: where the number stands. read: whether whoever
    wrote the entry read it there, or took it from an abstract or from somebody else.
    """

    tested_on: Words
    task: Words | None
    eps_mae_percent: Annotated[float, Field(ge=0)] | None
    spread_percent: Annotated[float, Field(ge=0)] | None = None
    stated: Words | None = None
    source: Words
    read: bool

    @model_validator(mode="after")
    def _needs_a_number(self) -> Reported:
        if self.eps_mae_percent is None and self.stated is None:
            raise ValueError("give eps_mae_percent, or what is stated in its place")
        return self


class Entry(Strict):
    """A model on the leaderboard; date: the day on which the entry was written."""

    format: Literal["ecd-entry-1"]
    kind: Literal["measured", "reported"]
    model: Words
    idea: Words
    date: datetime.date
    authors: Annotated[list[Author], Field(min_length=1)]
    paper: Url | None
    code: Code
    checkpoint: CheckpointFile | None
    weights: Annotated[int, Field(gt=0)] | None
    training: Training
    hardware: Hardware
    results: list[ResultsFile] = Field(default_factory=list)
    reported: list[Reported] = Field(default_factory=list)
    notes: Words | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Entry:
        if self.kind == "reported" and (self.results or not self.reported):
            raise ValueError("an entry of the kind reported has numbers under `reported` and no `results`")
        if self.kind == "measured":
            if not self.results or self.reported:
                raise ValueError("an entry of the kind measured has files under `results` and nothing under `reported`")
            if self.checkpoint is None or self.weights is None:
                raise ValueError("an entry of the kind measured needs `checkpoint` and `weights`")
            if self.hardware.memory_GB is None or self.hardware.points_per_second is None:
                raise ValueError("an entry of the kind measured needs `memory_GB` and `points_per_second` of hardware")
        return self


def read_entry(path: str | Path) -> Entry:
    """The entry in a YAML file.

    Raises
    ------
    UsageError : there is no such file.
    FormatError : it is no YAML, has keys without a value, or does not follow the schema; the message names them.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise FormatError(f"{path} is larger than an entry can be ({LARGEST:,} bytes)")
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise FormatError(f"{path} has YAML aliases (*name), which an entry does without: write the values out")
        record = yaml.safe_load(text)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: `ecd submit RESULTS.json... -o {path}` begins one") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder: name an entry, a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise FormatError(f"{path} is no YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(record, dict):
        raise FormatError(f"{path} is no entry: it is a YAML mapping with the keys of docs/leaderboard.md")
    try:
        return Entry.model_validate(record)
    except ValidationError as error:
        if empty := _list_empty_keys(error):
            raise FormatError(f"{path} is not filled in yet: write values in place of null for {empty}") from None
        raise FormatError(f"{path} does not follow the schema of entries ({explain(error)})") from None


def _list_empty_keys(error: ValidationError) -> str:
    """The keys that need a value and are null, as in "idea, code.licence"; empty where there are none."""
    faults = error.errors(include_url=False)
    return ", ".join(".".join(map(str, fault["loc"])) for fault in faults if fault["input"] is None)


def entry_as_yaml(record: dict[str, Any]) -> str:
    """The YAML text of an entry, its keys in the order of the record."""
    return yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=110)


def main() -> None:
    """Print the JSON schema of an entry."""
    print(json.dumps(Entry.model_json_schema(), indent=1))


if __name__ == "__main__":
    main()
