"""Matrix products inside kernels compiled by numba: a tile of the result stays in vector registers.

A call into a BLAS library costs more than the product of a few rows, and none runs in the loop that
goes on with its result. Here a product is a function of a kernel: no packing, any row stride, the left
operand transposed at will. Each element is one sum in the order of k, so that it depends neither on
the sizes of the tiles nor on how rows are shared out among threads.

All in float32, matrices as flat arrays with an offset and a stride, in elements.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from models._compiled import LOOPS
from models._simd import VECTORS, exp2_below, load, store

_chosen = config.CPU_FEATURES  # as numba asks for it: by the environment, or None
_features = get_host_cpu_features() if _chosen is None else _chosen
WIDE = "+avx512f" in _features  # 32 registers of 16 numbers, else at least 16 of 8
LANES = 16 if WIDE else 8
MOST_ROWS = 6  # of a tile; with 4 registers a row 24 of 32, with 2 of them 12 of 16

EXACT = {**LOOPS, "fastmath": False}  # sums keep their order


def _tile(rows: int, vectors: int):
    """C (rows, vectors * LANES) = start + A B with A (rows, depth), as an instruction of compiled code."""

    @intrinsic
    def tile(context, a, a0, a_row, a_k, b, b0, b_k, start, s0, s_row, c, c0, c_row, depth):
        place = types.intp
        signature = types.void(
            a, place, place, place, b, place, place, start, place, place, c, place, place, place
        )  # fmt: skip

        def generate(context, builder, signature, arguments):
            a, a0, a_row, a_k, b, b0, b_k, start, s0, s_row, c, c0, c_row, depth = arguments
            number, index = ir.FloatType(), a0.type
            vector = ir.VectorType(number, LANES)
            a, b, start, c = (
                context.make_array(signature.args[i])(context, builder, array).data
                for i, array in ((0, a), (4, b), (7, start), (10, c))
            )

            def at(base, offset, vectors_on=0):
                offset = builder.add(offset, ir.Constant(index, vectors_on * LANES))
                return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())

            def rows_of(first, stride):
                return [
                    builder.add(first, builder.mul(stride, ir.Constant(index, r)))
                    for r in range(rows)
                ]

            def each():
                return ((r, v) for r in range(rows) for v in range(vectors))

            sums = {place: cgutils.alloca_once(builder, vector) for place in each()}
            s_rows, a_rows, c_rows = rows_of(s0, s_row), rows_of(a0, a_row), rows_of(c0, c_row)
            for r, v in each():
                builder.store(builder.load(at(start, s_rows[r], v), align=4), sums[r, v])
            with cgutils.for_range(builder, depth, intp=index) as loop:
                row = builder.add(b0, builder.mul(b_k, loop.index))
                step = builder.mul(a_k, loop.index)
                right = [builder.load(at(b, row, v), align=4) for v in range(vectors)]
                for r in range(rows):
                    left = builder.load(builder.gep(a, [builder.add(a_rows[r], step)]), align=4)
                    left = _everywhere(builder, left, vector)
                    for v in range(vectors):
                        product = builder.fmul(left, right[v], flags=["contract"])
                        total = builder.fadd(product, builder.load(sums[r, v]), flags=["contract"])
                        builder.store(total, sums[r, v])
            for r, v in each():
                builder.store(builder.load(sums[r, v]), at(c, c_rows[r], v), align=4)
            return context.get_dummy_value()

        return signature, generate

    return tile


@intrinsic
def dot(context, a, a0, b, b0, n):
    """Sum of a[a0 + i] b[b0 + i] over i < n, a multiple of LANES: a loop of LLVM's is slow on few of them."""
    place = types.intp
    signature = types.float32(a, place, b, place, place)

    def generate(context, builder, signature, arguments):
        a, a0, b, b0, n = arguments
        number = ir.FloatType()
        vector = ir.VectorType(number, LANES)
        a, b = (
            context.make_array(signature.args[i])(context, builder, array).data
            for i, array in ((0, a), (2, b))
        )
        total = cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * LANES))
        with cgutils.for_range(
            builder, builder.udiv(n, ir.Constant(n.type, LANES)), intp=n.type
        ) as loop:
            on = builder.mul(loop.index, ir.Constant(n.type, LANES))
            left, right = (
                builder.load(
                    builder.bitcast(
                        builder.gep(base, [builder.add(first, on)]), vector.as_pointer()
                    ),
                    align=4,
                )
                for base, first in ((a, a0), (b, b0))
            )
            product = builder.fmul(left, right, flags=["contract"])
            sum_ = builder.fadd(product, builder.load(total), flags=["contract"])
            builder.store(sum_, total)
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        kind = ir.FunctionType(number, [number, vector])
        reduce = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(
            reduce, [ir.Constant(number, 0.0), builder.load(total)], fastmath=["reassoc"]
        )

    return signature, generate


