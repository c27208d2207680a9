"""The shifted softplus, ln(1/2 + exp(x)/2), to full precision about zero, where softplus(x) - ln 2 loses digits."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

LARGE = 80.0  # above, the exponential could overflow, and the function is linear


class _ShiftedSoftplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (_without_branch if x.is_cuda else _with_branch)(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        if gradients[0].is_cuda:  # the same in one kernel
            return torch.ops.aten.softplus_backward(gradients[0], ctx.saved_tensors[0], 1, LARGE)
        return gradients[0] * torch.sigmoid(ctx.saved_tensors[0])


def _with_branch(x: Tensor) -> Tensor:
    """The function in the fewest operations [any shape]."""
    y = torch.expm1(x).mul_(0.5).log1p_()
    if x.numel() and x.amax() > LARGE:
        y = torch.where(x > LARGE, x - math.log(2), y)
    return y


def _without_branch(x: Tensor) -> Tensor:
    """The function without a decision that waits for the values, for GPUs [any shape]."""
    y = x.clamp(max=LARGE).expm1_().mul_(0.5).log1p_()
    return torch.maximum(y, x - math.log(2), out=y)  # the second is larger beyond LARGE only


class ShiftedSoftplus(nn.Module):
    """ln(1/2 + exp(x)/2), to full precision about zero, where softplus(x) - ln 2 loses digits."""

    def forward(self, x: Tensor) -> Tensor:
        """The function of each element [any shape]."""
        return _ShiftedSoftplus.apply(x)
