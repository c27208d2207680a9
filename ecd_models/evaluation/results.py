"""The results file of an evaluation: its schema, writing it, and reading it with everything checked.

`python -m ecd_models.evaluation.results` prints the JSON schema. A file has a hash of its own content, and its
statistics are computed again from its crystals when it is read, so that a change by hand is found.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from ecd_data.errors import FormatError, UsageError
from ecd_data.io.atomic_write import write_whole
from ecd_data.work.programs import run_program
from ecd_models.evaluation.crystal_result import CrystalResult
from ecd_models.evaluation.machine import Machine
from ecd_models.evaluation.model_card import ModelCard
from ecd_models.evaluation.statistics import (
    Cost,
    ElectronSummary,
    Groups,
    RegionSummary,
    group_crystals,
    summarize_cost,
    summarize_crystals,
    summarize_electrons,
    summarize_regions,
)
from ecd_models.evaluation.strict import Strict
from ecd_models.metrics import Summary, summarize

FORMAT = "ecd-results-2"
HASH = "content_sha256"
MOST_FAULTS = 6  # of a schema that one message names: a reader mends these first
LARGEST = 1 << 29  # bytes of a results file: 140,646 crystals have a half
TOLERANCE = 1e-6  # relative, between stored and recomputed statistics


class AtomResults(Strict):
    """The errors of the model's superposed atoms alone, in percent."""

    summary: Summary
    eps_mae_percent: dict[str, float]


class Results(Strict):
    """All of an evaluation of one model on one part of a task or store.

    crystals_judged of the part's crystals_in_part crystals have an error; failures says by id why others have none, and
    the statistics are without them. seen_in_training: the crystals by what of them trained the model.
    """

    format: Literal["ecd-results-2"] = "ecd-results-2"
    task: str
    data_origin: str
    store_hash: str
    split_hash: str
    part: str
    crystals_judged: int
    crystals_in_part: int
    model: str
    model_card: ModelCard
    model_trained_on: dict[str, str] | None
    machine: Machine
    summary: Summary
    groups: Groups
    regions: dict[str, RegionSummary]
    electrons: ElectronSummary
    cost: Cost
    seen_in_training: dict[str, Any]
    superposed_atoms: AtomResults | None
    eps_mae_percent: dict[str, float]
    failures: dict[str, str]
    crystals: list[CrystalResult]

    @property
    def compounds(self) -> dict[str, str]:
        """The compound, a reduced formula, by id."""
        return {crystal.id: crystal.compound for crystal in self.crystals}

    @property
    def errors(self) -> dict[str, float]:
        """The eps_mae by id, as fractions."""
        return {id: error / 100 for id, error in self.eps_mae_percent.items()}

    @property
    def data(self) -> tuple[str, str, str, str]:
        """What two results must share to be compared: task, part, hash of the store, hash of the split."""
        return self.task, self.part, self.store_hash, self.split_hash


def compute_statistics(crystals: Sequence[CrystalResult]) -> dict[str, Any]:
    """The fields of Results that follow from its crystals."""
    atoms = {c.id: c.superposed_atoms_percent for c in crystals if c.superposed_atoms_percent is not None}
    compounds = {c.id: c.compound for c in crystals}
    return {
        "crystals_judged": len(crystals),
        "summary": summarize_crystals(crystals),
        "groups": group_crystals(crystals),
        "regions": summarize_regions(crystals),
        "electrons": summarize_electrons(crystals),
        "cost": summarize_cost(crystals),
        "eps_mae_percent": {c.id: c.eps_mae_percent for c in crystals},
        "superposed_atoms": AtomResults(
            summary=summarize([error / 100 for error in atoms.values()], [compounds[id] for id in atoms]),
            eps_mae_percent=atoms,
        )
        if atoms
        else None,
    }


