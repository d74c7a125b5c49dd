"""Dropout, LayerNorm and GELU compiled for CPUs by numba, fused with what stands beside them.

PyTorch's own dropout draws from one generator number by number (10 ns an element on one core, more
than a matrix product of the same width); here the bits come from the element's index and the mask is
drawn again in the backward pass instead of being kept. T rows, D columns, contiguous; float32, and
bfloat16 where products wrote it or read it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor

from models._compiled import LOOPS, ONE, ZERO, call, normal_cdf, number, put, random_bits

BLOCKS = 16  # of rows, each with its own sums for the gradients of a LayerNorm's weights
INVERSE_SQRT_2_PI = np.float32(1 / math.sqrt(2 * math.pi))


def draw_mask(p: float) -> tuple[np.uint32, np.uint32, np.uint32, np.float32]:
    """Two seeds from PyTorch's generator, the threshold below which a number drops, the scale."""
    if p == 0:
        return np.uint32(0), np.uint32(0), np.uint32(0), ONE
    seeds = torch.randint(0, 1 << 32, (2,)).tolist()
    threshold = min(round(p * (1 << 32)), (1 << 32) - 1)
    return *map(np.uint32, seeds), np.uint32(threshold), np.float32(1 / (1 - p))


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, p: float) -> Tensor:
        ctx.mask = draw_mask(p)
        return _dropped(x, ctx.mask)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple:
        return _dropped(d_out, ctx.mask), None


def dropout(x: Tensor, p: float) -> Tensor:
    """See models._kernels.dropout."""
    return _Dropout.apply(x, p)


def _dropped(x: Tensor, mask: tuple) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    shape = x.numel() // x.shape[-1], x.shape[-1]
    call(_dropout, shape[0], x.view(shape), out.view(shape), *mask)
    return out


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, residual, weight, bias, eps: float, p: float) -> tuple[Tensor, Tensor]:
        ctx.mask, ctx.shape = draw_mask(p), x.shape
        ctx.set_materialize_grads(False)
        rows, width = x.numel() // x.shape[-1], x.shape[-1]
        x = x.reshape(rows, width)
        added = None if residual is None else residual.reshape(rows, width).contiguous()
        total, out = (x.new_empty(rows, width, dtype=torch.float32) for _ in range(2))
        moments = total.new_empty(rows, 2)
        ctx.dtype = x.dtype
        inputs = (x.contiguous(), x if added is None else added, added is not None)
        call(_norm, rows, *inputs, weight, bias, np.float32(eps), *ctx.mask, total, moments, out)
        ctx.save_for_backward(total, moments, weight)
        return out.view(ctx.shape), total.view(ctx.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor | None, d_sum: Tensor | None) -> tuple:
        total, moments, weight = ctx.saved_tensors
        d_total = torch.empty_like(total)
        sums = total.new_zeros(2, BLOCKS, len(weight))
        apart = ctx.mask[2] > 0 or ctx.dtype != total.dtype
        d_x = torch.empty_like(total, dtype=ctx.dtype) if apart else d_total
        d_out, d_sum = of_sum(total, d_out, d_sum)
        arrays = (d_out, d_sum, total, moments, weight, *ctx.mask, apart, d_total, d_x, *sums)
        call(_norm_backward, BLOCKS, *arrays)
        d_weight, d_bias = sums.sum(1)
        d_residual = d_total.view(ctx.shape) if ctx.needs_input_grad[1] else None
        return d_x.view(ctx.shape), d_residual, d_weight, d_bias, None, None


def add_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, p: float
) -> tuple[Tensor, Tensor]:
    """See models._kernels.add_norm."""
    return _AddNorm.apply(x, residual, weight, bias, eps, p)


