"""Real spherical harmonics up to l = 4 of many directions as one Triton kernel in place of a hundred of torch."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

LMAX = 4
EDGES = 128  # of one program


@triton.jit
def _set_harmonics(vec, out, count, lmax: tl.constexpr, edges: tl.constexpr):
    edge = tl.program_id(0).to(tl.int64) * edges + tl.arange(0, edges)
    there = edge < count
    x = tl.load(vec + 3 * edge, mask=there, other=0.0)
    y = tl.load(vec + 3 * edge + 1, mask=there, other=0.0)
    z = tl.load(vec + 3 * edge + 2, mask=there, other=0.0)
    length = tl.maximum(tl.sqrt(x * x + y * y + z * z), 1e-12)  # a vector of zeros has l = 0 only
    x, y, z = x / length, y / length, z / length
    xx, yy, zz = x * x, y * y, z * z
    s, d = xx + zz, zz - xx
    row = out + edge * ((lmax + 1) * (lmax + 1))
    tl.store(row, tl.full([edges], 1.0, out.dtype.element_ty), mask=there)
    if lmax >= 1:
        tl.store(row + 1, 1.7320508075688772 * x, mask=there)
        tl.store(row + 2, 1.7320508075688772 * y, mask=there)
        tl.store(row + 3, 1.7320508075688772 * z, mask=there)
    if lmax >= 2:
        tl.store(row + 4, 3.872983346207417 * x * z, mask=there)
        tl.store(row + 5, 3.872983346207417 * x * y, mask=there)
        tl.store(row + 6, 1.118033988749895 * (2.0 * yy - s), mask=there)
        tl.store(row + 7, 3.872983346207417 * y * z, mask=there)
        tl.store(row + 8, 1.9364916731037085 * d, mask=there)
    if lmax >= 3:
        tl.store(row + 9, 2.091650066335189 * x * (3.0 * zz - xx), mask=there)
        tl.store(row + 10, 10.246950765959598 * x * y * z, mask=there)
        tl.store(row + 11, 1.6201851746019651 * x * (4.0 * yy - s), mask=there)
        tl.store(row + 12, 1.3228756555322954 * y * (2.0 * yy - 3.0 * s), mask=there)
        tl.store(row + 13, 1.6201851746019651 * z * (4.0 * yy - s), mask=there)
        tl.store(row + 14, 5.123475382979799 * y * d, mask=there)
        tl.store(row + 15, 2.091650066335189 * z * (zz - 3.0 * xx), mask=there)
    if lmax >= 4:
        tl.store(row + 16, 8.874119674649425 * x * z * d, mask=there)
        tl.store(row + 17, 6.274950199005566 * x * y * (3.0 * zz - xx), mask=there)
        tl.store(row + 18, 3.3541019662496847 * x * z * (6.0 * yy - s), mask=there)
        tl.store(row + 19, 2.3717082451262845 * x * y * (4.0 * yy - 3.0 * s), mask=there)
        tl.store(row + 20, 0.375 * (8.0 * yy * yy - 24.0 * yy * s + 3.0 * s * s), mask=there)
        tl.store(row + 21, 2.3717082451262845 * y * z * (4.0 * yy - 3.0 * s), mask=there)
        tl.store(row + 22, 1.6770509831248424 * d * (6.0 * yy - s), mask=there)
        tl.store(row + 23, 6.274950199005566 * y * z * (zz - 3.0 * xx), mask=there)
        tl.store(row + 24, 2.2185299186623562 * (d * d - 4.0 * xx * zz), mask=there)


def device_harmonics(vec: Tensor, lmax: int) -> Tensor:
    """The harmonics l = 0..lmax, at most 4, of the directions of vec [e, 3], |Y_l|^2 = 2l+1 [e, (lmax+1)^2].

    Norm and order are those of e3nn's "component": y is the polar axis. No gradient passes through.
    """
    out = torch.empty(len(vec), (lmax + 1) ** 2, dtype=vec.dtype, device=vec.device)
    if len(vec):
        _set_harmonics[(triton.cdiv(len(vec), EDGES),)](vec.contiguous(), out, len(vec), lmax, EDGES, num_warps=4)
    return out
