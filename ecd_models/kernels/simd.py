"""Vectors of float32 for functions that numba compiles, whose operations are those of the processor's registers.

A vector has `width` numbers (16 or 32, a literal), in as many registers as the processor needs. Compilers can vectorise
loops, but they do not use the full width of the registers, nor keep the right sums in them.
Arrays are one-dimensional and contiguous. Indices count numbers and are not checked.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

_plain: Any = intrinsic  # Any: the decorated function has other arguments than type checkers expect
_literal: Any = intrinsic(prefer_literal=True)
FLOAT, INT = ir.FloatType(), ir.IntType(32)


class Vector(types.Type):
    """The type of a vector of float32."""

    def __init__(self, width: int):
        self.width = width
        super().__init__(name=f"float32x{width}")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector):
        super().__init__(manager, vector, ir.VectorType(FLOAT, vector.width))


def _address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


def _fill(builder: Any, number: Any, width: int) -> Any:
    empty = ir.Constant(ir.VectorType(number.type, width), ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(INT, width), [0] * width))


def _constant(width: int, number: float) -> Any:
    return ir.Constant(ir.VectorType(FLOAT, width), [number] * width)


def _call(builder: Any, name: str, *args: Any) -> Any:
    kind = args[0].type
    function = ir.FunctionType(kind, [kind] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"{name}.v{kind.count}f32"), args)


@_literal
def load(typing: Any, array: Any, index: Any, width: Any) -> Any:
    """The vector array[index : index + width]."""
    if not isinstance(width, types.IntegerLiteral):
        return None
    vector = Vector(width.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(FLOAT, vector.width)
        return builder.load(builder.bitcast(_address(context, builder, signature, args), kind.as_pointer()), align=4)

    return vector(array, types.intp, width), generate


@_literal
def broadcast(typing: Any, array: Any, index: Any, width: Any) -> Any:
    """The vector whose numbers are all array[index]."""
    if not isinstance(width, types.IntegerLiteral):
        return None
    vector = Vector(width.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _fill(builder, builder.load(_address(context, builder, signature, args), align=4), vector.width)

    return vector(array, types.intp, width), generate


@_literal
def splat(typing: Any, number: Any, width: Any) -> Any:
    """The vector whose numbers are all this one."""
    if not isinstance(width, types.IntegerLiteral):
        return None
    vector = Vector(width.literal_value)
    return vector(types.float32, width), lambda context, builder, _, args: _fill(builder, args[0], vector.width)


@_plain
def store(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    """Set array[index : index + width]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature, args)
        builder.store(args[2], builder.bitcast(address, args[2].type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@_plain
def add(typing: Any, a: Any, b: Any) -> Any:
    """a + b."""
    return a(a, a), lambda context, builder, _, args: builder.fadd(*args)


@_plain
def sub(typing: Any, a: Any, b: Any) -> Any:
    """a - b."""
    return a(a, a), lambda context, builder, _, args: builder.fsub(*args)


@_plain
def mul(typing: Any, a: Any, b: Any) -> Any:
    """a b."""
    return a(a, a), lambda context, builder, _, args: builder.fmul(*args)


@_plain
def div(typing: Any, a: Any, b: Any) -> Any:
    """a / b."""
    return a(a, a), lambda context, builder, _, args: builder.fdiv(*args)


@_plain
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once where the processor can."""
    return a(a, a, a), lambda context, builder, _, args: _call(builder, "llvm.fmuladd", *args)


@_plain
def sqrt(typing: Any, a: Any) -> Any:
    """The square root."""
    return a(a), lambda context, builder, _, args: _call(builder, "llvm.sqrt", *args)


@_plain
def maximum(typing: Any, a: Any, b: Any) -> Any:
    """The larger of a and b."""
    return a(a, a), lambda context, builder, _, args: _select(builder, ">", *args)


@_plain
def exp(typing: Any, a: Any) -> Any:
    """e^a to 2 units in the last place (Cephes); a is clamped to -87..88, so that nothing underflows or overflows."""
    return a(a), lambda context, builder, _, args: _exp(builder, args[0], a.width)


def _select(builder: Any, relation: str, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(relation, a, b), a, b)


def _exp(builder: Any, x: Any, width: int) -> Any:
    x = _select(builder, "<", _select(builder, ">", x, _constant(width, -87.0)), _constant(width, 88.0))
    n = _call(builder, "llvm.rint", builder.fmul(x, _constant(width, 1.44269504088896341)))
    for part in (-0.693359375, 2.12194440e-4):  # -ln 2 in two parts, the first with few digits
        x = _call(builder, "llvm.fmuladd", n, _constant(width, part), x)
    series = _constant(width, 1.9875691500e-4)
    for term in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1.0, 1.0):
        series = _call(builder, "llvm.fmuladd", series, x, _constant(width, term))
    integers = ir.VectorType(INT, width)
    exponent = builder.add(builder.fptosi(n, integers), ir.Constant(integers, [127] * width))
    power = builder.shl(exponent, ir.Constant(integers, [23] * width))
    return builder.fmul(series, builder.bitcast(power, x.type))


# It is x/2 + L(|x|) with the even function L(x) = ln cosh(x/2). NEAR is a polynomial in x^2 for L(x) / x^2 below
# MIDDLE, FAR one in t = e^-|x| for ln(1 + t) / t above it. Both are minimax polynomials with errors below 2e-9.
MIDDLE = 1.5
NEAR = (1.249999995e-01, -5.208316192e-03, 3.471300544e-04, -2.616889347e-05, 1.968051377e-06, -1.051112107e-07)
FAR = (9.999999954e-01, -4.999984756e-01, 3.332509250e-01, -2.483549889e-01, 1.848160688e-01, -9.817420352e-02)


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
