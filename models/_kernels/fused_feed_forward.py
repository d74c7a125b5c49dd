"""A feed-forward network, a sum and the LayerNorm of it, compiled for CPUs by numba as one kernel.

A block of rows passes through both products and everything between and behind them while it is in the
cache; the backward pass computes GELU again from the first product. Letters: T rows, D width, F width
inside.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from models._compiled import LOOPS, ZERO, call, normal_cdf
from models._kernels.elementwise import (
    INVERSE_SQRT_2_PI,
    _drop_row,
    _norm,
    _norm_row_backward,
    add,
    draw_mask,
    of_sum,
)
from models._tiles import multiply, scratch

ROWS = 96  # of a block
MOST_PARTS = 8  # of the rows, each with its own sums for the gradients of the weights
ROWS_OF_A_PART = 1024


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        x,
        residual,
        inner,
        inner_bias,
        outer,
        outer_bias,
        weight,
        bias,
        eps: float,
        inner_p: float,
        p: float,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        ctx.itself = residual is None
        added = rows if ctx.itself else residual.reshape(rows.shape).contiguous()
        inner, outer = inner.contiguous(), outer.contiguous()
        ctx.masks = *draw_mask(inner_p), *draw_mask(p)
        before = x.new_empty(len(rows), len(inner))
        total, out, moments = (
            torch.empty_like(rows),
            torch.empty_like(rows),
            x.new_empty(len(rows), 2),
        )
        call(
            _forward, -(-len(rows) // ROWS), rows, added, inner.t().contiguous(), inner_bias,
            outer.t().contiguous(), outer_bias, weight, bias, np.float32(eps), *ctx.masks,
            before, total, moments, out,
        )  # fmt: skip
        ctx.save_for_backward(rows, inner, outer, weight, before, total, moments)
        ctx.shape = x.shape
        return out.view(x.shape), total.view(x.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor | None, d_sum: Tensor | None) -> tuple:
        rows, inner, outer, weight, before, total, moments = ctx.saved_tensors
        parts = min(MOST_PARTS, 1 + len(rows) // ROWS_OF_A_PART)
        d_x = torch.empty_like(rows)
        sums = [
            t.new_zeros(parts, *t.shape)
            for t in (inner, inner[:, 0], outer, weight, weight, weight)
        ]
        d_y, d_sum = of_sum(rows, d_out, d_sum)
        d_residual = rows[:0] if ctx.itself else torch.empty_like(rows)
        given = (d_y, d_sum, rows, inner, outer, weight, *ctx.masks, before, total, moments)
        call(_backward, parts, parts, *given, d_x, d_residual, *sums)
        d_residual = None if ctx.itself else d_residual.view(ctx.shape)
        return d_x.view(ctx.shape), d_residual, *(t.sum(0) for t in sums), None, None, None


def feed_forward(
    x: Tensor, residual: Tensor | None, *arguments: Tensor | float
) -> tuple[Tensor, Tensor]:
    """See models._kernels.feed_forward; arguments: weights and biases of both layers and the norm, eps, shares."""
    return _FeedForward.apply(x, residual, *arguments)


# Compiled from here on.


@njit(**LOOPS)
def _forward(
    first, last, x, residual, inner, inner_bias, outer, outer_bias, weight, bias, eps,
    seed_0, seed_1, threshold, scale, seed_2, seed_3, out_threshold, out_scale,
    before, total, moments, out,
):  # fmt: skip
    width, wide = inner.shape
    a, v, y = x.reshape(-1), before.reshape(-1), total.reshape(-1)
    first_matrix, second_matrix = inner.reshape(-1), outer.reshape(-1)
    active = scratch(ROWS * wide).reshape(ROWS, wide)
    flat = active.reshape(-1)
    for i in range(first * ROWS, min(last * ROWS, len(x)), ROWS):
        n = min(ROWS, len(x) - i)
        multiply(
            n, wide, width, a, i * width, width, 1, first_matrix, 0, wide,
            inner_bias, 0, 0, v, i * wide, wide,
        )  # fmt: skip
        for j in range(n):
            row, into = before[i + j], active[j]
            for e in range(wide):
                cdf, _ = normal_cdf(row[e])
                into[e] = row[e] * cdf
            if threshold > 0:
                start = np.uint32((i + j) * wide)
                _drop_row(into, into, start, seed_0, seed_1, threshold, scale)
        multiply(
            n, width, wide, flat, 0, wide, 1, second_matrix, 0, width,
            outer_bias, 0, 0, y, i * width, width,
        )  # fmt: skip
        _norm(
            i, i + n, total, residual, True, weight, bias, eps,
            seed_2, seed_3, out_threshold, out_scale, total, moments, out,
        )  # fmt: skip


@njit(**LOOPS)
def _backward(
    first, last, parts, d_out, d_sum, x, inner, outer, weight,
    seed_0, seed_1, threshold, scale, seed_2, seed_3, out_threshold, out_scale,
    before, total, moments,
    d_x, d_residual, d_inner, d_inner_bias, d_outer, d_outer_bias, d_weight, d_bias,
):  # fmt: skip
    wide, width = inner.shape
    size, rows = wide * width, len(x)
    active, d_active = scratch(ROWS * wide), scratch(ROWS * wide)
    d_y, zeros = scratch(ROWS * width), np.zeros(wide, np.float32)
    a, d_a, first_matrix, second_matrix = (
        x.reshape(-1), d_x.reshape(-1), inner.reshape(-1), outer.reshape(-1)
    )  # fmt: skip
    d_first, d_second = d_inner.reshape(-1), d_outer.reshape(-1)
    for part in range(first, last):
        begin, end = rows * part // parts, rows * (part + 1) // parts
        for i in range(begin, end, ROWS):
            n = min(ROWS, end - i)
            for j in range(n):
                row = d_x[i + j]
                _norm_row_backward(
                    d_out[i + j], total[i + j], moments[i + j, 0], moments[i + j, 1], weight,
                    row, d_weight[part], d_bias[part],
                )  # fmt: skip
                if len(d_sum):
                    add(row, d_sum[i + j])
                into = d_y[j * width : (j + 1) * width]
                if out_threshold > 0:
                    start = np.uint32((i + j) * width)
                    _drop_row(row, into, start, seed_2, seed_3, out_threshold, out_scale)
                else:
                    into[:] = row
                add(d_outer_bias[part], into)
                if len(d_residual):
                    d_residual[i + j] = row
                    row[:] = ZERO
            multiply(
                n, wide, width, d_y, 0, width, 1, second_matrix, 0, wide,
                zeros, 0, 0, d_active, 0, wide,
            )  # fmt: skip
            for j in range(n):
                g, y = d_active[j * wide : (j + 1) * wide], active[j * wide : (j + 1) * wide]
                if threshold > 0:
                    start = np.uint32((i + j) * wide)
                    _drop_row(g, g, start, seed_0, seed_1, threshold, scale)
                _gelu_row_backward(before[i + j], g, y)
                if threshold > 0:
                    _drop_row(y, y, start, seed_0, seed_1, threshold, scale)
                add(d_inner_bias[part], g)
            c = (d_second, part * size, wide)
            multiply(width, wide, n, d_y, 0, 1, width, active, 0, wide, *c, *c)
            c = (d_first, part * size, width)
            multiply(wide, width, n, d_active, 0, 1, wide, a, i * width, width, *c, *c)
            c = (d_a, i * width, width)
            multiply(n, width, wide, d_active, 0, wide, 1, first_matrix, 0, width, *c, *c)


@njit(inline="always")
def _gelu_row_backward(v, g, y):
    """Y = gelu(v); g, the gradient of it, becomes that of v."""
    for e in range(len(v)):
        cdf, density = normal_cdf(v[e])
        y[e] = v[e] * cdf
        g[e] *= cdf + v[e] * density * INVERSE_SQRT_2_PI
