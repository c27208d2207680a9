"""The crystals that trained a model, as its checkpoint records them: ids, compositions and the origin of the data.

A checkpoint of an earlier version has no record. Its configuration says what it trained on:
`python -m ecd_models.training.trained_on FILE.safetensors ... [--sample]` adds the record to it, weights unchanged.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ecd_data.crystal import Crystal
from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.io.file_bytes import hash_file
from ecd_data.release.data_origin import Origin
from ecd_data.release.formula import reduce_formula
from ecd_data.work.programs import run_program
from ecd_models.atoms.valences import read_training_valences
from ecd_models.checkpoint import FORMAT, TRAINING_VALENCES, add_metadata, load_checkpoint
from ecd_models.checkpoint_header import read_header, write_header
from ecd_models.task_data import TaskData, task_data
from ecd_models.training.config import TrainConfig
from ecd_models.training.probe_batches import subset

KEY = "trained_on"  # among a checkpoint's metadata
CRYSTAL, COMPOSITION, UNSEEN = "crystal", "composition", "unseen"  # how well the training data cover a crystal
LARGEST = 1 << 28  # bytes of names: refuses damaged records; the names of a million crystals take a tenth
REMEDY = "copy or download the checkpoint again"


@dataclass(frozen=True)
class TrainedOn:
    """The crystals whose densities trained a model: ids, reduced formulas, and the origin of the last training's data.

    complete: False if the training began with a checkpoint that does not say what had trained it. Crystals of the
    validation part, and those on which superposed atoms alone were fitted, do not count.
    """

    ids: frozenset[str]
    formulas: frozenset[str]
    origin: Origin
    complete: bool = True

    def seen(self, id: str, formula: str) -> str:
        """What the training data hold of a crystal: "crystal" (itself), "composition" (its formula) or "unseen"."""
        known = reduce_formula(formula) in self.formulas
        return CRYSTAL if known and id in self.ids else COMPOSITION if known else UNSEEN

    def rare_elements(self, crystal: Crystal) -> list[str]:
        """The elements of a crystal that a single composition of the training data has."""
        counts = Counter(symbol for formula in self.formulas for symbol in set(re.findall("[A-Z][a-z]?", formula)))
        return [symbol for symbol in crystal.elements if counts[symbol] == 1]

    def merge(self, before: TrainedOn | None) -> TrainedOn:
        """The union with the record of the checkpoint that the training began with; before: None if that has none."""
        if before is None:
            return replace(self, complete=False)
        complete = self.complete and before.complete
        return TrainedOn(self.ids | before.ids, self.formulas | before.formulas, self.origin, complete)

    @cached_property
    def text(self) -> str:
        """The record as a text for `add_metadata`: JSON with counts and the packed names."""
        record = {
            **self.origin.to_dict(),
            "complete": self.complete,
            "crystals": len(self.ids),
            "compositions": len(self.formulas),
            "ids": _pack(self.ids),
            "formulas": _pack(self.formulas),
        }
        return json.dumps(record)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> TrainedOn | None:
        """The record in a checkpoint's metadata, None if it has none; raises FormatError if it is damaged."""
        if KEY not in metadata:
            return None
        try:
            record = json.loads(metadata[KEY])
            ids, formulas = (_unpack(record[name]) for name in ("ids", "formulas"))
            if (len(ids), len(formulas)) != (record["crystals"], record["compositions"]):
                raise ValueError("its counts are not those of its names")
            origin = Origin(*(str(record[name]) for name in ("data_origin", "store_hash", "split_hash")))
            return cls(ids, formulas, origin, record["complete"] is True)
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise FormatError(f"the checkpoint's record of its training data is damaged ({error}): {REMEDY}") from error


def _pack(names: Collection[str]) -> str:
    """The sorted names, one a line, deflated, in base64: about 8 bytes for each crystal of the release."""
    return base64.b64encode(zlib.compress("\n".join(sorted(names)).encode(), 9)).decode()


