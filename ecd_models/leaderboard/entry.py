"""The schema of an entry of the leaderboard; `python -m ecd_models.leaderboard.entry` prints it as a JSON schema.

After matbench-discovery: files by name, size and hash; the licences of code and checkpoint apart; hardware and memory
required. An entry is "measured" with results files of `ecd evaluate`, or "reported" with numbers of a publication. A
new entry from results files has everything that they say; what only its author knows is null.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from ecd_data.errors import FormatError, UsageError
from ecd_data.io.file_bytes import hash_file
from ecd_data.work.programs import run_program
from ecd_models.evaluation.results import Results, explain, read_results
from ecd_models.evaluation.strict import Strict
from ecd_models.leaderboard.entry_figures import describe_files, measure_hardware

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
    median_percent: Annotated[float, Field(ge=0)] | None = None
    p90_percent: Annotated[float, Field(ge=0)] | None = None
    p99_percent: Annotated[float, Field(ge=0)] | None = None
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


class UniqueKeyLoader(yaml.SafeLoader):
    """A loader of plain data that refuses a key that is written twice, of which YAML would take the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node.

        Raises
        ------
        ConstructorError : a key is there twice.
        """
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice} is written twice: leave one out", node.start_mark
            )
        return super().construct_mapping(node, deep)


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
        record = yaml.load(text, Loader=UniqueKeyLoader)  # a SafeLoader
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
        raise FormatError(f"{path} does not follow the schema of entries: {explain(error)}") from None


def _list_empty_keys(error: ValidationError) -> str:
    """The keys that need a value and are null, as in "idea, code.licence"; empty where there are none."""
    faults = error.errors(include_url=False)
    return ", ".join(".".join(map(str, fault["loc"])) for fault in faults if fault["input"] is None)


def entry_as_yaml(record: dict[str, Any]) -> str:
    """The YAML text of an entry, its keys in the order of the record."""
    return yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=110)


UNKNOWN = None  # what the author fills in: the schema refuses it, and the message names the key


def make_entry(paths: Sequence[Path], checkpoint: Path | None = None) -> str:
    """The YAML of an entry for the model of some results files.

    The name, the licences, the idea, the authors and the training's hardware stay empty: `ecd submit ENTRY.yaml` names
    each of them until it is filled in.

    Parameters
    ----------
    paths : the results files, all of one checkpoint.
    checkpoint : the file of the checkpoint, for its size; without it the size stays empty too.

    Raises
    ------
    UsageError : the files are of several checkpoints or two are of one part, or the checkpoint is another one.
    FormatError : a file is no results file.
    """
    results = [read_results(path) for path in paths]
    parts = [f"{one.task} {one.part}" for one in results]
    if twice := next((part for part in parts if parts.count(part) > 1), None):
        raise UsageError(f"two results files are of {twice}: an entry has one for each part, leave one out")
    hashes = {one.model_card.checkpoint_sha256 for one in results}
    if len(hashes) != 1 or None in hashes:
        raise UsageError(f"{paths[0]} and the others are not of one checkpoint file: an entry is of one checkpoint")
    if checkpoint is not None and {hash_file(checkpoint)} != hashes:
        raise UsageError(f"{checkpoint} is not the checkpoint of the results: give the one that was evaluated")
    return entry_as_yaml(_fill_in(results, paths, checkpoint))


def _fill_in(results: Sequence[Results], paths: Sequence[Path], checkpoint: Path | None) -> dict[str, Any]:
    """The entry as far as the results tell it."""
    card = results[0].model_card
    trained = card.trained_on or {}
    return {
        "format": "ecd-entry-1",
        "kind": "measured",
        "model": results[0].model,
        "idea": UNKNOWN,
        "date": datetime.date.today(),
        "authors": [{"name": UNKNOWN}],
        "paper": None,
        "code": {"url": None, "licence": UNKNOWN},
        "checkpoint": {
            "url": None,
            "name": card.checkpoint,
            "sha256": card.checkpoint_sha256,
            "size": checkpoint.stat().st_size if checkpoint is not None else UNKNOWN,
            "licence": UNKNOWN,
        },
        "weights": card.weights,
        "training": {
            "data": trained.get("data_origin", UNKNOWN),
            "crystals": trained.get("crystals"),
            "functional": card.made_by,
        },
        "hardware": _fill_in_hardware(results),
        "results": describe_files(paths),
    }


def _fill_in_hardware(results: Sequence[Results]) -> dict[str, Any]:
    """The machines of the results with their memory and speed."""
    machines = dict.fromkeys(f"{one.machine.processor}, {one.machine.device}" for one in results)
    return {"training": UNKNOWN, "prediction": "; ".join(machines), **measure_hardware(results)}


def main() -> None:
    """Print the JSON schema of an entry."""
    print(json.dumps(Entry.model_json_schema(), indent=1))


if __name__ == "__main__":
    run_program(main)
