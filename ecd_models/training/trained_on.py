"""Which crystals trained a model, as its checkpoint records them: ids and compositions, and where the data came from.

A checkpoint of an earlier version has no record. Its configuration says what it trained on:
`python -m ecd_models.training.trained_on FILE.safetensors ... [--sample]` adds the record to it, weights unchanged.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.release.data_origin import Origin
from ecd_data.release.formula import reduce_formula
from ecd_models.atoms.valences import learned_from
from ecd_models.checkpoint import FORMAT, LEARNED, add_metadata, load_checkpoint
from ecd_models.checkpoint_header import read_header, write_header
from ecd_models.task_data import TaskData, task_data
from ecd_models.training.config import TrainConfig
from ecd_models.training.probe_batches import subset

KEY = "trained_on"  # among a checkpoint's metadata
CRYSTAL, COMPOSITION, UNSEEN = "crystal", "composition", "unseen"  # what of a crystal a model saw in training
LARGEST = 1 << 28  # bytes of names: a million crystals have a tenth
REMEDY = "copy or download the checkpoint again"


@dataclass(frozen=True)
class TrainedOn:
    """The crystals whose densities trained a model: ids, reduced formulas, and the origin of the last training's data.

    complete: False where the training began with a checkpoint that does not say what had trained it. Crystals on which
    superposed atoms alone were fitted, and validation's, do not count.
    """

    ids: frozenset[str]
    formulas: frozenset[str]
    origin: Origin
    complete: bool = True

    def seen(self, id: str, formula: str) -> str:
        """What of a crystal trained the model: "crystal", itself; "composition", one of its formula; or "unseen"."""
        known = reduce_formula(formula) in self.formulas
        return CRYSTAL if known and id in self.ids else COMPOSITION if known else UNSEEN

    def joined(self, before: TrainedOn | None) -> TrainedOn:
        """This record with that of the checkpoint which the training began with, None where that has none."""
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
            "ids": _packed(self.ids),
            "formulas": _packed(self.formulas),
        }
        return json.dumps(record)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> TrainedOn | None:
        """The record in a checkpoint's metadata, None where it has none; raises FormatError where it is damaged."""
        if KEY not in metadata:
            return None
        try:
            record = json.loads(metadata[KEY])
            ids, formulas = (_unpacked(record[name]) for name in ("ids", "formulas"))
            if (len(ids), len(formulas)) != (record["crystals"], record["compositions"]):
                raise ValueError("its counts are not those of its names")
            origin = Origin(*(str(record[name]) for name in ("data_origin", "store_hash", "split_hash")))
            return cls(ids, formulas, origin, record["complete"] is True)
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise FormatError(f"the checkpoint's record of its training data is damaged ({error}): {REMEDY}") from error


def _packed(names: Collection[str]) -> str:
    """The sorted names, a line each, deflated, in base64: about 8 bytes a crystal of the release."""
    return base64.b64encode(zlib.compress("\n".join(sorted(names)).encode(), 9)).decode()


def _unpacked(text: str) -> frozenset[str]:
    unpacking = zlib.decompressobj()
    names = unpacking.decompress(base64.b64decode(text, validate=True), LARGEST)
    if unpacking.unconsumed_tail:
        raise ValueError("it is too large")
    return frozenset(names.decode().split("\n")) - {""}


def record_of(config: TrainConfig, data: TaskData, before: Mapping[str, Any] | None = None) -> TrainedOn:
    """What a training of `config` on `data` trains on; before: the metadata of the checkpoint that it starts from."""
    ids = subset(data.ids("train"), config.fraction, config.seed)
    table = data.store.columns("id", "formula")
    formulas = dict(zip(table["id"].to_pylist(), table["formula"].to_pylist(), strict=True))
    record = TrainedOn(frozenset(ids), frozenset(_reduced(formulas[id] for id in ids)), data.origin)
    return record.joined(TrainedOn.from_metadata(before or {})) if config.start else record


def _reduced(formulas: Iterable[str]) -> set[str]:
    return {reduce_formula(formula) for formula in formulas}


def add_record(path: str | Path, sample: bool = False) -> TrainedOn:
    """The record of a checkpoint; one without gets it, from the configuration that it was trained with.

    sample: the data were the embedded sample's. The data must be those of the training: their lists are read again. A
    card beside the checkpoint (FILE.md) that has its SHA-256 gets the new one. Raises UsageError where the checkpoint
    has no configuration.
    """
    path = Path(path)
    metadata = load_checkpoint(path).metadata
    if (recorded := TrainedOn.from_metadata(metadata)) is not None:
        return recorded
    if "config" not in metadata:
        raise UsageError(f"{path} does not say what it was trained with: give a best.safetensors of `ecd train`")
    config = replace(TrainConfig.from_dict(metadata["config"], str(path)), sample=sample)
    started = load_checkpoint(config.start).metadata if config.start.endswith(".safetensors") else None
    record = record_of(config, task_data(config.task, config.data_dir or None, sample), started)
    before = _sha256(path)
    add_metadata(path, {KEY: record.text})
    card = path.with_suffix(".md")
    if card.exists():
        card.write_text(re.sub(before, _sha256(path), card.read_text(encoding="utf-8")), encoding="utf-8")
    return record


def record_learned(path: str | Path, task: str, data_dir: str | None = None) -> None:
    """Write into a checkpoint what its training crystals, those of `task`, tell: see `valences.Learned`.

    For checkpoints of versions that recorded nothing. The bytes of the weights stay as they are. Raises UsageError
    where the task is not at hand, FormatError where the file is no checkpoint of this package.
    """
    if read_header(path).get("format") != FORMAT:
        raise FormatError(f"{path} has no ecd model header: give a checkpoint that `ecd train` wrote")
    data = task_data(task, data_dir)
    write_header(path, {LEARNED: json.dumps(learned_from(data.store, data.ids("train")).to_record())})


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Add the record to each checkpoint of the command line."""
    parser = argparse.ArgumentParser(description=add_record.__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--sample", action="store_true", help="the data were the embedded sample's")
    options = parser.parse_args()
    try:
        for path in options.checkpoints:
            record = add_record(path, options.sample)
            print(f"{path}: {len(record.ids)} crystals, {len(record.formulas)} compositions of {record.origin}")
    except EcdError as error:
        parser.exit(2 if isinstance(error, UsageError) else 1, f"{error}\n")


if __name__ == "__main__":
    main()
