"""Attention with its projections, a sum and the LayerNorm of it, compiled for CPUs by numba as one kernel.

A group of windows passes through all of it while it is in the cache, forwards and backwards. Queries,
keys and values lie head by head, so that a head's rows are next to each other. Letters: B windows of L
positions, T positions that ask, H heads, D width, d = D / H.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from models._compiled import LOOPS, ZERO, call
from models._kernels.elementwise import (
    _drop_row,
    _norm,
    _norm_row_backward,
    add,
    draw_mask,
    of_sum,
)
from models._kernels.one_head import attend, attend_backwards, room, room_backwards
from models._tiles import multiply, scratch

POSITIONS = 192  # of a group of short windows
ROWS = 96  # summed over at a time in the gradients of weights
MOST_PARTS = 8  # of the groups, each with its own sums for the gradients of the weights
ROWS_OF_A_PART = 1024


class _AttentionBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x, residual, flat, counts, lengths, causal: bool, heads: int, eps: float, p: float,
        *parameters,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        ctx.mask = draw_mask(p)
        ctx.set_materialize_grads(False)
        rows, length, width = x.shape
        x = x.contiguous()
        queries = x.view(-1, width)
        queries = queries if flat is None else queries.index_select(0, flat)
        ctx.residual = None if residual is None else residual.shape
        added = queries if residual is None else residual.reshape(queries.shape).contiguous()
        first = torch.zeros(rows + 1, dtype=torch.int64)
        torch.cumsum(counts, 0, out=first[1:])
        asked, most = len(queries), int(counts.max())
        ctx.shape = (_group(length), heads, length, most, causal, first, lengths)
        query, query_bias, keys, keys_bias, out, out_bias, weight, bias = parameters
        matrices = [t.t().contiguous() for t in (query, keys, out)]
        q, kv = x.new_empty(asked, width), x.new_empty(rows, length, 2 * width)
        mixed, total, result = (torch.empty_like(q) for _ in range(3))
        log_mass, moments = x.new_empty(heads * asked), x.new_empty(asked, 2)
        given = (x, queries, added, *matrices, query_bias, keys_bias, out_bias, weight, bias)
        saved = (q, kv, mixed, log_mass, total, moments)
        norm = (np.float32(eps), *ctx.mask)
        call(_forward, -(-rows // ctx.shape[0]), *ctx.shape, *given, *norm, *saved, result)
        ctx.at = flat
        ctx.save_for_backward(x, queries, query, keys, out, weight, *saved)
        return tuple(t if flat is not None else t.view(x.shape) for t in (result, total))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor | None, d_sum: Tensor | None) -> tuple:
        x, queries, query, keys, out, weight, *saved = ctx.saved_tensors
        rows = len(x)
        groups = -(-rows // ctx.shape[0])
        parts = min(MOST_PARTS, groups, 1 + rows * x.shape[1] // ROWS_OF_A_PART)
        d_x = torch.empty_like(x)
        flat = torch.empty(0, dtype=torch.int64) if ctx.at is None else ctx.at
        shapes = [t.shape for t in (query, weight, keys, keys[:, 0], out, weight, weight, weight)]
        sums = x.new_zeros(parts, sum(s.numel() for s in shapes))
        itself = ctx.residual is None
        d_residual = queries[:0] if itself else torch.empty_like(queries)
        given = (
            *of_sum(queries, d_out, d_sum),
            x,
            queries,
            flat,
            query.contiguous(),
            keys.contiguous(),
            out.contiguous(),
        )
        kinds = (weight, *ctx.mask, *saved)
        call(_backward, parts, parts, *ctx.shape, *given, *kinds, d_x, d_residual, sums)
        d_residual = None if itself else d_residual.view(ctx.residual)
        found = sums.sum(0).split([s.numel() for s in shapes])
        return (
            d_x,
            d_residual,
            *7 * (None,),
            *(t.view(s) for t, s in zip(found, shapes, strict=True)),
        )


def attention_block(
    x: Tensor,
    residual: Tensor | None,
    flat: Tensor | None,
    counts: Tensor,
    lengths: Tensor,
    causal: bool,
    heads: int,
    parameters: tuple[Tensor, ...],
    eps: float,
    p: float,
) -> tuple[Tensor, Tensor]:
    """See models._kernels.attention_block; counts and lengths (B,) are never None here."""
    settings = (flat, counts, lengths, causal, heads, eps, p)
    return _AttentionBlock.apply(x, residual, *settings, *parameters)


def _group(length: int) -> int:
    """Windows that one call of a product takes together."""
    return max(1, POSITIONS // length)


# Compiled from here on.


@njit(**LOOPS)
def _forward(
    first, last, group, heads, length, most, causal, starts, lengths,
    x, queries, residual, to_query, to_keys, to_out, query_bias, keys_bias, out_bias, weight, bias, eps,
    seed_0, seed_1, threshold, scale, q, kv, mixed, log_mass, total, moments, out,
):  # fmt: skip
    width = queries.shape[1]
    d = width // heads
    memory = scratch(room(most, length, d))
    a, b, c, y = x.reshape(-1), queries.reshape(-1), mixed.reshape(-1), total.reshape(-1)
    asks, knows = q.reshape(-1), kv.reshape(-1)
    w_q, w_kv, w_out = to_query.reshape(-1), to_keys.reshape(-1), to_out.reshape(-1)
    for unit in range(first, last):
        begin, end = unit * group, min((unit + 1) * group, len(lengths))
        for window in range(begin, end):
            t, n = starts[window], starts[window + 1] - starts[window]
            place, size = window * length * width, length * d
            for head in range(heads):
                q0, k0, v0 = t * width + head * n * d, 2 * place + head * size, 0
                v0 = k0 + heads * size
                multiply(
                    n, d, width, b, t * width, width, 1, w_q, head * d, width,
                    query_bias, head * d, 0, asks, q0, d,
                )  # fmt: skip
                multiply(
                    length, d, width, a, place, width, 1, w_kv, head * d, 2 * width,
                    keys_bias, head * d, 0, knows, k0, d,
                )  # fmt: skip
                multiply(
                    length, d, width, a, place, width, 1, w_kv, width + head * d, 2 * width,
                    keys_bias, width + head * d, 0, knows, v0, d,
                )  # fmt: skip
                attend(
                    n, length, d, lengths[window], causal, asks, q0, d, knows, k0, d,
                    knows, v0, d, c, t * width + head * d, width,
                    log_mass, t * heads + head * n, memory,
                )  # fmt: skip
        t, n = starts[begin], starts[end] - starts[begin]
        multiply(
            n, width, width, c, t * width, width, 1, w_out, 0, width,
            out_bias, 0, 0, y, t * width, width,
        )  # fmt: skip
        _norm(
            t, t + n, total, residual, True, weight, bias, eps,
            seed_0, seed_1, threshold, scale, total, moments, out,
        )  # fmt: skip


@njit(**LOOPS)
def _backward(
    first, last, parts, group, heads, length, most, causal, starts, lengths,
    d_out, d_sum, x, queries, flat, query, keys, to_out, weight, seed_0, seed_1, threshold, scale,
    q, kv, mixed, log_mass, total, moments, d_x, d_residual, sums,
):  # fmt: skip
    width, rows = queries.shape[1], len(lengths)
    d, wide, square, every = width // heads, 2 * width, width * width, len(flat) == 0
    groups = -(-rows // group)
    memory = scratch(room_backwards(most, length, d))
    d_y, d_mixed, d_q = (
        scratch(group * most * width), scratch(group * most * width), scratch(group * most * width)
    )  # fmt: skip
    d_kv, d_asked = scratch(group * length * wide), scratch(group * most * width)
    zeros = np.zeros(width, np.float32)
    a, b, c, d_a = x.reshape(-1), queries.reshape(-1), mixed.reshape(-1), d_x.reshape(-1)
    asks, knows = q.reshape(-1), kv.reshape(-1)
    w_q, w_kv, w_out = query.reshape(-1), keys.reshape(-1), to_out.reshape(-1)
    for part in range(first, last):
        s = sums[part]
        s_q, s_q_bias = s[:square], s[square : square + width]
        s_kv, s = s[square + width : 3 * square + width], s[3 * square + width :]
        s_kv_bias, s_out = s[:wide], s[wide : wide + square]
        s = s[wide + square :]
        s_out_bias, s_weight, s_bias = s[:width], s[width : 2 * width], s[2 * width :]
        for unit in range(groups * part // parts, groups * (part + 1) // parts):
            begin, end = unit * group, min((unit + 1) * group, rows)
            t, n = starts[begin], starts[end] - starts[begin]
            place, positions = begin * length * width, (end - begin) * length
            for i in range(n):
                row, into = d_asked[i * width : (i + 1) * width], d_y[i * width : (i + 1) * width]
                _norm_row_backward(
                    d_out[t + i], total[t + i], moments[t + i, 0], moments[t + i, 1], weight,
                    row, s_weight, s_bias,
                )  # fmt: skip
                if len(d_sum):
                    add(row, d_sum[t + i])
                if threshold > 0:
                    index = np.uint32((t + i) * width)
                    _drop_row(row, into, index, seed_0, seed_1, threshold, scale)
                else:
                    into[:] = row
                if len(d_residual):
                    d_residual[t + i] = row
                    row[:] = ZERO
            _weights(n, width, width, d_y, c, t * width, s_out, s_out_bias)
            d_kv[: positions * wide] = ZERO
            for window in range(begin, end):
                u, m = starts[window], starts[window + 1] - starts[window]
                g, r = (u - t) * width, (window - begin) * length * wide
                for head in range(heads):
                    size, e = length * d, head * d
                    q0, k0 = u * width + head * m * d, window * length * wide + head * size
                    multiply(
                        m, d, width, d_y, g, width, 1, w_out, e, width, zeros, 0, 0, d_mixed, 0, d
                    )  # fmt: skip
                    attend_backwards(
                        m, length, d, lengths[window], causal,
                        asks, q0, d, knows, k0, d, knows, k0 + heads * size, d,
                        c, u * width + e, width, d_mixed, 0, d, log_mass, u * heads + head * m,
                        d_q, g + e, width, d_kv, r + e, wide, d_kv, r + width + e, wide, memory,
                    )  # fmt: skip
            _weights(n, width, width, d_q, b, t * width, s_q, s_q_bias)
            _weights(positions, wide, width, d_kv, a, place, s_kv, s_kv_bias)
            multiply(
                n, width, width, d_q, 0, width, 1, w_q, 0, width,
                d_asked, 0, width, d_asked, 0, width,
            )  # fmt: skip
            if every:
                multiply(
                    positions, width, wide, d_kv, 0, wide, 1, w_kv, 0, width,
                    d_asked, 0, width, d_a, place, width,
                )  # fmt: skip
                continue
            multiply(
                positions, width, wide, d_kv, 0, wide, 1, w_kv, 0, width,
                zeros, 0, 0, d_a, place, width,
            )  # fmt: skip
            for i in range(n):
                into = flat[t + i] * width
                for e in range(width):
                    d_a[into + e] += d_asked[i * width + e]


@njit(**LOOPS)
def _weights(n, m, width, d_y, x, x0, total, bias):
    """Total (m, width) += d_y (n, m) transposed times x (n, width), bias (m,) += sums of d_y."""
    for i in range(0, n, ROWS):
        rows = min(ROWS, n - i)
        multiply(
            m, width, rows, d_y, i * m, 1, m, x, x0 + i * width, width,
            total, 0, width, total, 0, width,
        )  # fmt: skip
    for i in range(n):
        for e in range(m):
            bias[e] += d_y[i * m + e]