def _unpack(text: str) -> frozenset[str]:
    decompressor = zlib.decompressobj()
    names = decompressor.decompress(base64.b64decode(text, validate=True), LARGEST)
    if decompressor.unconsumed_tail:
        raise ValueError("it is too large")
    return frozenset(names.decode().split("\n")) - {""}


def find_training_crystals(config: TrainConfig, data: TaskData, before: Mapping[str, Any] | None = None) -> TrainedOn:
    """The record of the crystals that a training of `config` on `data` uses.

    before: the metadata of the checkpoint that the training starts from.
    """
    ids = subset(data.ids("train"), config.fraction, config.seed)
    table = data.store.columns("id", "formula")
    formulas = dict(zip(table["id"].to_pylist(), table["formula"].to_pylist(), strict=True))
    record = TrainedOn(frozenset(ids), frozenset(_reduce(formulas[id] for id in ids)), data.origin)
    return record.merge(TrainedOn.from_metadata(before or {})) if config.start else record


def _reduce(formulas: Iterable[str]) -> set[str]:
    return {reduce_formula(formula) for formula in formulas}


def add_training_record(path: str | Path, sample: bool = False) -> TrainedOn:
    """The record of a checkpoint; a checkpoint without one gets it from the configuration that it was trained with.

    The data must be those of the training, since their lists are read again. If the folder has a card of the checkpoint
    (FILE.md) with its SHA-256, the card gets the new one.

    Parameters
    ----------
    path : the checkpoint.
    sample : whether the data were the embedded sample's.

    Raises
    ------
    UsageError : the checkpoint has no configuration.
    """
    path = Path(path)
    metadata = load_checkpoint(path).metadata
    if (record := TrainedOn.from_metadata(metadata)) is not None:
        return record
    if "config" not in metadata:
        raise UsageError(f"{path} does not say what it was trained with: give a best.safetensors of `ecd train`")
    config = replace(TrainConfig.from_dict(metadata["config"], str(path)), sample=sample)
    start = load_checkpoint(config.start).metadata if config.start.endswith(".safetensors") else None
    record = find_training_crystals(config, task_data(config.task, config.data_dir or None, sample), start)
    before = hash_file(path)
    add_metadata(path, {KEY: record.text})
    card = path.with_suffix(".md")
    if card.exists():
        card.write_text(re.sub(before, hash_file(path), card.read_text(encoding="utf-8")), encoding="utf-8")
    return record


def add_training_valences(path: str | Path, task: str, data_dir: str | None = None) -> None:
    """Write the electrons of each element in the training crystals into a checkpoint, see `TrainingValences`.

    This is for checkpoints of versions that did not record them. The bytes of the weights do not change.

    Parameters
    ----------
    path : the checkpoint.
    task : the task that it was trained on.
    data_dir : folder or URL with the stores, as in `task_data`.

    Raises
    ------
    UsageError : the data of the task are missing.
    FormatError : the file is no checkpoint of this package.
    """
    header = read_header(path)
    if header.get("format") != FORMAT:
        raise FormatError(f"{path} has no ecd model header: give a checkpoint that `ecd train` wrote")
    data = task_data(task, data_dir)
    settings = json.loads(header["metadata"]).get("config", {})
    ids = subset(data.ids("train"), settings.get("fraction", 1.0), settings.get("seed", 0))
    write_header(path, {TRAINING_VALENCES: json.dumps(read_training_valences(data.store, ids).to_record())})


def main() -> None:
    """Add the record to each checkpoint of the command line."""
    parser = argparse.ArgumentParser(description="Record in checkpoints which crystals trained them.")
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--sample", action="store_true", help="the data were the embedded sample's")
    options = parser.parse_args()
    try:
        for path in options.checkpoints:
            record = add_training_record(path, options.sample)
            print(f"{path}: {len(record.ids)} crystals, {len(record.formulas)} compositions of {record.origin}")
    except EcdError as error:
        parser.exit(2 if isinstance(error, UsageError) else 1, f"{error}\n")


if __name__ == "__main__":
    run_program(main)
