"""Vectors of 16 float32 numbers inside functions compiled by numba.

LLVM vectorises one loop at a time, so a loop nest keeps its states in memory and sums across a vector
cannot be shared. With vectors as values of the program, a nest keeps them in registers. LLVM splits
them where a machine has narrower ones.

    load(array, index), store(array, index, v)      16 numbers from there on along the last, contiguous axis
    prefetch(array, index)                          asks for the cache line of array[index]; nothing is read
    splat(x)                                        16 times the scalar x
    + - * /, fma(a, b, c) = a b + c
    at_least(low, v), at_most(high, v)              NaN in v stays
    add_sums(array, index, (v, w, ...))             array[index], the next, ... += sum of v, of w, ...
    exp2_below, sigmoid, tanh, softplus             of each number
    softplus_and_slope                              softplus and its derivative, sigmoid

Functions that use these are compiled with VECTORS: ``exp2_below`` rounds by adding and subtracting a large
number, which the reassociation in LOOPS would undo.
"""

from __future__ import annotations

import operator

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

from models._compiled import LOG2_E, LOOPS, MAX_EXPONENT, MIN_EXPONENT, ONE, TWO, ZERO

LANES = 16
VECTORS = {**LOOPS, "fastmath": {"contract", "nsz"}}
SHIFT = np.float32(3 << 22)  # a float32 near it has an integer in its last bits
_FLAGS = ("contract", "nsz")
_FLOATS, _INTEGERS = (ir.VectorType(kind, LANES) for kind in (ir.FloatType(), ir.IntType(32)))


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__("float32x16")


_vector = _Vector()


@register_model(_Vector)
class _Model(PrimitiveModel):
    def __init__(self, manager, numba_type) -> None:
        super().__init__(manager, numba_type, _FLOATS)


def _operator(function, instruction: str) -> None:
    @infer_global(function)
    class _Typing(AbstractTemplate):
        def generic(self, args, _):
            return signature(_vector, *args) if args == (_vector, _vector) else None

    @lower_builtin(function, _Vector, _Vector)
    def _emit(_, builder, __, args):
        return getattr(builder, instruction)(*args, flags=_FLAGS)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


def _place(context, builder, array_type, array, index_type, index, kind):
    """Pointer to ``kind`` at array[index], a tuple of one integer per axis."""
    parts = zip(cgutils.unpack_tuple(builder, index), index_type, strict=True)
    indices = [context.cast(builder, i, given, types.intp) for i, given in parts]
    array = context.make_array(array_type)(context, builder, array)
    place = cgutils.get_item_pointer(context, builder, array_type, array, indices)
    return builder.bitcast(place, kind.as_pointer())


@intrinsic
def load(_, array, index):
    """See above."""

    def emit(context, builder, sig, args):
        place = _place(context, builder, sig.args[0], args[0], sig.args[1], args[1], _FLOATS)
        return builder.load(place, align=4)

    return _vector(array, index), emit


@intrinsic
def store(_, array, index, vector):
    """See above."""

    def emit(context, builder, sig, args):
        place = _place(context, builder, sig.args[0], args[0], sig.args[1], args[1], _FLOATS)
        builder.store(args[2], place, align=4)
        return context.get_dummy_value()

    return types.void(array, index, vector), emit


