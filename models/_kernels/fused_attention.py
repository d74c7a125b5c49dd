"""Exact attention compiled for CPUs by numba; what a block of queries needs stays in the cache.

A block of queries at a time against all keys that it may see, one (window, head) after the other, so
that memory grows with L and not with L squared, and causal blocks leave out the keys behind them. The
backward pass forms the probabilities again from the log-sum-exp of every query, as FlashAttention does
(arXiv 2205.14135, algorithm 4). Heads are read and written where the linear layers have them, side by
side in a row. Letters: B batch, H heads, M queries, L keys, d width of a head, S keys in whole registers.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor

from models._compiled import LOG2_E, LOOPS, ONE, ZERO, call, exp2, largest
from models._tiles import multiply, scratch, transpose

BLOCK = 24  # queries
LANES = 16  # float32 numbers of the widest vector register; rows of scores are whole multiples
SAFE = np.float32(80)  # exponents of 2 up to which sums stay in the range of float32
MINUS_INFINITY = np.float32(-np.inf)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, causal: bool) -> Tensor:
        heads = q.shape[1]
        out = _rows_like(q)
        log_mass = q.new_empty(len(q) * heads, q.shape[2])
        shape = (heads, *q.shape[2:], k.shape[2], causal)
        arrays = (arg for t in (q, k, v, out) for arg in _flat(t))
        call(_forward, len(log_mass), *shape, lengths, log_mass, *arrays)
        ctx.shape = shape
        ctx.save_for_backward(q, k, v, lengths, out, log_mass)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple:
        q, k, v, lengths, out, log_mass = ctx.saved_tensors
        dq, dk, dv = _rows_like(q), _rows_like(k).zero_(), _rows_like(v).zero_()
        arrays = (arg for t in (q, k, v, out, d_out, dq, dk, dv) for arg in _flat(t))
        call(_backward, len(log_mass), *ctx.shape, lengths, log_mass, *arrays)
        return dq, dk, dv, None, None


def attention(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, causal: bool) -> Tensor:
    """See models._kernels.attention; lengths (B,) is never None here."""
    return _Attention.apply(q, k, v, lengths, causal)


def _rows_like(x: Tensor) -> Tensor:
    """Uninitialised (B, H, L, d) whose memory is (B, L, H, d), as linear layers read it."""
    batch, heads, length, width = x.shape
    return x.new_empty(batch, length, heads, width).transpose(1, 2)


def _flat(x: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
    """The memory of x (B, H, L, d) as one row, and its strides but the last, which is 1."""
    x = x if x.stride(-1) == 1 else x.contiguous()
    size = 1 + sum((n - 1) * stride for n, stride in zip(x.shape, x.stride(), strict=True))
    return x.as_strided((size,), (1,)), x.stride()[:3]


# Compiled from here on. Loops over a row run over whole LANES, hidden keys included: what is left over
# would be done number by number, and rows are short (tens of keys).


@njit(inline="always")
def _place(g, heads, strides):
    """Where a (window, head) begins."""
    return g // heads * strides[0] + g % heads * strides[1]


@njit(inline="always")
def _whole(n):
    return n + -n % LANES


@njit(inline="always")
def _seen(query, length, causal):
    """Number of keys that a query sees: all real ones, or of those the ones up to itself."""
    return min(length, query + 1) if causal else length


@njit(**LOOPS)
def _turned(x, begin, stride, n, width, out, row):
    """Out (width, row) = x (n, width) transposed, 0 behind column n."""
    out[:] = ZERO
    transpose(n, width, x, begin, stride, out, 0, row)


@njit(**LOOPS)
def _gather(x, begin, stride, n, width, out):
    """Out (n, width) = rows of x; read ahead of the products, which would wait for each row."""
    for i in range(n):
        place = begin + i * stride
        for e in range(width):
            out[i * width + e] = x[place + e]


@njit(**LOOPS)
def _forward(
    first, last, heads, n_queries, width, n_keys, causal, lengths, log_mass,
    q, q_strides, k, k_strides, v, v_strides, out, out_strides,
):  # fmt: skip
    factor = np.float32(LOG2_E / math.sqrt(width))
    row = _whole(n_keys)
    scores, keys = scratch(min(BLOCK, n_queries) * row), scratch(width * row)
    queries, values = scratch(n_queries * width), scratch(row * width)
    zeros, masses = np.zeros(max(row, width), np.float32), np.empty(BLOCK, np.float32)
    for g in range(first, last):
        length = min(lengths[g // heads], n_keys)
        place, longest = _place(g, heads, k_strides), ZERO
        for j in range(length):
            longest = max(longest, _norm(k, place + j * k_strides[2], width))
        _turned(k, place, k_strides[2], length, width, keys, row)
        _gather(v, _place(g, heads, v_strides), v_strides[2], length, width, values)
        _gather(q, _place(g, heads, q_strides), q_strides[2], n_queries, width, queries)
        for i in range(0, n_queries, BLOCK):
            end = min(i + BLOCK, n_queries)
            n, seen, place = end - i, _seen(end - 1, length, causal), i * width
            multiply(
                n, _whole(seen), width, queries, place, width, 1, keys, 0, row,
                zeros, 0, 0, scores, 0, row,
            )  # fmt: skip
            o = _place(g, heads, out_strides) + i * out_strides[2]
            for j in range(n):
                line = scores[j * row : j * row + _whole(seen)]
                bound = factor * _norm(queries, place + j * width, width) * longest
                visible = _seen(i + j, length, causal)
                shift, masses[j] = _exponentials(line, visible, factor, bound)
                log_mass[g, i + j] = shift + np.float32(math.log2(masses[j]))
            multiply(
                n, width, seen, scores, 0, row, 1, values, 0, width,
                zeros, 0, 0, out, o, out_strides[2],
            )  # fmt: skip
            for j in range(n):
                inverse, begin = ONE / masses[j], o + j * out_strides[2]
                for e in range(begin, begin + width):
                    out[e] *= inverse


@njit(inline="always")
def _norm(x, begin, width):
    """Euclidean length of a row."""
    square = ZERO
    for e in range(begin, begin + width):
        square += x[e] * x[e]
    return np.float32(math.sqrt(square))


@njit(inline="always")
def _exponentials(row, seen, factor, bound):
    """Scores s become 2 ** (s factor - shift); shift and their sum. bound: no s factor is further from 0.

    The maximum is looked for only where exponentials without it might leave the range of the numbers.
    """
    whole = _whole(seen)
    row[seen:whole] = MINUS_INFINITY
    shift, mass = ZERO, ZERO
    if not bound <= SAFE:
        shift = largest(row, whole) * factor
    for j in range(whole):
        e = exp2(row[j] * factor - shift)
        row[j] = e
        mass += e
    row[seen:] = ZERO
    return shift, mass


@njit(**LOOPS)
def _backward(
    first, last, heads, n_queries, width, n_keys, causal, lengths, log_mass,
    q, q_strides, k, k_strides, v, v_strides, out, out_strides, d_out, d_out_strides,
    dq, dq_strides, dk, dk_strides, dv, dv_strides,
):  # fmt: skip
    row = _whole(n_keys)
    keys, values = scratch(width * row), scratch(width * row)
    p, ds = scratch(min(BLOCK, n_queries) * row), scratch(min(BLOCK, n_queries) * row)
    queries, d_outs = scratch(n_queries * width), scratch(n_queries * width)
    inner, zeros = scratch(n_queries), np.zeros(max(row, width), np.float32)
    for g in range(first, last):
        length = min(lengths[g // heads], n_keys)
        k_place, v_place = _place(g, heads, k_strides), _place(g, heads, v_strides)
        dk_place, dv_place = _place(g, heads, dk_strides), _place(g, heads, dv_strides)
        _turned(k, k_place, k_strides[2], length, width, keys, row)
        _turned(v, v_place, v_strides[2], length, width, values, row)
        o_place, g_place = _place(g, heads, out_strides), _place(g, heads, d_out_strides)
        _gather(q, _place(g, heads, q_strides), q_strides[2], n_queries, width, queries)
        _gather(d_out, g_place, d_out_strides[2], n_queries, width, d_outs)
        for i in range(n_queries):
            inner[i] = ZERO
            place = o_place + i * out_strides[2]
            for e in range(width):
                inner[i] += d_outs[i * width + e] * out[place + e]
        for i in range(0, n_queries, BLOCK):
            end = min(i + BLOCK, n_queries)
            n, seen = end - i, _seen(end - 1, length, causal)
            place = i * width
            multiply(
                n, _whole(seen), width, queries, place, width, 1, keys, 0, row,
                zeros, 0, 0, p, 0, row,
            )  # fmt: skip
            multiply(
                n, _whole(seen), width, d_outs, place, width, 1, values, 0, row,
                zeros, 0, 0, ds, 0, row,
            )  # fmt: skip
            for j in range(n):
                a, b = j * row, j * row + _whole(seen)
                visible, mass = _seen(i + j, length, causal), log_mass[g, i + j]
                _softmax_backward(p[a:b], ds[a:b], visible, mass, inner[i + j], width)
            c = _place(g, heads, dq_strides) + i * dq_strides[2]
            multiply(
                n, width, seen, ds, 0, row, 1, k, k_place, k_strides[2],
                zeros, 0, 0, dq, c, dq_strides[2],
            )  # fmt: skip
            multiply(
                seen, width, n, ds, 0, 1, row, queries, place, width,
                dk, dk_place, dk_strides[2], dk, dk_place, dk_strides[2],
            )  # fmt: skip
            multiply(
                seen, width, n, p, 0, 1, row, d_outs, place, width,
                dv, dv_place, dv_strides[2], dv, dv_place, dv_strides[2],
            )  # fmt: skip


@njit(inline="always")
def _softmax_backward(p, ds, seen, log_mass, inner, width):
    """Scores p become probabilities again, ds their gradient p (ds - inner) / sqrt(d)."""
    scale = np.float32(1 / math.sqrt(width))
    factor = scale * LOG2_E
    for j in range(_whole(seen)):
        e = exp2(p[j] * factor - log_mass)
        p[j] = e
        ds[j] = e * (ds[j] - inner) * scale
    p[seen:] = ZERO
    ds[seen:] = ZERO
