"""Published models: which one a state dict is of, and the conversion of its weights in both directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ecd_models.networks.charge3net.model import ChargE3Net
from ecd_models.networks.charge3net.published import export_weights, import_weights, infer_config, published_shapes
from ecd_models.networks.deepdft.model import DeepDFT
from ecd_models.networks.elements import ONE_HOT
from ecd_models.networks.invdeepdft.model import InvDeepDFT

Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


class Published(NamedTuple):
    """A published model.

    name, cls : the name and the class.
    mark : part of the names of its weights that no other model has.
    config : the hyperparameters from weights, cutoff (Å) and num_neighbors.
    shapes : the shapes of all trained weights from the hyperparameters.
    read : the weights of this package from the published ones and the hyperparameters.
    write : the published weights from those of this package and the hyperparameters.
    """

    name: str
    cls: Any
    mark: str
    config: Callable[[Weights, float, float], Any]
    shapes: Callable[[Any], Shapes]
    read: Callable[[Weights, Any], Weights]
    write: Callable[[Mapping[str, Tensor], Any], Weights]


def count_layers(weights: Weights) -> int:
    """The number of layers between atoms."""
    return len({name.split(".")[2] for name in weights if name.startswith("atom_model.interactions.")})


def infer_deepdft_config(weights: Weights, cutoff: float, num_neighbors: float) -> Any:
    """The hyperparameters of a published DeepDFT; raises a KeyError with the name of a missing weight."""
    number = weights["atom_model.interactions.0.filter_layer.weight"].shape[1]
    width = weights["atom_model.atom_embeddings.weight"].shape[1]
    return DeepDFT.Config(count_layers(weights), width, cutoff, number)


def infer_invdeepdft_config(weights: Weights, cutoff: float, num_neighbors: float) -> Any:
    """The hyperparameters of a published invDeepDFT; Gaussians have the default step if that fits the weights."""
    message = "atom_model.interactions.0.message_sum_module.message_function"
    number = weights[f"{message}.msg_function_edge.0.weight"].shape[1]
    width = weights["atom_model.atom_embeddings.weight"].shape[1]
    default = InvDeepDFT.Config(count_layers(weights), width, cutoff)
    return default if default.num_basis == number else replace(default, gaussian_expansion_step=cutoff / number)


def make_shape_function(cls: Any) -> Callable[[Any], Shapes]:
    """A function from a configuration to the shapes of a network whose weights have their published names."""

    def shapes(config: Any) -> Shapes:
        with torch.device("meta"):
            return {name: tuple(value.shape) for name, value in cls(config).state_dict().items()}

    return shapes


def copy_weights(weights: Mapping[str, Tensor], config: Any) -> Weights:
    """A copy of the weights, whose names are the published ones."""
    return {name: value.detach().cpu().clone() for name, value in weights.items()}


PUBLISHED = (
    Published(
        "ChargE3Net", ChargE3Net, ".convolutions.", infer_config, published_shapes, import_weights, export_weights
    ),
    Published(
        "DeepDFT",
        DeepDFT,
        ".filter_layer.",
        infer_deepdft_config,
        make_shape_function(DeepDFT),
        copy_weights,
        copy_weights,
    ),
    Published(
        "invDeepDFT",
        InvDeepDFT,
        ".message_function.",
        infer_invdeepdft_config,
        make_shape_function(InvDeepDFT),
        copy_weights,
        copy_weights,
    ),
)


def find_published(weights: Weights) -> Published | None:
    """The published model with most of the names of these weights, None if no name is known."""
    counts = {model: sum(model.mark in name for name in weights) for model in PUBLISHED}
    best = max(counts, key=lambda model: counts[model])
    return best if counts[best] else None


def find_misfits(weights: Weights, shapes: Shapes) -> tuple[list[str], list[str]]:
    """The names of weights that are missing or have another shape, and of weights that the model does not have.

    e3nn's constants, which are not trained, may be missing.
    """
    missing = [name for name, shape in shapes.items() if name not in weights or tuple(weights[name].shape) != shape]
    trained = [name for name, value in weights.items() if name.endswith((".weight", ".bias")) and value.numel()]
    return missing, [name for name in trained if name not in shapes]


def describe_unpublished(config: Any) -> str | None:
    """What a configuration of a published network has that the published code lacks; None where it lacks nothing."""
    if config.outputs != 1:
        return "magnetization"
    if config.species != ONE_HOT:
        return "element descriptors"
    return "bounded products" if getattr(config, "bounded", False) else None