@intrinsic
def prefetch(_, array, index):
    """See above."""

    def emit(context, builder, sig, args):
        byte, flag = ir.IntType(8), ir.IntType(32)
        place = _place(context, builder, sig.args[0], args[0], sig.args[1], args[1], byte)
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [place, *(ir.Constant(flag, i) for i in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, index), emit


@intrinsic
def splat(_, scalar):
    """See above."""

    def emit(_, builder, __, args):
        nothing = ir.Constant(_FLOATS, ir.Undefined)
        one = builder.insert_element(nothing, args[0], ir.IntType(32)(0))
        return builder.shuffle_vector(one, nothing, ir.Constant(_INTEGERS, [0] * LANES))

    return _vector(types.float32), emit


@intrinsic
def fma(_, a, b, c):
    """See above."""

    def emit(_, builder, __, args):
        kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
        name = f"llvm.fmuladd.v{LANES}f32"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return _vector(a, b, c), emit


@intrinsic
def at_least(_, low, vector):
    """See above."""

    def emit(_, builder, __, args):
        return builder.select(builder.fcmp_ordered("<", args[1], args[0]), *args)

    return _vector(low, vector), emit


@intrinsic
def at_most(_, high, vector):
    """See above."""

    def emit(_, builder, __, args):
        return builder.select(builder.fcmp_ordered(">", args[1], args[0]), *args)

    return _vector(high, vector), emit


@intrinsic
def _absolute(_, vector):
    def emit(_, builder, __, args):
        mask = ir.Constant(_INTEGERS, [0x7FFFFFFF] * LANES)
        return builder.bitcast(builder.and_(builder.bitcast(args[0], _INTEGERS), mask), _FLOATS)

    return _vector(vector), emit


@intrinsic
def _where_negative(_, vector, then, otherwise):
    def emit(_, builder, __, args):
        negative = builder.fcmp_ordered("<", args[0], ir.Constant(_FLOATS, [0.0] * LANES))
        return builder.select(negative, args[1], args[2])

    return _vector(vector, then, otherwise), emit


@intrinsic
def _scaled(_, fraction, shifted):
    """Fraction times two to the power of the integer in the last bits of ``shifted``."""

    def emit(_, builder, __, args):
        fraction, shifted = (builder.bitcast(a, _INTEGERS) for a in args)
        exponent = builder.shl(shifted, ir.Constant(_INTEGERS, [23] * LANES))
        return builder.bitcast(builder.add(fraction, exponent), _FLOATS)

    return _vector(fraction, shifted), emit


@intrinsic
def add_sums(_, array, index, vectors):
    """See above; as many vectors as a power of two. Pairs are merged lane by lane, so sums share work."""

    def emit(context, builder, sig, args):
        parts, width = cgutils.unpack_tuple(builder, args[2]), LANES
        while width > 1:  # lanes that are still to be summed, of every part of a vector
            others = parts[1::2] or parts
            pairs = zip(parts[::2], others, strict=True)
            parts, width = [_halved(builder, *pair, width) for pair in pairs], width // 2
        place = _place(context, builder, sig.args[0], args[0], sig.args[1], args[1], parts[0].type)
        total = builder.fadd(builder.load(place, align=4), parts[0], flags=_FLAGS)
        builder.store(total, place, align=4)
        return context.get_dummy_value()

    return types.void(array, index, vectors), emit


def _halved(builder, a, b, width: int):
    """Halves of groups of ``width`` lanes added, those of a before those of b unless they are one vector."""
    groups = range(0, a.type.count * (1 if a is b else 2), width)
    low = [start + lane for start in groups for lane in range(width // 2)]
    kind = ir.VectorType(ir.IntType(32), len(low))
    halves = (ir.Constant(kind, [lane + up for lane in low]) for up in (0, width // 2))
    return builder.fadd(*(builder.shuffle_vector(a, b, half) for half in halves), flags=_FLAGS)


def _polynomial(function, low: float, high: float, degree: int) -> list[np.float32]:
    """Coefficients of a polynomial near ``function`` between low and high, by Chebyshev's points."""
    series = np.polynomial.Chebyshev.interpolate(function, degree, domain=[low, high])
    return [np.float32(c) for c in series.convert(kind=np.polynomial.Polynomial).coef]


# Both through the origin, so that small results are exact: 2**r - 1 = r E(r), relative error of 2**r
# below 2.1e-7; log(1 + q) = q L(q) below 5e-8.
E0, E1, E2, E3, E4 = _polynomial(
    lambda r: np.expm1(r * np.log(2)) / np.where(r, r, 1) + np.where(r, 0, np.log(2)), -0.5, 0.5, 4
)
L0, L1, L2, L3, L4, L5, L6, L7, L8, L9 = _polynomial(lambda q: np.log1p(q) / q, 0, 1, 9)


# Compiled from here on.


@njit(inline="always")
def exp2_below(v):
    """Two to the power v, where v is at most 126."""
    v = at_least(splat(MIN_EXPONENT + ONE), v)
    shifted = v + splat(SHIFT)
    r = v - (shifted - splat(SHIFT))
    p = fma(splat(E4), r, splat(E3))
    p = fma(p, r, splat(E2))
    p = fma(p, r, splat(E1))
    p = fma(p, r, splat(E0))
    return _scaled(fma(p, r, splat(ONE)), shifted)


@njit(inline="always")
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return splat(ONE) / (splat(ONE) + exp2_below(at_most(splat(MAX_EXPONENT), splat(-LOG2_E) * x)))


@njit(inline="always")
def tanh(x):
    """2 sigmoid(2x) - 1; its absolute error is that of float32 numbers near 1."""
    return splat(TWO) * sigmoid(splat(TWO) * x) - splat(ONE)


@njit(inline="always")
def softplus(x):
    """max(x, 0) + log(1 + exp(-|x|))."""
    return _softplus(x, exp2_below(splat(-LOG2_E) * _absolute(x)))


@njit(inline="always")
def softplus_and_slope(x):
    """With q = exp(-|x|) the slope is 1 / (1 + q), or q / (1 + q) where x is negative."""
    q = exp2_below(splat(-LOG2_E) * _absolute(x))
    return _softplus(x, q), _where_negative(x, q, splat(ONE)) / (splat(ONE) + q)


@njit(inline="always")
def _softplus(x, q):
    p = fma(splat(L9), q, splat(L8))
    p = fma(p, q, splat(L7))
    p = fma(p, q, splat(L6))
    p = fma(p, q, splat(L5))
    p = fma(p, q, splat(L4))
    p = fma(p, q, splat(L3))
    p = fma(p, q, splat(L2))
    p = fma(p, q, splat(L1))
    p = fma(p, q, splat(L0))
    return fma(p, q, at_least(splat(ZERO), x))
