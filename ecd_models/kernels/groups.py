"""Sums of the rows of each group, and the adjoint: the two directions between edges and points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

try:
    import triton
except ImportError:  # sums on a GPU are then atomic, so their rounding differs from run to run
    triton = None


@dataclass(frozen=True, eq=False)
class Groups:
    """The division of e rows into n groups.

    index : the group of each row [e].
    starts : the positions of the groups among the rows sorted by group [n + 1].
    order : these sorted rows [e], None if the rows are sorted already.
    """

    index: Tensor
    starts: Tensor
    order: Tensor | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    def to(self, device: torch.device | str) -> Groups:
        """The same groups on a device."""
        order = None if self.order is None else self.order.to(device)
        return Groups(self.index.to(device), self.starts.to(device), order)

    def sum(self, rows: Tensor) -> Tensor:
        """The sum of each group's rows [e, ...], in float32 at least; 0 for a group without rows [n, ...]."""
        return _Sum.apply(rows, self)

    def sum_products(self, rows: Tensor, factors: Tensor) -> Tensor:
        """The sum of each group's rows [e, w] times their factors, in float32 at least [n, w].

        factors [e / size, w]: one for every row, or for `size` rows that follow each other.
        """
        return _SumProducts.apply(rows, factors, self)

    def spread(self, values: Tensor) -> Tensor:
        """The value [n, ...] of each row's group [e, ...]."""
        return _Spread.apply(values, self)

    @classmethod
    def of(cls, index: Tensor, count: int) -> Groups:
        """The `count` groups of rows in any order, from the group of each row [e]."""
        order = torch.argsort(index, stable=True).to(torch.int32)
        bounds = torch.arange(count + 1, device=index.device, dtype=index.dtype)
        starts = torch.searchsorted(index[order], bounds).to(torch.int32)
        return cls(index.to(torch.int32), starts, order)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, groups: Groups) -> Tensor:
        ctx.groups, ctx.dtype = groups, rows.dtype
        return add_rows(rows, groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].to(ctx.dtype).index_select(0, ctx.groups.index), None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, groups: Groups) -> Tensor:
        ctx.groups, ctx.dtype = groups, values.dtype
        return values.index_select(0, groups.index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return add_rows(gradients[0], ctx.groups).to(ctx.dtype), None


class _SumProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, factors: Tensor, groups: Groups) -> Tensor:
        rows, factors = rows.contiguous(), factors.contiguous()
        ctx.groups = groups
        ctx.save_for_backward(rows, factors)
        if not uses_triton(rows) or not len(rows):
            return add_rows(_multiply(rows, factors), groups)
        from ecd_models.kernels.group_kernels import sum_products

        return sum_products(rows, factors, groups.starts, groups.order, _choose_sum_type(rows))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, factors = ctx.saved_tensors
        if uses_triton(rows) and len(rows):
            from ecd_models.kernels.group_kernels import spread_products

            return *spread_products(gradients[0].contiguous(), ctx.groups.index, rows, factors), None
        spread = gradients[0].to(rows.dtype).index_select(0, ctx.groups.index)
        blocks = (spread * rows).view(len(factors), -1, rows.shape[1]) if len(rows) else factors[:, None]
        return _multiply(spread, factors), blocks.sum(1), None


def _multiply(rows: Tensor, factors: Tensor) -> Tensor:
    """Each row times its factor [e, w], see `Groups.sum_products`."""
    return (rows.unflatten(0, (len(factors), -1)) * factors[:, None]).flatten(0, 1) if len(rows) else rows


def uses_triton(rows: Tensor) -> bool:
    """Whether Triton kernels compute with rows."""
    return triton is not None and rows.is_cuda


def _choose_sum_type(rows: Tensor) -> torch.dtype:
    """The type of sums of rows."""
    return rows.dtype if rows.dtype == torch.float64 else torch.float32


def add_rows(rows: Tensor, groups: Groups) -> Tensor:
    """The sum of each group's rows [n, ...], in float32 at least; no gradient passes through."""
    dtype = _choose_sum_type(rows)
    if uses_triton(rows):
        from ecd_models.kernels.group_kernels import sum_groups

        return sum_groups(rows.contiguous(), groups.starts, groups.order, dtype)
    flat = rows.flatten(1).to(dtype)  # torch adds flat rows much faster than blocks
    total = flat.new_zeros(len(groups), flat.shape[1]).index_add_(0, groups.index, flat)
    return total.view(len(groups), *rows.shape[1:])
