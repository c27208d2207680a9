"""The shifted softplus ln(1/2 + e^x / 2) of vectors, to full precision also near zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numba.extending import intrinsic

from ecd_models.kernels.simd import add, exp, fma, maximum, mul, splat, sub

# It is x/2 + L(|x|) with the even function L(x) = ln cosh(x/2). NEAR is a polynomial in x^2 for L(x) / x^2 below
# MIDDLE, FAR one in t = e^-|x| for ln(1 + t) / t above it. Both are minimax polynomials with errors below 2e-9.
MIDDLE = 1.5
NEAR = (1.249999995e-01, -5.208316192e-03, 3.471300544e-04, -2.616889347e-05, 1.968051377e-06, -1.051112107e-07)
FAR = (9.999999954e-01, -4.999984756e-01, 3.332509250e-01, -2.483549889e-01, 1.848160688e-01, -9.817420352e-02)


_plain: Any = intrinsic  # the decorated function has other arguments than type checkers expect


@_plain
def _where_less(typing: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """`yes` where a < b, else `no`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return a(a, a, a, a), generate


@njit(nogil=True)
def _number(x: float) -> Any:
    return splat(np.float32(x), 16)


@njit(nogil=True)
def _series(x: Any, c: Any) -> Any:
    high = fma(fma(_number(c[5]), x, _number(c[4])), x, _number(c[3]))
    return fma(fma(fma(high, x, _number(c[2])), x, _number(c[1])), x, _number(c[0]))


@njit(nogil=True)
def shifted_softplus(x: Any) -> Any:
    """ln(1/2 + e^x / 2) of a vector of 16."""
    zero = _number(0.0)
    size, square = maximum(x, sub(zero, x)), mul(x, x)
    near = fma(square, _series(square, NEAR), mul(x, _number(0.5)))
    t = exp(sub(zero, size))
    far = add(fma(t, _series(t, FAR), _number(-math.log(2))), maximum(x, zero))
    return _where_less(size, _number(MIDDLE), near, far)
