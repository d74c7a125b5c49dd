"""Exact attention compiled for CPUs by numba; what a block of queries needs stays in the cache.

One window and head after the other (one_head.py). Heads are read and written where the linear layers have
them, side by side in a row. Letters: B batch, H heads, M queries, L keys, d width of a head.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from models._compiled import LOOPS, call
from models._kernels.one_head import (
    attend,
    attend_backwards,
    room,
    room_backwards,
)
from models._tiles import multiply, scratch


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, lengths: Tensor, causal: bool, counts: Tensor) -> Tensor:
        heads = q.shape[1]
        out = _rows_like(q)
        log_mass = q.new_empty(q.shape[:3].numel())
        shape = (heads, *q.shape[2:], k.shape[2], causal)
        arrays = (arg for t in (q, k, v, out) for arg in _flat(t))
        call(_forward, len(q) * heads, *shape, lengths, counts, log_mass, *arrays)
        ctx.shape = shape
        ctx.save_for_backward(q, k, v, lengths, counts, out, log_mass)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple:
        q, k, v, lengths, counts, out, log_mass = ctx.saved_tensors
        dq, dk, dv = (_rows_like(t).zero_() for t in (q, k, v))
        arrays = (arg for t in (q, k, v, out, d_out, dq, dk, dv) for arg in _flat(t))
        call(_backward, len(q) * ctx.shape[0], *ctx.shape, lengths, counts, log_mass, *arrays)
        return dq, dk, dv, None, None, None


def attention(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, causal: bool, counts: Tensor
) -> Tensor:
    """See models._kernels.attention; lengths and counts (B,) are never None here."""
    return _Attention.apply(q, k, v, lengths, causal, counts)


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


# Compiled from here on.


@njit(inline="always")
def _place(g, heads, strides):
    """Where a (window, head) begins."""
    return g // heads * strides[0] + g % heads * strides[1]


@njit(**LOOPS)
def _forward(
    first, last, heads, n_queries, width, n_keys, causal, lengths, counts, log_mass,
    q, q_strides, k, k_strides, v, v_strides, out, out_strides,
):  # fmt: skip
    memory = scratch(room(n_queries, n_keys, width))
    for g in range(first, last):
        b = g // heads
        attend(
            counts[b], n_keys, width, lengths[b], causal,
            q, _place(g, heads, q_strides), q_strides[2],
            k, _place(g, heads, k_strides), k_strides[2],
            v, _place(g, heads, v_strides), v_strides[2],
            out, _place(g, heads, out_strides), out_strides[2], log_mass, g * n_queries, memory,
        )  # fmt: skip


@njit(**LOOPS)
def _backward(
    first, last, heads, n_queries, width, n_keys, causal, lengths, counts, log_mass,
    q, q_strides, k, k_strides, v, v_strides, out, out_strides, d_out, d_out_strides,
    dq, dq_strides, dk, dk_strides, dv, dv_strides,
):  # fmt: skip
    memory = scratch(room_backwards(n_queries, n_keys, width))
    for g in range(first, last):
        b = g // heads
        attend_backwards(
            counts[b], n_keys, width, lengths[b], causal,
            q, _place(g, heads, q_strides), q_strides[2],
            k, _place(g, heads, k_strides), k_strides[2],
            v, _place(g, heads, v_strides), v_strides[2],
            out, _place(g, heads, out_strides), out_strides[2],
            d_out, _place(g, heads, d_out_strides), d_out_strides[2], log_mass, g * n_queries,
            dq, _place(g, heads, dq_strides), dq_strides[2],
            dk, _place(g, heads, dk_strides), dk_strides[2],
            dv, _place(g, heads, dv_strides), dv_strides[2], memory,
        )  # fmt: skip


@njit(**LOOPS)
def _self_attention(first, last, x, heads, matrix, bias, lengths, causal, out):
    length, width = x.shape[1:]
    wide, d = 3 * width, width // heads
    a, b, results = x.reshape(-1), matrix.reshape(-1), out.reshape(-1)
    projected, log_mass = scratch(length * wide), scratch(heads * length)
    strides, every = (length * wide, d, wide), np.full(1, length)
    for i in range(first, last):
        place = i * length * width
        multiply(
            length, wide, width, a, place, width, 1, b, 0, wide, bias, 0, 0, projected, 0, wide
        )
        _forward(
            0, heads, heads, length, d, length, causal, lengths[i : i + 1], every, log_mass,
            projected, strides, projected[width:], strides, projected[2 * width :], strides,
            results[place:], (length * width, d, width),
        )  # fmt: skip
