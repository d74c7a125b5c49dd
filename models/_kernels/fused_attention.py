"""Exact attention compiled for CPUs by numba; what a block of queries needs stays in the cache.

A block of queries at a time against all keys that it may see, one window and head after the other, so
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
from models._tiles import dot, multiply, scratch, transpose

BLOCK = 24  # queries
LANES = 16  # float32 numbers of the widest vector register; rows of scores are whole multiples
LEAST, MOST = np.float32(2.0**-60), np.float32(2.0**100)  # sums that no limit of exp2 has touched
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


def self_attention(
    x: Tensor, n_heads: int, weight: Tensor, bias: Tensor, lengths: Tensor | None, causal: bool
) -> Tensor:
    """Attention of every position of x (B, L, D) to its own row, where nothing is trained: (B, L, D).

    weight (3D, D) and bias (3D,) make queries, keys and values; a row's are formed, used and forgotten
    while they are in a core's cache. lengths and causal as in models._kernels.attention.
    """
    x = x.contiguous()
    if lengths is None:
        lengths = torch.full((len(x),), x.shape[1])
    out = torch.empty_like(x)
    call(_self_attention, len(x), x, n_heads, weight.t().contiguous(), bias, lengths, causal, out)
    return out


def _rows_like(x: Tensor) -> Tensor:
    """Uninitialised (B, H, L, d) whose memory is (B, L, H, d), as linear layers read it."""
    batch, heads, length, width = x.shape
    return x.new_empty(batch, length, heads, width).transpose(1, 2)


def _flat(x: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
    """The memory of x (B, H, L, d) as one row, and its strides but the last, which is 1."""
    x = x if x.stride(-1) == 1 else x.contiguous()
    size = 1 + sum((n - 1) * stride for n, stride in zip(x.shape, x.stride(), strict=True))
    return x.as_strided((size,), (1,)), x.stride()[:3]


# Compiled from here on. A loop of LLVM's takes four registers at once and does what is left number by
# number, so exponentials are formed of a whole block of rows, not of each row.


@njit(inline="always")
def _whole(n):
    return n + -n % LANES


@njit(inline="always")
def _seen(query, length, causal):
    """Number of keys that a query sees: all real ones, or of those the ones up to itself."""
    return min(length, query + 1) if causal else length


@njit(inline="always")
def _place(g, heads, strides):
    """Where a (window, head) begins."""
    return g // heads * strides[0] + g % heads * strides[1]


@njit(**LOOPS)
def _turned(x, begin, stride, n, width, out, row):
    """Out (width, row) = x (n, width) transposed, 0 behind column n."""
    out[:] = ZERO
    transpose(n, width, x, begin, stride, out, 0, row)


@njit(**LOOPS)
def _forward(
    first, last, heads, n_queries, width, n_keys, causal, lengths, log_mass,
    q, q_strides, k, k_strides, v, v_strides, out, out_strides,
):  # fmt: skip
    factor, row = np.float32(LOG2_E / math.sqrt(width)), _whole(n_keys)
    scores, keys = scratch(min(BLOCK, n_queries) * row), scratch(width * row)
    zeros, ones = np.zeros(max(row, width), np.float32), np.ones(row, np.float32)
    inverses = np.empty(BLOCK, np.float32)
    for g in range(first, last):
        length, values = min(lengths[g // heads], n_keys), _place(g, heads, v_strides)
        _turned(k, _place(g, heads, k_strides), k_strides[2], length, width, keys, row)
        for i in range(0, n_queries, BLOCK):
            n = min(BLOCK, n_queries - i)
            seen = _seen(i + n - 1, length, causal)
            stride, block = _whole(seen), scores[: n * _whole(seen)]
            a = (q, _place(g, heads, q_strides) + i * q_strides[2], q_strides[2], 1)
            multiply(n, stride, width, *a, keys, 0, row, zeros, 0, 0, block, 0, stride)
            for e in range(len(block)):
                block[e] = exp2(block[e] * factor)
            safe = True
            for j in range(n):
                begin = j * stride
                for e in range(begin + _seen(i + j, length, causal), begin + stride):
                    block[e] = ZERO
                mass = dot(block, begin, ones, 0, stride)
                log_mass[g, i + j] = mass
                safe = safe and LEAST < mass < MOST  # false if it is NaN
            if not safe:
                multiply(n, stride, width, *a, keys, 0, row, zeros, 0, 0, block, 0, stride)
            place = _place(g, heads, out_strides) + i * out_strides[2]
            for j in range(n):
                mass, shift = log_mass[g, i + j], ZERO
                if not safe:
                    line = block[j * stride : (j + 1) * stride]
                    mass, shift = _shifted(line, _seen(i + j, length, causal), factor)
                log_mass[g, i + j] = shift + np.float32(math.log2(mass))
                inverses[j] = ONE / mass if mass != ZERO else ZERO  # who sees nothing gets zeros
            multiply(
                n, width, seen, block, 0, stride, 1, v, values, v_strides[2],
                zeros, 0, 0, out, place, out_strides[2],
            )  # fmt: skip
            for j in range(n):
                begin = place + j * out_strides[2]
                for e in range(begin, begin + width):
                    out[e] *= inverses[j]


@njit(inline="always")
def _shifted(row, seen, factor):
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
def _self_attention(first, last, x, heads, matrix, bias, lengths, causal, out):
    length, width = x.shape[1:]
    wide, d = 3 * width, width // heads
    a, b, results = x.reshape(-1), matrix.reshape(-1), out.reshape(-1)
    projected, log_mass = scratch(length * wide), np.empty((heads, length), np.float32)
    strides = length * wide, d, wide
    for i in range(first, last):
        place = i * length * width
        multiply(
            length, wide, width, a, place, width, 1, b, 0, wide, bias, 0, 0, projected, 0, wide
        )
        _forward(
            0, heads, heads, length, d, length, causal, lengths[i : i + 1], log_mass,
            projected, strides, projected[width:], strides, projected[2 * width :], strides,
            results[place:], (length * width, d, width),
        )  # fmt: skip


@njit(**LOOPS)
def _backward(
    first, last, heads, n_queries, width, n_keys, causal, lengths, log_mass,
    q, q_strides, k, k_strides, v, v_strides, out, out_strides, d_out, d_out_strides,
    dq, dq_strides, dk, dk_strides, dv, dv_strides,
):  # fmt: skip
    scale, row = np.float32(1 / math.sqrt(width)), _whole(n_keys)
    factor = scale * LOG2_E
    keys, values = scratch(width * row), scratch(width * row)
    memory = scratch(2 * min(BLOCK, n_queries) * row)
    zeros = np.zeros(width, np.float32)
    for g in range(first, last):
        length = min(lengths[g // heads], n_keys)
        k_place, v_place = _place(g, heads, k_strides), _place(g, heads, v_strides)
        dk_place, dv_place = _place(g, heads, dk_strides), _place(g, heads, dv_strides)
        _turned(k, k_place, k_strides[2], length, width, keys, row)
        _turned(v, v_place, v_strides[2], length, width, values, row)
        for i in range(0, n_queries, BLOCK):
            n = min(BLOCK, n_queries - i)
            seen = _seen(i + n - 1, length, causal)
            stride = _whole(seen)
            p, ds = memory[: n * stride], memory[n * stride : 2 * n * stride]
            a = (q, _place(g, heads, q_strides) + i * q_strides[2], q_strides[2])
            b = (d_out, _place(g, heads, d_out_strides) + i * d_out_strides[2], d_out_strides[2])
            for j in range(n):
                x = b[1] + j * b[2]
                y = _place(g, heads, out_strides) + (i + j) * out_strides[2]
                inner = dot(d_out, x, out, y, width - width % LANES)
                for e in range(width - width % LANES, width):
                    inner += d_out[x + e] * out[y + e]
                mass = log_mass[g, i + j] / factor
                for e in range(j * stride, (j + 1) * stride):
                    p[e] = -mass
                    ds[e] = -inner
            multiply(n, stride, width, *a, 1, keys, 0, row, p, 0, stride, p, 0, stride)
            multiply(n, stride, width, *b, 1, values, 0, row, ds, 0, stride, ds, 0, stride)
            for e in range(n * stride):  # ds = p (d_out v' - inner) / sqrt(d)
                power = exp2(p[e] * factor)
                p[e] = power
                ds[e] *= power * scale
            for j in range(n):
                for e in range(j * stride + _seen(i + j, length, causal), (j + 1) * stride):
                    p[e] = ds[e] = ZERO
            c = (dq, _place(g, heads, dq_strides) + i * dq_strides[2], dq_strides[2])
            multiply(n, width, seen, ds, 0, stride, 1, k, k_place, k_strides[2], zeros, 0, 0, *c)
            c = (dk, dk_place, dk_strides[2])
            multiply(seen, width, n, ds, 0, 1, stride, *a, *c, *c)
            c = (dv, dv_place, dv_strides[2])
            multiply(seen, width, n, p, 0, 1, stride, *b, *c, *c)
