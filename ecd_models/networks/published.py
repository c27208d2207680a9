"""Which published model a state dict is, and the way there and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ecd_models.networks.charge3net.model import ChargE3Net
from ecd_models.networks.charge3net.published import inferred_config, live_weights, published_shapes, published_weights
from ecd_models.networks.deepdft.model import DeepDFT
from ecd_models.networks.invdeepdft.model import InvDeepDFT

Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


class Published(NamedTuple):
    """A published model: its name, class, and a part of a name that no other model's weights have.

    config: hyperparameters from weights, cutoff (Å) and num_neighbors; shapes: of all trained weights;
    read: our state from theirs; written: their state from ours.
    """

    name: str
    cls: Any
    mark: str
    config: Callable[[Weights, float, float], Any]
    shapes: Callable[[Any], Shapes]
    read: Callable[[Weights, Any], Weights]
    written: Callable[[Mapping[str, Tensor], Any], Weights]


def depth(weights: Weights) -> int:
    """The number of layers between atoms."""
    return len({name.split(".")[2] for name in weights if name.startswith("atom_model.interactions.")})


def deepdft_config(weights: Weights, cutoff: float, num_neighbors: float) -> Any:
    """The hyperparameters of a published DeepDFT; a KeyError names a weight that is missing."""
    number = weights["atom_model.interactions.0.filter_layer.weight"].shape[1]
    width = weights["atom_model.atom_embeddings.weight"].shape[1]
    return DeepDFT.Config(depth(weights), width, cutoff, number)


def invdeepdft_config(weights: Weights, cutoff: float, num_neighbors: float) -> Any:
    """The hyperparameters of a published invDeepDFT: the step is the usual one unless it gives another basis."""
    message = "atom_model.interactions.0.message_sum_module.message_function"
    number = weights[f"{message}.msg_function_edge.0.weight"].shape[1]
    width = weights["atom_model.atom_embeddings.weight"].shape[1]
    usual = InvDeepDFT.Config(depth(weights), width, cutoff)
    return usual if usual.num_basis == number else replace(usual, gaussian_expansion_step=cutoff / number)


def own_shapes(cls: Any) -> Callable[[Any], Shapes]:
    """The shapes of a class whose weights have their published names."""

    def shapes(config: Any) -> Shapes:
        with torch.device("meta"):
            return {name: tuple(value.shape) for name, value in cls(config).state_dict().items()}

    return shapes


def own_weights(weights: Mapping[str, Tensor], config: Any) -> Weights:
    """A copy: the names are the published ones."""
    return {name: value.detach().cpu().clone() for name, value in weights.items()}


PUBLISHED = (
    Published(
        "ChargE3Net", ChargE3Net, ".convolutions.", inferred_config, published_shapes, live_weights, published_weights
    ),
    Published("DeepDFT", DeepDFT, ".filter_layer.", deepdft_config, own_shapes(DeepDFT), own_weights, own_weights),
    Published(
        "invDeepDFT",
        InvDeepDFT,
        ".message_function.",
        invdeepdft_config,
        own_shapes(InvDeepDFT),
        own_weights,
        own_weights,
    ),
)


def recognised(weights: Weights) -> Published | None:
    """The published model that has most of these weights' names."""
    counts = {model: sum(model.mark in name for name in weights) for model in PUBLISHED}
    best = max(counts, key=lambda model: counts[model])
    return best if counts[best] else None


def misfits(weights: Weights, shapes: Shapes) -> tuple[list[str], list[str]]:
    """Names of the weights that are absent or of another shape, and of those that are not the model's.

    e3nn's constants, which are not trained, may be there or not.
    """
    absent = [name for name, shape in shapes.items() if name not in weights or tuple(weights[name].shape) != shape]
    trained = [name for name, value in weights.items() if name.endswith((".weight", ".bias")) and value.numel()]
    return absent, [name for name in trained if name not in shapes]
