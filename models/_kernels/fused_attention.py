"""Exact attention for CPUs: matrix products of PyTorch, the softmax between them compiled by numba.

A block of queries at a time, so that memory grows with L and not with L squared; causal blocks leave
out the keys behind them. The backward pass forms the probabilities again from the log-sum-exp of
every query, as FlashAttention does (arXiv 2205.14135, algorithm 4). PyTorch's fused CPU kernel does the same
arithmetic at about half the rate at these widths. Letters: B batch, H heads, M queries, L keys,
G = B * H, d = D / H.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor

from models._compiled import LOG2_E, LOOPS, ZERO, call, exp2, largest

BLOCK = 64  # queries


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, causal: bool) -> Tensor:
        ctx.shape, ctx.causal = q.shape, causal
        scale = 1 / math.sqrt(q.shape[-1])
        q, k, v = (t.reshape(-1, *t.shape[2:]).contiguous() for t in (q, k, v))  # (G, M | L, d)
        visible = lengths.repeat_interleave(len(k) // len(lengths))  # (G,)
        out, log_mass = torch.empty_like(q), q.new_empty(q.shape[:2])
        for rows, keys in _blocks(q.shape[1], k.shape[1], causal):
            scores = torch.bmm(q[:, rows] * scale, k[:, keys].transpose(1, 2))
            call(_softmax, len(scores), scores, visible, rows.start, causal, log_mass)
            torch.bmm(scores, v[:, keys], out=out[:, rows])
        ctx.save_for_backward(q, k, v, visible, out, log_mass)
        return out.view(ctx.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple:
        q, k, v, visible, out, log_mass = ctx.saved_tensors
        scale = 1 / math.sqrt(q.shape[-1])
        d_out = d_out.reshape(q.shape).contiguous()
        inner = (d_out * out).sum(2)  # (G, M)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for rows, keys in _blocks(q.shape[1], k.shape[1], ctx.causal):
            scaled = q[:, rows] * scale
            p = torch.bmm(scaled, k[:, keys].transpose(1, 2))
            dp = torch.bmm(d_out[:, rows], v[:, keys].transpose(1, 2))
            place = (visible, rows.start, ctx.causal)
            call(_softmax_backward, len(p), p, dp, *place, log_mass, inner)
            dv[:, keys] += torch.bmm(p.transpose(1, 2), d_out[:, rows])
            dk[:, keys] += torch.bmm(dp.transpose(1, 2), scaled)
            torch.bmm(dp, k[:, keys], out=dq[:, rows]).mul_(scale)
        q_shape = ctx.shape
        k_shape = (*q_shape[:2], *k.shape[1:])
        return dq.view(q_shape), dk.view(k_shape), dv.view(k_shape), None, None


def attention(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, causal: bool) -> Tensor:
    """See models._kernels.attention; lengths (B,) is never None here."""
    return _Attention.apply(q, k, v, lengths, causal)


def _blocks(n_queries: int, n_keys: int, causal: bool):
    """Slices of queries and of the keys that any of them may see."""
    for first in range(0, n_queries, BLOCK):
        last = min(first + BLOCK, n_queries)
        yield slice(first, last), slice(0, last if causal else n_keys)


# Compiled from here on.


@njit(inline="always")
def _seen(query, length, causal):
    """Number of keys that a query sees: all real ones, or of those the ones up to itself."""
    return min(length, query + 1) if causal else length


@njit(**LOOPS)
def _softmax(first, last, scores, visible, start, causal, log_mass):
    """Scores (G, m, keys) become probabilities; log_mass (G, M) the base-2 log of their sum."""
    for g in range(first, last):
        for i in range(scores.shape[1]):
            row = scores[g, i]
            seen = _seen(start + i, visible[g], causal)
            top = largest(row, seen) * LOG2_E
            mass = ZERO
            for j in range(seen):
                e = exp2(row[j] * LOG2_E - top)
                row[j] = e
                mass += e
            inverse = np.float32(1) / mass
            for j in range(seen):
                row[j] *= inverse
            for j in range(seen, len(row)):
                row[j] = ZERO
            log_mass[g, start + i] = top + np.float32(math.log2(mass))


@njit(**LOOPS)
def _softmax_backward(first, last, p, dp, visible, start, causal, log_mass, inner):
    """Scores p become probabilities again, and dp = p (dp - inner) the gradient of the scores."""
    for g in range(first, last):
        for i in range(p.shape[1]):
            row, d_row = p[g, i], dp[g, i]
            seen = _seen(start + i, visible[g], causal)
            shift, c = log_mass[g, start + i], inner[g, start + i]
            for j in range(seen):
                e = exp2(row[j] * LOG2_E - shift)
                row[j] = e
                d_row[j] = e * (d_row[j] - c)
            for j in range(seen, len(row)):
                row[j] = ZERO
                d_row[j] = ZERO
