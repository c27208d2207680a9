"""The list of models that `load_model` takes by name: those of this package, and the published ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecd_models.checkpoint import DEFAULT, load_checkpoint
from ecd_models.training.trained_on import TrainedOn
from ecd_models.weights.cache import cached_path, is_cached
from ecd_models.weights.catalogue import PublishedWeights, published_weights, shipped_checkpoints

SHIPPED_LICENCE = "MIT"  # of this package


@dataclass(frozen=True)
class ListedModel:
    """A model that `load_model` takes by name: its source, licence and training data.

    path: its file on this machine, None if it is not downloaded yet.
    """

    name: str
    source: str
    licence: str
    trained_on: str
    densities: str
    path: Path | None

    def to_dict(self) -> dict[str, Any]:
        """The fields for JSON."""
        return {**vars(self), "path": None if self.path is None else str(self.path)}

    def __str__(self) -> str:
        where = "not fetched yet" if self.path is None else str(self.path)
        lines = [f"from {self.source} ({self.licence})", f"trained on {self.trained_on}", f"gives {self.densities}"]
        return "\n".join([self.name, *(f"    {line}" for line in [*lines, f"file: {where}"])])


def list_models() -> list[ListedModel]:
    """The models by name: those of this package, then the published ones."""
    shipped = [_describe_shipped(file) for file in shipped_checkpoints().values()]
    return [*shipped, *map(_describe_published, published_weights().values())]


def _describe_shipped(file: Path) -> ListedModel:
    model = load_checkpoint(file).model
    record = TrainedOn.from_metadata(model.metadata)
    trained_on = f"{len(record.ids)} crystals of {record.origin}" if record else "data that it does not name"
    made_by = (
        f"densities of {model.training_valences.made_by}"
        if model.training_valences
        else "densities of a code that it does not name"
    )
    default = " (the default)" if file.stem == DEFAULT else ""
    return ListedModel(file.stem, f"this package{default}", SHIPPED_LICENCE, trained_on, made_by, file)


def _describe_published(weights: PublishedWeights) -> ListedModel:
    path = cached_path(weights) if is_cached(weights) else None
    made_by = f"densities of {weights.training_valences.made_by}"
    return ListedModel(weights.name, weights.source, weights.licence, weights.trained_on, made_by, path)


def models_json() -> str:
    """The list as JSON text."""
    return json.dumps([model.to_dict() for model in list_models()], indent=2)
