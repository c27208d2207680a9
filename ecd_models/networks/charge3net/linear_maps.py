"""Linear maps as in e3nn: weights are drawn from N(0, 1), results are divided by the root of the number of inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def fan_in(w: Tensor, components: int = 1) -> float:
    """The factor of a map [inputs, outputs]; components: the number of harmonics that are summed as well."""
    return 1 / math.sqrt(len(w) * components)


class LinearMaps:
    """Linear maps whose results are divided, which costs nothing on a processor."""

    def __call__(self, x: Tensor, w: nn.Parameter, inputs: int) -> Tensor:
        """x [..., i] times w [i, o] over the root of `inputs` [..., o]."""
        return x @ w / math.sqrt(inputs)

    def weight(self, w: nn.Parameter, factor: float) -> Tensor:
        """The weight times its factor."""
        return w * factor


PLAIN = LinearMaps()


class ScaledMaps(LinearMaps):
    """Linear maps whose weights are all scaled at once, so that a GPU starts one kernel instead of two for each map."""

    def __init__(self, factors: Mapping[nn.Parameter, float]):
        weights = _ScaleAll.apply(list(factors.values()), *factors)
        self._weights = dict(zip(factors, weights, strict=True))

    def __call__(self, x: Tensor, w: nn.Parameter, inputs: int) -> Tensor:
        """x [..., i] times w [i, o] over the root of `inputs`, which is part of the weight's factor [..., o]."""
        return x @ self._weights[w]

    def weight(self, w: nn.Parameter, factor: float) -> Tensor:
        """The weight times its factor."""
        return self._weights[w]


class _ScaleAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, factors: list[float], *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.factors = factors
        return tuple(torch._foreach_mul(weights, factors))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *torch._foreach_mul(gradients, ctx.factors)