def write_results(results: Results, path: str | Path) -> None:
    """Write results to a JSON file with the hash of their content; the file appears whole or not at all.

    A name that ends in .gz gives a compressed file, which depends on the results alone.
    """
    record = results.model_dump(mode="json")
    record[HASH] = hash_content(record)
    content = (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()
    if Path(path).suffix == ".gz":
        content = gzip.compress(content, 9, mtime=0)
    with write_whole(path) as aside:
        aside.write_bytes(content)


def hash_content(record: Mapping[str, Any]) -> str:
    """The SHA-256 of a results record without its own hash, whatever the order of its keys and its spaces."""
    content = {key: value for key, value in record.items() if key != HASH}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_results(path: str | Path) -> Results:
    """The results in a file, with schema, hash and statistics checked.

    Raises
    ------
    UsageError : there is no such file.
    FormatError : it is no results file, or it was changed after it was written.
    """
    record = _read_json(Path(path))
    digest = record.pop(HASH, None)
    try:
        results = Results.model_validate(record)
    except ValidationError as error:
        raise FormatError(f"{path} does not follow the schema of results ({explain(error)}): {REMEDY}") from None
    if digest != hash_content(record):
        raise FormatError(f"{path} was changed after it was written, its hash is another: {REMEDY}")
    if wrong := _find_inconsistency(results):
        raise FormatError(f"{path} contradicts itself in {wrong}, which does not follow from its crystals: {REMEDY}")
    return results


REMEDY = "write it again with `ecd evaluate -o`"


def explain(error: ValidationError) -> str:
    """The faults that a schema found, as in "summary.count is missing": the first ones, and how many more there are."""
    faults = [_explain_fault(fault) for fault in error.errors(include_url=False)]
    more = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
    return "; ".join([*faults[:MOST_FAULTS], *more])


def _explain_fault(fault: Any) -> str:
    """A fault that pydantic found, in words of its key."""
    where = ".".join(map(str, fault["loc"]))[:100]
    if fault["type"] == "missing":
        return f"{where} is missing"
    if fault["type"] == "extra_forbidden":
        return f"{where} is no key of the schema"
    message = fault["msg"].removeprefix("Value error, ")
    message = message.removeprefix("Input should ").removeprefix("String should ").removeprefix("List should ")
    if message == fault["msg"] or not where:
        return f"{where}: {message}" if where else message
    given = f", not {str(fault['input'])[:60]!r}" if isinstance(fault["input"], str | int | float) else ""
    return f"{where} has to {message}{given}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise FormatError(f"{path} is larger than results can be ({LARGEST:,} bytes): give a results file")
        record = json.loads(_read_text(path))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: make it with `ecd evaluate TASK -m MODEL -o {path}`") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder: name the results files in it") from None
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no JSON file ({error}): {REMEDY}") from None
    if not isinstance(record, dict):
        raise FormatError(f"{path} is no results file: {REMEDY}")
    if record.get("format") != FORMAT:
        raise FormatError(f"{path} is no results file of the format {FORMAT}: {REMEDY}")
    return record


def _read_text(path: Path) -> str:
    if path.suffix != ".gz":
        return path.read_text(encoding="utf-8")
    with gzip.open(path) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"it unpacks to more than {LARGEST:,} bytes")
    return content.decode()


def _find_inconsistency(results: Results) -> str:
    """The first statistic that does not follow from the crystals; "" where all do."""
    if not results.crystals:
        return "crystals"
    found = compute_statistics(results.crystals)
    for name, value in found.items():
        stored = getattr(results, name)
        if not _agree(_plain(stored), _plain(value)):
            return name
    both = set(results.failures) & set(results.eps_mae_percent)
    return "failures" if both or len(results.eps_mae_percent) < len(results.crystals) else ""


def _plain(value: Any) -> Any:
    return json.loads(
        json.dumps(value, default=lambda part: part.model_dump(mode="json") if isinstance(part, Strict) else vars(part))
    )


def _agree(one: Any, two: Any) -> bool:
    """Whether two JSON values are equal but for the rounding of their numbers."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_agree(one[key], two[key]) for key in one)
    if isinstance(one, float | int) and isinstance(two, float | int):
        return abs(one - two) <= TOLERANCE * max(1.0, abs(one), abs(two))
    return bool(one == two)


def main() -> None:
    """Print the JSON schema of a results file."""
    schema = Results.model_json_schema()
    schema["properties"][HASH] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    print(json.dumps(schema, indent=1))


if __name__ == "__main__":
    run_program(main)
