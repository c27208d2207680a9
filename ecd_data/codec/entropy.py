"""The entropy coder: an adaptive binary arithmetic coder for integers whose magnitude changes slowly.

All its quantities are integers, so that every machine writes and reads the same bytes; docs/format.md describes each
step. numba compiles the same source where it is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecd_data.codec import kernels
from ecd_data.errors import FormatError

Ints = NDArray[np.int64]

PYTHON_SECONDS = 3e-5  # what an integer takes without numba: decides whether loading numba pays
LARGEST = 1 << 30  # magnitudes are below it: larger ones do not fit the Elias gamma code of 31 bits
MAX_BYTES = 48  # of one integer: the size of the output buffer
FRACTION = 12  # fractional bits of the running means
CONTEXTS, UNARY = 112, 24  # half octaves of the running mean; bits of the unary part
HALF, TOP = 1 << 15, 1 << 16  # chances are in parts of 65536
PATIENCE, MEMORY = 6, 60  # a chance moves by 1/PATIENCE of its error at first, by 1/(PATIENCE + MEMORY) in the end


def encode(values: Ints, start: int) -> bytes:
    """The bytes of the integers `values` [n].

    start: states the magnitude of the first values, about 2^(start/2 - FRACTION); `starting_scale` computes it. Raises
    OverflowError for a magnitude of 2^30 or more.
    """
    if len(values) == 0:
        return b""
    if np.abs(values).max() >= LARGEST:
        raise OverflowError("an integer is beyond 2^30")
    compiled = _compiled(len(values))
    if compiled is None:
        out = bytearray(MAX_BYTES * (len(values) + 2))
        return bytes(out[: _encode(values.tolist(), start, out, *_state(list))])
    array = np.empty(MAX_BYTES * (len(values) + 2), np.uint8)
    return array[: compiled[0](values, start, array, *_state(np.ndarray))].tobytes()


def decode(data: bytes, count: int, start: int) -> Ints:
    """The `count` integers that `encode` wrote with the same `start`; raises FormatError for damaged bytes."""
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    compiled = _compiled(count)
    if compiled is None:
        result: list[int] = [0] * count
        sound = _decode(data, start, result, *_state(list))
        values = np.array(result, dtype=np.int64)
    else:
        values = np.zeros(count, dtype=np.int64)
        sound = compiled[1](np.frombuffer(data, np.uint8), start, values, *_state(np.ndarray))
    if not sound:
        raise FormatError("the ecd.fourier stream is damaged: its integers are impossible")
    return values


def starting_scale(values: Ints) -> int:
    """The `start` of `encode` for these integers."""
    mean = int(np.abs(values[:4]).sum() << FRACTION) // max(1, len(values[:4]))
    return min(2 * max(FRACTION - 5, mean.bit_length()), CONTEXTS - 1)


def _state(kind: type) -> tuple[Any, Any, Any]:
    """The state of the coder at its start: chances of a stop, how often each was used, interval and position."""
    if kind is list:
        stops = _first_chances()
        return list(stops), [0] * len(stops), [0, 0, 0, 0]
    array = _first_chances_array()
    return array.copy(), np.zeros(len(array), dtype=np.int64), np.zeros(4, dtype=np.int64)


@cache
def _first_chances() -> tuple[int, ...]:
    """The chance of a stop, times 65536, for each context and unary bit: that of a geometric distribution."""
    stops: list[int] = []
    for context in range(CONTEXTS):
        exponent, upper = context >> 1, context & 1
        mean = (5 + 2 * upper) << exponent >> 3 if exponent > 0 else 1  # the middle of the context
        low = max(0, exponent - FRACTION - 2)
        unit = 1 << FRACTION
        stop = TOP * unit // (unit + mean) if low == 0 else TOP * 2 * (unit << low) // (2 * mean + (unit << low))
        stops += [min(max(stop, 64), TOP - 64)] * UNARY
    return tuple(stops)


@cache
def _first_chances_array() -> Ints:
    return np.array(_first_chances(), dtype=np.int64)


def _compiled(count: int) -> tuple[Callable[..., int], Callable[..., bool]] | None:
    jit = kernels.compiler(PYTHON_SECONDS * count)
    return None if jit is None else _compile(jit)


@cache
def _compile(jit: Callable[..., Any]) -> tuple[Callable[..., int], Callable[..., bool]]:
    from numba.extending import register_jitable

    for part in (_put, _get, _context, _learn):
        register_jitable(part)
    return jit(_encode), jit(_decode)


def _context(mean: int) -> int:
    """The context of a running mean: twice its exponent, plus one where the next lower bit is set."""
    exponent = 0
    while mean >> exponent > 1:
        exponent += 1
    upper = (mean >> (exponent - 1)) & 1 if exponent > 0 else 0
    return min(2 * exponent + upper, CONTEXTS - 1)


def _learn(stops: Any, uses: Any, slot: int, bit: int) -> None:
    target = TOP if bit else 0
    stops[slot] += (target - stops[slot]) // (PATIENCE + uses[slot])
    stops[slot] = min(max(stops[slot], 64), TOP - 64)
    uses[slot] = min(uses[slot] + 1, MEMORY)


def _put(state: Any, out: Any, chance: int, bit: int) -> None:
    """Narrow the interval state[0]..state[1] to the part of `bit`, which is one with chance/65536, and write bytes
    that no later bit can change."""
    middle = state[0] + ((state[1] - state[0]) >> 16) * chance
    if bit:
        state[1] = middle
    else:
        state[0] = middle + 1
    while (state[0] ^ state[1]) >> 24 == 0:
        out[state[2]] = state[1] >> 24
        state[2] += 1
        state[0] = (state[0] << 8) & 0xFFFFFFFF
        state[1] = ((state[1] << 8) & 0xFFFFFFFF) | 255


def _get(state: Any, data: Any, chance: int) -> int:
    """The next bit that `_put` wrote; state[3] is the window on the data, which zeros follow."""
    middle = state[0] + ((state[1] - state[0]) >> 16) * chance
    bit = 1 if state[3] <= middle else 0
    if bit:
        state[1] = middle
    else:
        state[0] = middle + 1
    while (state[0] ^ state[1]) >> 24 == 0:
        state[0] = (state[0] << 8) & 0xFFFFFFFF
        state[1] = ((state[1] << 8) & 0xFFFFFFFF) | 255
        following = int(data[state[2]]) if state[2] < len(data) else 0
        state[3] = ((state[3] << 8) & 0xFFFFFFFF) | following
        state[2] += 1
    return bit


def _encode(values: Any, start: int, out: Any, stops: Any, uses: Any, state: Any) -> int:
    """Fill `out` and return the number of bytes in it."""
    state[1] = 0xFFFFFFFF
    fast = slow = (2 + (start & 1)) << (start >> 1) >> 1
    for value in values:
        size = abs(int(value))
        mean = (fast + slow) >> 1
        context = _context(mean)
        low = max(0, (context >> 1) - FRACTION - 2)
        high = size >> low
        for step in range(min(high + 1, UNARY)):
            slot = context * UNARY + step
            bit = 1 if step == high else 0
            _put(state, out, stops[slot], bit)
            _learn(stops, uses, slot, bit)
        rest, bits = size & ((1 << low) - 1), low
        if high >= UNARY:
            beyond = high - UNARY + 1
            length = 0
            while beyond >> length > 0:
                length += 1
            rest, bits = (beyond << low) | rest, 2 * length - 1 + low
        if size > 0:
            rest, bits = 2 * rest + (1 if value < 0 else 0), bits + 1
        for shift in range(bits - 1, -1, -1):
            _put(state, out, HALF, (rest >> shift) & 1)
        fast += ((size << FRACTION) - fast) >> 1
        slow += ((size << FRACTION) - slow) >> 3
    if state[0] > 0:  # write the shortest number in the interval: the reader takes the missing bytes for zeros
        for shift in (24, 16, 8, 0):
            number = ((state[0] >> shift) + (1 if state[0] & ((1 << shift) - 1) else 0)) << shift
            if number <= state[1]:
                for byte in range(24, shift - 1, -8):
                    out[state[2]] = (number >> byte) & 255
                    state[2] += 1
                break
    return state[2]


def _decode(data: Any, start: int, values: Any, stops: Any, uses: Any, state: Any) -> bool:
    """Fill `values` and return whether the data are a possible stream."""
    state[1] = 0xFFFFFFFF
    for _ in range(4):
        state[3] = (state[3] << 8) | (int(data[state[2]]) if state[2] < len(data) else 0)
        state[2] += 1
    fast = slow = (2 + (start & 1)) << (start >> 1) >> 1
    for index in range(len(values)):
        context = _context((fast + slow) >> 1)
        low = max(0, (context >> 1) - FRACTION - 2)
        high = 0
        while high < UNARY:
            slot = context * UNARY + high
            bit = _get(state, data, stops[slot])
            _learn(stops, uses, slot, bit)
            if bit:
                break
            high += 1
        if high == UNARY:
            length = 1
            while _get(state, data, HALF) == 0:
                length += 1
                if length > 31:
                    return False
            beyond = 1
            for _ in range(length - 1):
                beyond = 2 * beyond + _get(state, data, HALF)
            high = UNARY - 1 + beyond
        size = high
        for _ in range(low):
            size = 2 * size + _get(state, data, HALF)
        if size >= LARGEST:
            return False
        values[index] = -size if size > 0 and _get(state, data, HALF) else size
        fast += ((size << FRACTION) - fast) >> 1
        slow += ((size << FRACTION) - slow) >> 3
    return True
