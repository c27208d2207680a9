"""What identifies a model in results: its name, network, size, checkpoint, and the data that trained it."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Any

from ecd_data.io.file_bytes import hash_file
from ecd_models.evaluation.strict import Strict
from ecd_models.model import DensityModel
from ecd_models.training.trained_on import TrainedOn
from ecd_models.weights.catalogue import PRETRAINED

SHIPPED = "shipped with ecd"


class ModelCard(Strict):
    """The card of a model.

    checkpoint: the file's name; checkpoint_sha256: of the file, None for a model without one. weights_sha256: of the
    weights, atoms and valences alone, whatever file they are in. settings: the network's; training: the settings of the
    training, None where the checkpoint does not say.
    """

    name: str
    network: str
    weights: int
    weights_sha256: str
    checkpoint: str | None
    checkpoint_sha256: str | None
    source: str | None
    superposed_atoms: bool
    scales_electrons: bool
    predicts_spin: bool
    made_by: str | None
    settings: dict[str, Any]
    training: dict[str, Any] | None
    trained_on: dict[str, Any] | None


def make_model_card(model: DensityModel) -> ModelCard:
    """The ModelCard of a model."""
    record = TrainedOn.from_metadata(model.metadata)
    file = model.file
    config: Any = getattr(model.network, "config", None)
    settings = asdict(config) if is_dataclass(config) and not isinstance(config, type) else {}
    shipped = file is not None and file.parent == PRETRAINED
    return ModelCard(
        name=file.stem if shipped and file is not None else model.name,
        network=type(model.network).__name__,
        weights=sum(parameter.numel() for parameter in model.parameters()),
        weights_sha256=model.weights_sha256,
        checkpoint=None if file is None else file.name,
        checkpoint_sha256=None if file is None else hash_file(file),
        source=SHIPPED if shipped else None if file is None else str(file),
        superposed_atoms=model.atoms is not None,
        scales_electrons=model.valences is not None,
        predicts_spin=model.spin,
        made_by=None if model.training_valences is None else model.training_valences.made_by,
        settings=settings,
        training=model.metadata.get("config"),
        trained_on=None
        if record is None
        else {**record.origin.to_dict(), "complete": record.complete, "crystals": len(record.ids)},
    )