def of_sum(like: Tensor, d_out: Tensor | None, d_sum: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gradients of a norm's result and of what it reads, (T, D) each; the second has no rows where nobody else reads that."""
    d_out = torch.zeros_like(like) if d_out is None else d_out.reshape(like.shape).contiguous()
    return d_out, like[:0] if d_sum is None else d_sum.reshape(like.shape).contiguous()


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, p: float) -> Tensor:
        ctx.mask, ctx.shape = draw_mask(p), x.shape
        x = x.reshape(-1, x.shape[-1]).contiguous()
        out = torch.empty_like(x)
        call(_gelu, len(x), x, *ctx.mask, out)
        ctx.save_for_backward(x)
        return out.view(ctx.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple:
        (x,) = ctx.saved_tensors
        d_x = torch.empty_like(x)
        call(_gelu_backward, len(x), d_out.reshape(x.shape).contiguous(), x, *ctx.mask, d_x)
        return d_x.view(ctx.shape), None


def gelu(x: Tensor, p: float) -> Tensor:
    """See models._kernels.gelu."""
    return _Gelu.apply(x, p)


# Compiled from here on.


@njit(**LOOPS)
def _drop_row(source, out, first_index, seed_0, seed_1, threshold, scale):
    """Out = source with dropped elements 0 and the others scaled; may be the same row."""
    for e in range(len(out)):
        kept = random_bits(np.uint32(first_index + np.uint32(e)), seed_0, seed_1) >= threshold
        put(out, e, number(source[e]) * (scale if kept else ZERO))


@njit(**LOOPS)
def _dropout(first, last, x, out, seed_0, seed_1, threshold, scale):
    width = x.shape[1]
    for i in range(first, last):
        _drop_row(x[i], out[i], np.uint32(i * width), seed_0, seed_1, threshold, scale)


@njit(**LOOPS)
def _norm(
    first, last, x, residual, has_residual, weight, bias, eps,
    seed_0, seed_1, threshold, scale, total, moments, out,
):  # fmt: skip
    width = x.shape[1]
    share = ONE / np.float32(width)
    for i in range(first, last):
        row, y = total[i], out[i]
        if threshold > 0:
            _drop_row(x[i], row, np.uint32(i * width), seed_0, seed_1, threshold, scale)
        else:
            for e in range(width):
                row[e] = number(x[i, e])
        if has_residual:
            added = residual[i]
            for e in range(width):
                row[e] += number(added[e])
        mean, variance = ZERO, ZERO
        for e in range(width):
            mean += row[e]
        mean *= share
        for e in range(width):
            variance += (row[e] - mean) * (row[e] - mean)
        rate = np.float32(ONE / math.sqrt(variance * share + eps))
        moments[i, 0], moments[i, 1] = mean, rate
        for e in range(width):
            y[e] = (row[e] - mean) * rate * weight[e] + bias[e]


@njit(**LOOPS)
def _norm_backward(
    first, last, d_out, d_sum, total, moments, weight, seed_0, seed_1, threshold, scale, apart,
    d_total, d_x, d_weight, d_bias,
):  # fmt: skip
    rows = len(total)
    for block in range(first, last):
        sum_weight, sum_bias = d_weight[block], d_bias[block]
        for i in range(rows * block // BLOCKS, rows * (block + 1) // BLOCKS):
            _norm_row_backward(
                d_out[i], total[i], moments[i, 0], moments[i, 1], weight,
                d_total[i], sum_weight, sum_bias,
            )  # fmt: skip
            if len(d_sum):
                add(d_total[i], d_sum[i])
            if apart:
                _finish(d_total[i], d_x[i], i, seed_0, seed_1, threshold, scale)


@njit(inline="always")
def _norm_row_backward(g, row, mean, rate, weight, d_row, d_weight, d_bias):
    """With n = (row - mean) rate and h = g weight: d_row = rate (h - mean(h) - n mean(h n))."""
    share = ONE / np.float32(len(row))
    mean_h, mean_hn = ZERO, ZERO
    for e in range(len(row)):
        h = g[e] * weight[e]
        mean_h += h
        mean_hn += h * ((row[e] - mean) * rate)
    mean_h *= share
    mean_hn *= share
    for e in range(len(row)):
        n = (row[e] - mean) * rate
        d_row[e] = rate * (g[e] * weight[e] - mean_h - n * mean_hn)
    for e in range(len(row)):
        d_weight[e] += g[e] * ((row[e] - mean) * rate)
        d_bias[e] += g[e]


@njit(inline="always")
def add(total, row):
    """Total += row."""
    for e in range(len(row)):
        total[e] += row[e]


@njit(**LOOPS)
def _gelu(first, last, x, seed_0, seed_1, threshold, scale, out):
    width = x.shape[1]
    line = np.empty(width, np.float32)
    for i in range(first, last):
        row = x[i]
        for e in range(width):
            v = number(row[e])
            cdf, _ = normal_cdf(v)
            line[e] = v * cdf
        _finish(line, out[i], i, seed_0, seed_1, threshold, scale)


@njit(**LOOPS)
def _finish(line, out, i, seed_0, seed_1, threshold, scale):
    """Out = row i of a result, with dropout if there is any."""
    if threshold > 0:
        _drop_row(line, out, np.uint32(i * len(out)), seed_0, seed_1, threshold, scale)
    else:
        for e in range(len(out)):
            put(out, e, line[e])


@njit(**LOOPS)
def _gelu_backward(first, last, d_out, x, seed_0, seed_1, threshold, scale, d_x):
    width = x.shape[1]
    line = np.empty(width, np.float32)
    for i in range(first, last):
        row, g = x[i], d_out[i]
        for e in range(width):
            v = number(row[e])
            cdf, density = normal_cdf(v)
            line[e] = number(g[e]) * (cdf + v * density * INVERSE_SQRT_2_PI)
        _finish(line, d_x[i], i, seed_0, seed_1, threshold, scale)