def _everywhere(builder, value, vector):
    """A vector with ``value`` in every lane."""
    lane = ir.IntType(32)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(lane, 0))
    first = ir.Constant(ir.VectorType(lane, LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), first)


def _strip(vectors: int):
    """All rows of C in ``vectors * LANES`` of its columns."""
    six, four, two, one = (_tile(rows, vectors) for rows in (MOST_ROWS, 4, 2, 1))

    @njit(**EXACT)
    def strip(n, depth, a, a0, a_row, a_k, b, b0, b_k, start, s0, s_row, c, c0, c_row):
        i = 0
        while n - i >= MOST_ROWS:
            six(a, a0, a_row, a_k, b, b0, b_k, start, s0, s_row, c, c0, c_row, depth)
            i += MOST_ROWS
            a0 += MOST_ROWS * a_row
            s0 += MOST_ROWS * s_row
            c0 += MOST_ROWS * c_row
        if n - i >= 4:
            four(a, a0, a_row, a_k, b, b0, b_k, start, s0, s_row, c, c0, c_row, depth)
            i += 4
            a0 += 4 * a_row
            s0 += 4 * s_row
            c0 += 4 * c_row
        if n - i >= 2:
            two(a, a0, a_row, a_k, b, b0, b_k, start, s0, s_row, c, c0, c_row, depth)
            i += 2
            a0 += 2 * a_row
            s0 += 2 * s_row
            c0 += 2 * c_row
        if n - i == 1:
            one(a, a0, a_row, a_k, b, b0, b_k, start, s0, s_row, c, c0, c_row, depth)

    return strip


BROAD = 4 if WIDE else 2  # registers of a row of a tile
_broad, _half, _narrow = _strip(BROAD), _strip(2), _strip(1)
PANEL, HALF_PANEL = BROAD * LANES, 2 * LANES


# One type of arguments is declared: numba would compile the product anew for each choice of constants among them.
_index, _numbers = types.intp, types.float32[::1]
_operand = (_numbers, _index, _index)
_ARGUMENTS = types.void(*3 * (_index,), *_operand, _index, *_operand, *_operand, *_operand)


@njit(_ARGUMENTS, **EXACT)
def multiply(n, m, depth, a, a0, a_row, a_k, b, b0, b_k, start, s0, s_row, c, c0, c_row):
    """C (n, m) = start + A B, sums over depth; start may be C, or one row for all with stride 0.

    A (n, depth): element (i, k) at a0 + i a_row + k a_k. B (depth, m), start and C: rows of m numbers
    in a row. Where columns are no whole vectors, the last ones are done number by number.
    """
    j = 0
    while m - j >= PANEL:
        _broad(n, depth, a, a0, a_row, a_k, b, b0 + j, b_k, start, s0 + j, s_row, c, c0 + j, c_row)
        j += PANEL
    if m - j >= HALF_PANEL:
        _half(n, depth, a, a0, a_row, a_k, b, b0 + j, b_k, start, s0 + j, s_row, c, c0 + j, c_row)
        j += HALF_PANEL
    if m - j >= LANES:
        _narrow(n, depth, a, a0, a_row, a_k, b, b0 + j, b_k, start, s0 + j, s_row, c, c0 + j, c_row)
        j += LANES
    for i in range(n):
        for e in range(j, m):
            total = start[s0 + i * s_row + e]
            for k in range(depth):
                total += a[a0 + i * a_row + k * a_k] * b[b0 + k * b_k + e]
            c[c0 + i * c_row + e] = total


@njit(**EXACT)
def scratch(size):
    """Uninitialised float32 numbers that begin on a cache line."""
    memory = np.empty(size + 16, np.float32)
    first = (-(memory.ctypes.data // 4)) % 16
    return memory[first : first + size]


@njit(**VECTORS)
def smallest(row):
    """16 zeros become ones, whose squares are summed: what is tried before anything is computed by numba."""
    store(row, (0,), exp2_below(load(row, (0,))))
    return dot(row, 0, row, 0, len(row))
