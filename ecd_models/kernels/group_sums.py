"""Sums of the rows of each group as one Triton kernel: no atomic additions, so every run adds in the same order."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 128  # of a row that one program adds up


@triton.jit
def _add_rows(
    rows, order, starts, out, width, sorted_rows: tl.constexpr, tile_rows: tl.constexpr, columns: tl.constexpr
):
    group = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    inside = column < width
    first, last = tl.load(starts + group), tl.load(starts + group + 1)
    total = tl.zeros([columns], dtype=out.dtype.element_ty)
    while first < last:
        row = first + tl.arange(0, tile_rows)
        there = row < last
        if not sorted_rows:
            row = tl.load(order + row, mask=there, other=0)
        place = row.to(tl.int64)[:, None] * width + column[None, :]
        tile = tl.load(rows + place, mask=there[:, None] & inside[None, :], other=0.0)
        total += tl.sum(tile.to(out.dtype.element_ty), axis=0)
        first += tile_rows
    tl.store(out + group * width + column, total, mask=inside)


def sum_groups(rows: Tensor, starts: Tensor, order: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The sum of each group's rows as `dtype` [n, ...], see `Groups`; rows [e, ...] are contiguous."""
    count, width = len(starts) - 1, rows[:1].numel() if len(rows) else 0
    out = torch.empty(count, *rows.shape[1:], dtype=dtype, device=rows.device)
    if not out.numel():
        return out
    if not len(rows):
        return out.zero_()
    mean = max(1, len(rows) // max(1, count))
    tile_rows = min(32, max(4, triton.next_power_of_2(mean)))
    grid = (count, triton.cdiv(width, COLUMNS))
    _add_rows[grid](
        rows, starts if order is None else order, starts, out, width, order is None, tile_rows, COLUMNS, num_warps=4
    )
    return out
