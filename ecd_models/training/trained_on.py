"""The crystals that trained a model, as its checkpoint records them: ids, compositions and the origin of the data."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ecd_data.crystal import Crystal
from ecd_data.errors import FormatError
from ecd_data.release.data_origin import Origin
from ecd_data.release.formula import reduce_formula
from ecd_models.task_data import TaskData
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
