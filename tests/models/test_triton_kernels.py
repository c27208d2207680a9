"""The Triton kernels of training, which Triton's interpreter runs on a processor."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

SUMS = """
import torch
from ecd_models.kernels.group_kernels import sum_groups
from ecd_models.kernels.groups import Groups
torch.manual_seed(0)
for count, rows, width in ((5, 37, 130), (3, 1, 7), (4, 0, 3), (6, 90, 3), (2, 200, 5)):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        index = torch.randint(0, count, (rows,))
        values, total = torch.randn(rows, width).to(dtype), dtype if dtype == torch.float64 else torch.float32
        for each, order in ((index, True), (index.sort()[0], False)):
            groups = Groups.of(each, count)
            found = sum_groups(values, groups.starts, groups.order if order else None, total)
            expected = torch.zeros(count, width, dtype=total).index_add(0, each, values.to(total))
            assert found.dtype == total
            assert (found - expected).abs().max() < 1e-4
print("same")
"""

PRODUCTS = """
import torch
from ecd_models.kernels.group_kernels import spread_products, sum_products
from ecd_models.kernels.groups import Groups
torch.manual_seed(0)
for count, blocks, size, width in ((5, 37, 1, 130), (3, 1, 1, 7), (6, 5, 16, 3), (4, 3, 64, 300), (2, 9, 1, 5)):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        index, total = torch.randint(0, count, (blocks * size,)), dtype if dtype == torch.float64 else torch.float32
        rows, factors = torch.randn(blocks * size, width).to(dtype), torch.randn(blocks, width).to(dtype)
        for each, order in ((index, True), (index.sort()[0], False)):
            groups = Groups.of(each, count)
            found = sum_products(rows, factors, groups.starts, groups.order if order else None, total)
            inputs = [values.to(total).requires_grad_() for values in (rows, factors)]
            products = (inputs[0].view(blocks, size, width) * inputs[1][:, None]).flatten(0, 1)
            expected = torch.zeros(count, width, dtype=total).index_add(0, each, products)
            assert found.dtype == total
            assert (found - expected).abs().max() < 1e-4
            gradient = torch.randn(count, width, dtype=total)
            exact = torch.autograd.grad((expected * gradient).sum(), inputs)
            for one, other in zip(spread_products(gradient, groups.index, rows, factors), exact):
                assert one.dtype == dtype
                assert (one - other).abs().max() < (0.02 if dtype == torch.bfloat16 else 1e-5) * other.abs().max()
print("same")
"""

HARMONICS = """
import torch
from e3nn import o3
from ecd_models.kernels.device_harmonics import device_harmonics
torch.manual_seed(0)
for dtype, error in ((torch.float32, 3e-6), (torch.float64, 1e-14)):
    vectors = torch.randn(300, 3, dtype=dtype)
    vectors[5], vectors[6] = 0, torch.tensor([0, 1, 0])
    for lmax in range(5):
        expected = o3.spherical_harmonics(list(range(lmax + 1)), vectors, True, "component")
        assert (device_harmonics(vectors, lmax) - expected).abs().max() < error
assert device_harmonics(vectors[:0], 4).shape == (0, 25)
print("same")
"""


@pytest.mark.parametrize("check", [SUMS, PRODUCTS, HARMONICS], ids=["sums", "products", "harmonics"])
def test_a_kernel_gives_what_torch_gives(check: str) -> None:
    """In a process of its own, since Triton decides on import whether it interprets."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    run = subprocess.run([sys.executable, "-c", check], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "same", run.stderr
