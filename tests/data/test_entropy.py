"""The integer coder: what goes in comes out, compiled or not, and the bytes never change."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecd_data.codec import entropy, kernels
from ecd_data.errors import FormatError


def decaying(count: int = 4000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scale = 10 ** np.linspace(4, -2, count)
    return np.rint(rng.laplace(size=count) * scale).astype(np.int64)


@pytest.fixture
def uncompiled(monkeypatch):
    monkeypatch.setattr(kernels, "compiler", lambda _: None)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(2**30) + 1, 2**30 - 1), max_size=60), st.integers(0, entropy.CONTEXTS - 1))
def test_any_integers_come_back_from_any_start(values, start):
    array = np.array(values, dtype=np.int64)
    np.testing.assert_array_equal(entropy.decode(entropy.encode(array, start), len(array), start), array)


def test_compiled_and_plain_python_agree_bit_for_bit(monkeypatch):
    pytest.importorskip("numba")
    values = decaying(1500)
    start = entropy.starting_scale(values)
    data = entropy.encode(values, start)
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "compiler", lambda _: None)
        assert entropy.encode(values, start) == data
        np.testing.assert_array_equal(entropy.decode(data, len(values), start), values)
    np.testing.assert_array_equal(entropy.decode(data, len(values), start), values)


KNOWN = (363, "56fc71993670b0e2")


def test_the_bytes_are_the_same_on_every_machine_and_in_every_release(uncompiled):
    values = np.array([((i * 7919) % 2003 - 1001) >> (i // 40) for i in range(500)])
    data = entropy.encode(values, 30)
    assert (len(data), hashlib.sha256(data).hexdigest()[:16]) == KNOWN


def test_bytes_come_near_the_entropy():
    values = decaying(20000)
    scale = 10 ** np.linspace(4, -2, 20000)
    theta = np.exp(-1 / scale)
    chance = np.where(values == 0, 1 - np.exp(-0.5 / scale), np.exp(-np.abs(values) / scale) * np.sinh(0.5 / scale))
    assert theta.max() < 1
    ideal = -np.log2(chance).sum() / 8
    assert len(entropy.encode(values, entropy.starting_scale(values))) < 1.06 * ideal


def test_zeros_cost_next_to_nothing():
    assert len(entropy.encode(np.zeros(10000, dtype=np.int64), 14)) < 40


def test_integers_beyond_the_range_are_refused():
    with pytest.raises(OverflowError):
        entropy.encode(np.array([1 << 30]), 0)


@pytest.mark.parametrize("compiled", [True, False])
def test_foreign_bytes_end_in_integers_or_an_error(monkeypatch, compiled):
    if not compiled:
        monkeypatch.setattr(kernels, "compiler", lambda _: None)
    rng = np.random.default_rng(0)
    for size in (0, 1, 5, 40, 300):
        for _ in range(10):
            try:
                values = entropy.decode(rng.bytes(size), 200, int(rng.integers(entropy.CONTEXTS)))
            except FormatError:
                continue
            assert np.abs(values).max() < entropy.LARGEST
