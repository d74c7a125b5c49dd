"""Attention of one head in one window, compiled for CPUs by numba: forwards and backwards.

Scores are formed, exponentiated and written by the tile of registers that sums them; the backward pass
forms the probabilities again from the log-sum-exp of every query, as FlashAttention does (arXiv
2205.14135, algorithm 4), together with the products of values and gradients that they meet. A block of
queries at a time meets all keys that it may see, so memory grows with L and causal blocks leave out
the keys behind them.

Queries, keys, values and results are rows of a flat array: an offset and a stride, in numbers. Letters: M
queries, L keys, d width of the head.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from models._compiled import LOG2_E, LOOPS, MAX_EXPONENT, MIN_EXPONENT, ONE, ZERO, exp2, largest
from models._simd import E0, E1, E2, E3, E4, SHIFT, VECTORS
from models._tiles import BROAD, LANES, dot, multiply

ROWS = 6  # queries of a tile
WHOLE = 16  # rows of scores are multiples of it
QUERIES = 24  # of a block: its scores stay in the first cache
LEAST, MOST = np.float32(2.0**-60), np.float32(2.0**100)  # sums that no limit of exp2 has touched
MINUS_INFINITY = np.float32(-np.inf)

_number, _vector = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES)
_integers = ir.VectorType(ir.IntType(32), LANES)
_FLAGS = ("contract", "nsz")


def _data(context, builder, kind, array):
    return context.make_array(kind)(context, builder, array).data


def _plus(builder, first, count, stride):
    return builder.add(first, builder.mul(stride, ir.Constant(first.type, count)))


def _place(builder, base, offset, vectors_on=0):
    offset = builder.add(offset, ir.Constant(offset.type, vectors_on * LANES))
    return builder.bitcast(builder.gep(base, [offset]), _vector.as_pointer())


def _everywhere(builder, value):
    """A vector with ``value`` in every lane."""
    nothing = ir.Constant(_vector, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.IntType(32)(0))
    return builder.shuffle_vector(one, nothing, ir.Constant(_integers, [0] * LANES))


def _constant(value):
    return ir.Constant(_vector, [float(value)] * LANES)


def _limited(builder, v, comparison, limit):
    limit = _constant(limit)
    return builder.select(builder.fcmp_ordered(comparison, v, limit), limit, v)


def _exp2(builder, v):
    """Two to the power v, which is at most 126: ``models._simd.exp2_below`` as instructions."""
    v = _limited(builder, v, "<", MIN_EXPONENT + ONE)
    shifted = builder.fadd(v, _constant(SHIFT))
    r = builder.fsub(v, builder.fsub(shifted, _constant(SHIFT)))
    p = _constant(E4)
    for c in (E3, E2, E1, E0, ONE):
        p = builder.fadd(builder.fmul(p, r, flags=_FLAGS), _constant(c), flags=_FLAGS)
    bits = builder.bitcast(p, _integers)
    exponent = builder.shl(
        builder.bitcast(shifted, _integers), ir.Constant(_integers, [23] * LANES)
    )
    return builder.bitcast(builder.add(bits, exponent), _vector)


def _summed(builder, products, sums, depth):
    """Add to sums[p, r, v] the products p: ROWS rows of A (from a0, rows apart by a_row) with a panel of B."""
    a_rows = [[_plus(builder, a0, r, a_row) for r in range(ROWS)] for _, a0, a_row, *_ in products]
    vectors = 1 + max(v for _, _, v in sums)
    with cgutils.for_range(builder, depth, intp=depth.type) as loop:
        for p, (a, _, _, b, b0, b_row) in enumerate(products):
            row = builder.add(b0, builder.mul(b_row, loop.index))
            right = [builder.load(_place(builder, b, row, v), align=4) for v in range(vectors)]
            for r in range(ROWS):
                left = builder.gep(a, [builder.add(a_rows[p][r], loop.index)])
                left = _everywhere(builder, builder.load(left, align=4))
                for v in range(vectors):
                    product = builder.fmul(left, right[v], flags=["contract"])
                    total = builder.load(sums[p, r, v])
                    builder.store(builder.fadd(product, total, flags=["contract"]), sums[p, r, v])


def _powers(vectors: int):
    """P (ROWS, vectors * LANES) = exp2(A B), A (ROWS, depth) with rows of depth numbers, as an instruction."""

    @intrinsic
    def powers(context, a, a0, b, b0, b_row, p, p0, p_row, depth):
        place = types.intp
        signature = types.void(a, place, b, place, place, p, place, place, place)

        def generate(context, builder, signature, arguments):
            a, a0, b, b0, b_row, p, p0, p_row, depth = arguments
            a, b, p = (
                _data(context, builder, signature.args[i], array)
                for i, array in ((0, a), (2, b), (5, p))
            )
            each = [(0, r, v) for r in range(ROWS) for v in range(vectors)]
            sums = {place: cgutils.alloca_once_value(builder, _constant(0)) for place in each}
            _summed(builder, [(a, a0, depth, b, b0, b_row)], sums, depth)
            for place in each:
                _, r, v = place
                power = _limited(builder, builder.load(sums[place]), ">", MAX_EXPONENT)
                where = _place(builder, p, _plus(builder, p0, r, p_row), v)
                builder.store(_exp2(builder, power), where, align=4)
            return context.get_dummy_value()

        return signature, generate

    return powers


def _slopes(vectors: int):
    """P (ROWS, .) = exp2(Q K - m) and S = P (G V - n), Q and G (ROWS, depth), m and n (ROWS,)."""

    @intrinsic
    def slopes(context, q, g, a0, m, n, m0, k, v, b0, b_row, p, s, p0, p_row, depth):
        place = types.intp
        signature = types.void(
            q, g, place, m, n, place, k, v, place, place, p, s, place, place, place
        )

        def generate(context, builder, signature, arguments):
            q, g, a0, m, n, m0, k, v, b0, b_row, p, s, p0, p_row, depth = arguments
            q, g, m, n, k, v, p, s = (
                _data(context, builder, signature.args[i], array)
                for i, array in ((0, q), (1, g), (3, m), (4, n), (6, k), (7, v), (10, p), (11, s))
            )
            each = [(i, r, w) for i in range(2) for r in range(ROWS) for w in range(vectors)]
            sums = {place: cgutils.alloca_once(builder, _vector) for place in each}
            for i, r, w in each:
                start = builder.gep((m, n)[i], [builder.add(m0, ir.Constant(m0.type, r))])
                start = builder.fneg(builder.load(start, align=4))
                builder.store(_everywhere(builder, start), sums[i, r, w])
            products = [(q, a0, depth, k, b0, b_row), (g, a0, depth, v, b0, b_row)]
            _summed(builder, products, sums, depth)
            for _, r, w in each[: len(each) // 2]:
                where = _plus(builder, p0, r, p_row)
                power = _exp2(builder, builder.load(sums[0, r, w]))
                slope = builder.fmul(power, builder.load(sums[1, r, w]), flags=_FLAGS)
                builder.store(power, _place(builder, p, where, w), align=4)
                builder.store(slope, _place(builder, s, where, w), align=4)
            return context.get_dummy_value()

        return signature, generate

    return slopes


@intrinsic
def _square(context, x, x0, x_row, out, out0, out_row):
    """Out (LANES, LANES) = x transposed: halves of pairs of rows change places, then quarters, and so on."""
    place = types.intp
    signature = types.void(x, place, place, out, place, place)

    def generate(context, builder, signature, arguments):
        x, x0, x_row, out, out0, out_row = arguments
        x, out = (_data(context, builder, signature.args[i], a) for i, a in ((0, x), (3, out)))
        places = (_place(builder, x, _plus(builder, x0, r, x_row)) for r in range(LANES))
        rows = [builder.load(place, align=4) for place in places]
        half = LANES // 2
        while half:
            upper = [lane & half for lane in range(LANES)]
            first = [LANES + n - half if up else n for n, up in enumerate(upper)]
            second = [LANES + n if up else n + half for n, up in enumerate(upper)]
            for r in range(LANES):
                if not r & half:
                    pair = rows[r], rows[r + half]
                    rows[r], rows[r + half] = (
                        builder.shuffle_vector(*pair, ir.Constant(_integers, lanes))
                        for lanes in (first, second)
                    )
            half //= 2
        for r, row in enumerate(rows):
            builder.store(row, _place(builder, out, _plus(builder, out0, r, out_row)), align=4)
        return context.get_dummy_value()

    return signature, generate


_powers_4, _powers_2, _powers_1 = (_powers(v) for v in (BROAD, 2, 1))
_slopes_2, _slopes_1 = (_slopes(v) for v in (max(BROAD // 2, 1), 1))
PANEL, HALF_PANEL, PAIR = BROAD * LANES, 2 * LANES, max(BROAD // 2, 1) * LANES


# Compiled from here on.


@njit(inline="always")
def whole(n):
    """The next multiple of WHOLE."""
    return n + -n % WHOLE


@njit(inline="always")
def seen_by(query, length, causal):
    """Number of keys that a query sees: all real ones, or of those the ones up to itself."""
    return min(length, query + 1) if causal else length


@njit(inline="always")
def _tiles(n):
    return -(-n // ROWS) * ROWS


@njit(inline="always")
def room(n_queries, n_keys, width):
    """Numbers of the memory that ``attend`` needs."""
    row = whole(n_keys)
    block = min(QUERIES, _tiles(n_queries))
    return row * (width + 1) + block * (row + width)


@njit(inline="always")
def room_backwards(n_queries, n_keys, width):
    """Numbers of the memory that ``attend_backwards`` needs."""
    row = whole(n_keys)
    block = min(QUERIES, _tiles(n_queries))
    return 2 * (row * width + block * (row + width + 1)) + width


@njit(**LOOPS)
def _scaled(a, a0, a_row, n, width, factor, out):
    """Out (whole tiles, width): n rows times factor, 0 behind."""
    for i in range(n):
        for e in range(width):
            out[i * width + e] = a[a0 + i * a_row + e] * factor
    for e in range(n * width, _tiles(n) * width):
        out[e] = ZERO


@njit(**LOOPS)
def _turned(x, begin, stride, n, width, out, row):
    """Out (width, row) = x (n, width) transposed, 0 behind column n."""
    done = 0 if width % LANES else n - n % LANES
    for i in range(0, done, LANES):
        for j in range(0, width, LANES):
            _square(x, begin + i * stride + j, stride, out, j * row + i, row)
    for j in range(width):
        for i in range(done, n):
            out[j * row + i] = x[begin + i * stride + j]
        for i in range(n, row):
            out[j * row + i] = ZERO


@njit(**VECTORS)
def _exponentials(n, m, width, a, b, b_row, p):
    """P (n, m) = exp2(A B)."""
    j = 0
    while m - j >= PANEL:
        for i in range(0, n, ROWS):
            _powers_4(a, i * width, b, j, b_row, p, i * m + j, m, width)
        j += PANEL
    if m - j >= HALF_PANEL:
        for i in range(0, n, ROWS):
            _powers_2(a, i * width, b, j, b_row, p, i * m + j, m, width)
        j += HALF_PANEL
    if m - j >= LANES:
        for i in range(0, n, ROWS):
            _powers_1(a, i * width, b, j, b_row, p, i * m + j, m, width)


@njit(**VECTORS)
def _gradients(n, m, width, q, g, masses, inners, k, v, b_row, p, s):
    """P (n, m) = exp2(Q K - masses), S = P (G V - inners)."""
    j = 0
    while m - j >= PAIR:
        for i in range(0, n, ROWS):
            _slopes_2(q, g, i * width, masses, inners, i, k, v, j, b_row, p, s, i * m + j, m, width)
        j += PAIR
    while m - j >= LANES:
        for i in range(0, n, ROWS):
            _slopes_1(q, g, i * width, masses, inners, i, k, v, j, b_row, p, s, i * m + j, m, width)
        j += LANES


@njit(**LOOPS)
def attend(
    n_queries, n_keys, width, length, causal, q, q0, q_row, k, k0, k_row, v, v0, v_row,
    out, out0, out_row, log_mass, m0, memory,
):  # fmt: skip
    """Out (M, d) = softmax(q k' / sqrt(d)) v over the first ``length`` of L keys; log_mass (M,), to base 2."""
    row, factor = whole(n_keys), np.float32(LOG2_E / math.sqrt(width))
    keys, ones = memory[: width * row], memory[width * row : (width + 1) * row]
    rest = memory[(width + 1) * row :]
    most = min(QUERIES, _tiles(n_queries))
    queries, scores = rest[: most * width], rest[most * width :]
    _turned(k, k0, k_row, length, width, keys, row)
    ones[:] = ONE
    for i in range(0, n_queries, QUERIES):
        n = min(QUERIES, n_queries - i)
        seen = seen_by(i + n - 1, length, causal)
        stride = whole(seen)
        _scaled(q, q0 + i * q_row, q_row, n, width, factor, queries)
        _exponentials(_tiles(n), stride, width, queries, keys, row, scores)
        safe = True
        for j in range(n):
            begin = j * stride
            for e in range(begin + seen_by(i + j, length, causal), begin + stride):
                scores[e] = ZERO
            mass = dot(scores, begin, ones, 0, stride)
            log_mass[m0 + i + j] = mass
            safe = safe and LEAST < mass < MOST  # false if it is NaN
        if not safe:
            for e in range(n * stride):
                scores[e] = ZERO
            multiply(
                n, stride, width, queries, 0, width, 1, keys, 0, row,
                scores, 0, stride, scores, 0, stride,
            )  # fmt: skip
            for j in range(n):
                line = scores[j * stride : (j + 1) * stride]
                mass, shift = shifted(line, seen_by(i + j, length, causal), ONE)
                log_mass[m0 + i + j] = shift + np.float32(math.log2(mass))
                inverse = ONE / mass if mass != ZERO else ZERO  # who sees nothing gets zeros
                for e in range(len(line)):
                    line[e] *= inverse
        zeros = queries  # of which no more is needed
        zeros[:width] = ZERO
        place = out0 + i * out_row
        multiply(
            n, width, seen, scores, 0, stride, 1, v, v0, v_row, zeros, 0, 0, out, place, out_row
        )  # fmt: skip
        if safe:
            for j in range(n):
                mass = log_mass[m0 + i + j]
                log_mass[m0 + i + j] = np.float32(math.log2(mass))
                inverse = ONE / mass
                for e in range(place + j * out_row, place + j * out_row + width):
                    out[e] *= inverse


@njit(inline="always")
def shifted(row, seen, factor):
    """Scores become exponentials less their maximum, where they would leave the range; sum and shift."""
    row[seen:] = MINUS_INFINITY
    shift, mass = largest(row, len(row)) * factor, ZERO
    for j in range(len(row)):
        e = exp2(row[j] * factor - shift)
        row[j] = e
        mass += e
    row[seen:] = ZERO
    return mass, shift


@njit(**LOOPS)
def attend_backwards(
    n_queries, n_keys, width, length, causal, q, q0, q_row, k, k0, k_row, v, v0, v_row,
    out, out0, out_row, d_out, d_out0, d_out_row, log_mass, m0,
    dq, dq0, dq_row, dk, dk0, dk_row, dv, dv0, dv_row, memory,
):  # fmt: skip
    """The gradients of ``attend``: dq is written, dk and dv are added to."""
    row, scale = whole(n_keys), np.float32(1 / math.sqrt(width))
    most, size = min(QUERIES, _tiles(n_queries)), width * row
    keys, values, rest = memory[:size], memory[size : 2 * size], memory[2 * size :]
    size = most * (width + 1)
    queries, masses = rest[: most * width], rest[most * width : size]
    slopes, inners = rest[size : size + most * width], rest[size + most * width : 2 * size]
    zeros, rest = rest[2 * size : 2 * size + width], rest[2 * size + width :]
    p, ds = rest[: most * row], rest[most * row : 2 * most * row]
    zeros[:] = ZERO
    _turned(k, k0, k_row, length, width, keys, row)
    _turned(v, v0, v_row, length, width, values, row)
    for i in range(0, n_queries, QUERIES):
        n = min(QUERIES, n_queries - i)
        seen = seen_by(i + n - 1, length, causal)
        stride = whole(seen)
        a, b = q0 + i * q_row, d_out0 + i * d_out_row
        _scaled(q, a, q_row, n, width, scale * LOG2_E, queries)
        _scaled(d_out, b, d_out_row, n, width, scale, slopes)
        for j in range(n):
            x, y = j * width, out0 + (i + j) * out_row
            inner = dot(slopes, x, out, y, width - width % LANES)
            for e in range(width - width % LANES, width):
                inner += slopes[x + e] * out[y + e]
            masses[j], inners[j] = log_mass[m0 + i + j], inner
        for j in range(n, _tiles(n)):
            masses[j] = inners[j] = ZERO
        _gradients(
            _tiles(n), stride, width, queries, slopes, masses, inners, keys, values, row, p, ds
        )
        for j in range(n):
            for e in range(j * stride + seen_by(i + j, length, causal), (j + 1) * stride):
                p[e] = ds[e] = ZERO
        multiply(
            n, width, seen, ds, 0, stride, 1, k, k0, k_row,
            zeros, 0, 0, dq, dq0 + i * dq_row, dq_row,
        )  # fmt: skip
        multiply(seen, width, n, ds, 0, 1, stride, q, a, q_row, dk, dk0, dk_row, dk, dk0, dk_row)
        multiply(
            seen, width, n, p, 0, 1, stride, d_out, b, d_out_row, dv, dv0, dv_row, dv, dv0, dv_row
        )
