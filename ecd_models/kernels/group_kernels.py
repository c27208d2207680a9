"""Sums of the rows of each group as Triton kernels, and of products of two rows, which are never written to memory.

There are no atomic additions, so every run adds in the same order.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 128  # of a row that one program works on
ROWS = 8  # that one program works on at a time


@triton.jit
def _add_rows(
    rows,
    factors,
    order,
    starts,
    out,
    width,
    size: tl.constexpr,
    sorted_rows: tl.constexpr,
    tile_rows: tl.constexpr,
    columns: tl.constexpr,
):
    """Set the sums of the rows of each group; where size is not 0, of their products with the factor of their block."""
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
        row = row.to(tl.int64)
        mask = there[:, None] & inside[None, :]
        tile = tl.load(rows + row[:, None] * width + column[None, :], mask=mask, other=0.0).to(out.dtype.element_ty)
        if size:
            other = tl.load(factors + (row // size)[:, None] * width + column[None, :], mask=mask, other=0.0)
            tile *= other.to(out.dtype.element_ty)
        total += tl.sum(tile, axis=0)
        first += tile_rows
    tl.store(out + group * width + column, total, mask=inside)


@triton.jit
def _spread_to_rows(
    sums, index, rows, factors, d_rows, d_factors, count, width, tile_rows: tl.constexpr, columns: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * tile_rows + tl.arange(0, tile_rows)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    mask = (row < count)[:, None] & (column < width)[None, :]
    place = row[:, None] * width + column[None, :]
    group = tl.load(index + row, mask=row < count, other=0).to(tl.int64)
    d_sum = tl.load(sums + group[:, None] * width + column[None, :], mask=mask, other=0.0)
    one = tl.load(rows + place, mask=mask, other=0.0).to(d_sum.dtype)
    other = tl.load(factors + place, mask=mask, other=0.0).to(d_sum.dtype)
    tl.store(d_rows + place, d_sum * other, mask=mask)
    tl.store(d_factors + place, d_sum * one, mask=mask)


@triton.jit
def _spread_to_blocks(
    sums,
    index,
    rows,
    factors,
    d_rows,
    d_factors,
    width,
    size: tl.constexpr,
    tile_rows: tl.constexpr,
    columns: tl.constexpr,
):
    block = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    inside = column < width
    factor = tl.load(factors + block * width + column, mask=inside, other=0.0).to(sums.dtype.element_ty)
    total = tl.zeros([columns], dtype=sums.dtype.element_ty)
    for start in range(0, size, tile_rows):
        row = block * size + start + tl.arange(0, tile_rows)
        mask = (row >= 0)[:, None] & inside[None, :]
        place = row[:, None] * width + column[None, :]
        group = tl.load(index + row).to(tl.int64)
        d_sum = tl.load(sums + group[:, None] * width + column[None, :], mask=mask, other=0.0)
        one = tl.load(rows + place, mask=mask, other=0.0).to(d_sum.dtype)
        tl.store(d_rows + place, d_sum * factor[None, :], mask=mask)
        total += tl.sum(d_sum * one, axis=0)
    tl.store(d_factors + block * width + column, total, mask=inside)


def sum_groups(rows: Tensor, starts: Tensor, order: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The sum of each group's rows as `dtype` [n, ...], see `Groups`; rows [e, ...] are contiguous."""
    width = rows[:1].numel() if len(rows) else 0
    out = torch.empty(len(starts) - 1, *rows.shape[1:], dtype=dtype, device=rows.device)
    if not out.numel():
        return out
    if not len(rows):
        return out.zero_()
    _start_sums(rows, rows, starts, order, out, width, 0)
    return out


def sum_products(rows: Tensor, factors: Tensor, starts: Tensor, order: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The sum of each group's rows [e, w] times their factors, as `dtype` [n, w], see `Groups`.

    factors [e / size, w]: one for `size` rows that follow each other. All are contiguous and e is not 0.
    """
    out = torch.empty(len(starts) - 1, rows.shape[1], dtype=dtype, device=rows.device)
    _start_sums(rows, factors, starts, order, out, rows.shape[1], len(rows) // len(factors))
    return out


def _start_sums(
    rows: Tensor, factors: Tensor, starts: Tensor, order: Tensor | None, out: Tensor, width: int, size: int
) -> None:
    """Start `_add_rows` with as many rows a tile as a group has on average."""
    mean = max(1, len(rows) // max(1, len(out)))
    tile_rows = min(32, max(4, triton.next_power_of_2(mean)))
    _add_rows[len(out), triton.cdiv(width, COLUMNS)](
        *(rows, factors, starts if order is None else order, starts, out, width),
        *(size, order is None, tile_rows, COLUMNS),
        num_warps=4,
    )


def spread_products(sums: Tensor, index: Tensor, rows: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of rows and factors from that of the sums [n, w]; index [e]: each row's group."""
    d_rows, d_factors = torch.empty_like(rows), torch.empty_like(factors)
    width, size = rows.shape[1], len(rows) // len(factors)
    if size == 1:
        _spread_to_rows[triton.cdiv(len(rows), ROWS), triton.cdiv(width, COLUMNS)](
            sums, index, rows, factors, d_rows, d_factors, len(rows), width, ROWS, COLUMNS, num_warps=4
        )
    else:
        _spread_to_blocks[len(factors), triton.cdiv(width, COLUMNS)](
            sums, index, rows, factors, d_rows, d_factors, width, size, min(ROWS, size), COLUMNS, num_warps=4
        )
    return d_rows, d_factors
