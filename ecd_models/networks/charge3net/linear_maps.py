"""Linear maps as in e3nn: weights are drawn from N(0, 1), results are divided by the root of the number of inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def fan_in(w: Tensor, components: int = 1) -> float:
    """What a map [inputs, outputs] is multiplied by; components: of the harmonics that are summed as well."""
    return 1 / math.sqrt(len(w) * components)


class LinearMaps:
    """Linear maps that divide what they give, which on a processor costs nothing."""

    def __call__(self, x: Tensor, w: nn.Parameter, inputs: int) -> Tensor:
        """x [..., i] times w [i, o] over the root of `inputs` [..., o]."""
        return x @ w / math.sqrt(inputs)

    def weight(self, w: nn.Parameter, factor: float) -> Tensor:
        """The weight times its factor."""
        return w * factor


PLAIN = LinearMaps()


class ScaledMaps(LinearMaps):
    """The same with all weights multiplied by their factors at once: a GPU starts one kernel in place of two a map."""

    def __init__(self, factors: Mapping[nn.Parameter, float]):
        weights = _Scaled.apply(list(factors.values()), *factors)
        self._weights = dict(zip(factors, weights, strict=True))

    def __call__(self, x: Tensor, w: nn.Parameter, inputs: int) -> Tensor:
        """x [..., i] times w [i, o] over the root of `inputs`, of which the weight's factor tells [..., o]."""
        return x @ self._weights[w]

    def weight(self, w: nn.Parameter, factor: float) -> Tensor:
        """The weight times its factor."""
        return self._weights[w]


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, factors: list[float], *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.factors = factors
        return tuple(torch._foreach_mul(weights, factors))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *torch._foreach_mul(gradients, ctx.factors)
