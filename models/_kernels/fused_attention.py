"""Exact attention compiled for CPUs by numba, with BLAS for its products; what a block needs stays in the cache.

A block of queries at a time against all keys that it may see, one (window, head) after the other, so
that memory grows with L and not with L squared, and causal blocks leave out the keys behind them. The
backward pass forms the probabilities again from the log-sum-exp of every query, as FlashAttention does
(arXiv 2205.14135, algorithm 4). Letters: B batch, H heads, M queries, L keys, G = B * H, d = D / H.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from models._compiled import LOG2_E, LOOPS, ONE, ZERO, call, exp2, largest

BLOCK = 64  # queries
LANES = 16  # float32 numbers of the widest vector register; rows of scores are whole multiples
MINUS_INFINITY = np.float32(-np.inf)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, causal: bool) -> Tensor:
        ctx.shape, ctx.n_keys, ctx.causal = q.shape, k.shape[2], causal
        q = q.reshape(-1, *q.shape[2:]).contiguous()  # (G, M, d)
        k, v = (_padded(t.flatten(0, 1)) for t in (k, v))  # (G, L, d), L rounded up
        visible = lengths.repeat_interleave(ctx.shape[1])  # (G,)
        out, log_mass = torch.empty_like(q), q.new_empty(q.shape[:2])
        call(_forward, len(q), q, k, v, visible, causal, out, log_mass)
        ctx.save_for_backward(q, k, v, visible, out, log_mass)
        return out.view(ctx.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple:
        q, k, v, visible, out, log_mass = ctx.saved_tensors
        d_out = d_out.reshape(q.shape).contiguous()
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        inputs = (q, k, v, visible, ctx.causal, out, log_mass, d_out)
        call(_backward, len(q), *inputs, dq, dk, dv)
        dk, dv = (t.unflatten(0, ctx.shape[:2])[:, :, : ctx.n_keys] for t in (dk, dv))
        return dq.view(ctx.shape), dk, dv, None, None


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
    call(_self_attention, len(x), x, n_heads, weight, bias, lengths, causal, out)
    return out


def _padded(x: Tensor) -> Tensor:
    """(G, L, d) with zeros behind, so that the length is a multiple of LANES."""
    behind = -x.shape[1] % LANES
    return F.pad(x, (0, 0, 0, behind)) if behind else x.contiguous()


# Compiled from here on. Loops over a row run over whole LANES, hidden keys included: what is left over
# would be done number by number, and rows are short (tens of keys).


@njit(inline="always")
def _seen(query, length, causal):
    """Number of keys that a query sees: all real ones, or of those the ones up to itself."""
    return min(length, query + 1) if causal else length


@njit(inline="always")
def _keys(last, n_keys, causal):
    """Number of keys that a block of queries ending before ``last`` works with, whole LANES of them."""
    return min(n_keys, last + -last % LANES) if causal else n_keys


@njit(**LOOPS)
def _forward(first, last, q, k, v, visible, causal, out, log_mass):
    n_queries, width = q.shape[1:]
    factor = np.float32(LOG2_E / math.sqrt(width))
    memory = np.empty(min(BLOCK, n_queries) * k.shape[1], np.float32)
    for g in range(first, last):
        for i in range(0, n_queries, BLOCK):
            end = min(i + BLOCK, n_queries)
            keys = _keys(end, k.shape[1], causal)
            scores = memory[: (end - i) * keys].reshape(end - i, keys)
            np.dot(q[g, i:end], k[g, :keys].T, scores)
            for row in range(end - i):
                seen = _seen(i + row, visible[g], causal)
                log_mass[g, i + row] = _softmax(scores[row], seen, factor)
            np.dot(scores, v[g, :keys], out[g, i:end])


@njit(**LOOPS)
def _self_attention(first, last, x, n_heads, weight, bias, lengths, causal, out):
    length, width = x.shape[1:]
    d = width // n_heads
    whole = length + -length % LANES
    factor = np.float32(LOG2_E / math.sqrt(d))
    projected = np.empty((length, 3 * width), np.float32)
    parts = np.zeros((3, whole, d), np.float32)  # queries, keys, values of a head
    block = min(BLOCK, length)
    memory, result = np.empty(block * whole, np.float32), np.empty((block, d), np.float32)
    for b in range(first, last):
        np.dot(x[b], weight.T, projected)
        for head in range(n_heads):
            for part in range(3):
                begin = part * width + head * d
                for i in range(length):
                    row, wide = parts[part, i], projected[i, begin : begin + d]
                    for e in range(d):
                        row[e] = wide[e] + bias[begin + e]
            q, k, v = parts[0], parts[1], parts[2]
            for i in range(0, length, BLOCK):
                end = min(i + BLOCK, length)
                keys = _keys(end, whole, causal)
                scores = memory[: (end - i) * keys].reshape(end - i, keys)
                np.dot(q[i:end], k[:keys].T, scores)
                for row in range(end - i):
                    _softmax(scores[row], _seen(i + row, lengths[b], causal), factor)
                np.dot(scores, v[:keys], result[: end - i])
                for row in range(end - i):
                    wide, narrow = out[b, i + row, head * d : head * d + d], result[row]
                    for e in range(d):
                        wide[e] = narrow[e]


@njit(inline="always")
def _softmax(row, seen, factor):
    """Scores become probabilities; the base-2 logarithm of their sum. factor: log2(e) / sqrt(d)."""
    whole = seen + -seen % LANES
    row[seen:whole] = MINUS_INFINITY
    shift, mass = largest(row, whole) * factor, ZERO
    for j in range(whole):
        e = exp2(row[j] * factor - shift)
        row[j] = e
        mass += e
    inverse = ONE / mass
    for j in range(whole):
        row[j] *= inverse
    row[seen:] = ZERO
    return shift + np.float32(math.log2(mass))


@njit(**LOOPS)
def _backward(first, last, q, k, v, visible, causal, out, log_mass, d_out, dq, dk, dv):
    n_queries, width = q.shape[1:]
    memory = np.empty((2, min(BLOCK, n_queries) * k.shape[1]), np.float32)
    part = np.empty(k.shape[1:], np.float32)
    for g in range(first, last):
        for i in range(0, n_queries, BLOCK):
            end = min(i + BLOCK, n_queries)
            keys = _keys(end, k.shape[1], causal)
            p = memory[0, : (end - i) * keys].reshape(end - i, keys)
            ds = memory[1, : (end - i) * keys].reshape(end - i, keys)
            np.dot(q[g, i:end], k[g, :keys].T, p)
            np.dot(d_out[g, i:end], v[g, :keys].T, ds)
            for row in range(end - i):
                inner = ZERO
                for e in range(width):
                    inner += d_out[g, i + row, e] * out[g, i + row, e]
                seen = _seen(i + row, visible[g], causal)
                _softmax_backward(p[row], ds[row], seen, log_mass[g, i + row], inner, width)
            np.dot(ds, k[g, :keys], dq[g, i:end])
            np.dot(ds.T, q[g, i:end], part[:keys])
            _add(dk[g], part, keys)
            np.dot(p.T, d_out[g, i:end], part[:keys])
            _add(dv[g], part, keys)


@njit(inline="always")
def _softmax_backward(p, ds, seen, log_mass, inner, width):
    """Scores p become probabilities again, ds their gradient p (ds - inner) / sqrt(d)."""
    scale = np.float32(1 / math.sqrt(width))
    factor = scale * LOG2_E
    for j in range(seen + -seen % LANES):
        e = exp2(p[j] * factor - log_mass)
        p[j] = e
        ds[j] = e * (ds[j] - inner) * scale
    p[seen:] = ZERO
    ds[seen:] = ZERO


@njit(inline="always")
def _add(total, part, n_rows):
    for j in range(n_rows):
        row, more = total[j], part[j]
        for e in range(len(row)):
            row[e] += more[e]
