"""A short causal convolution of every channel and SiLU, compiled for CPUs by numba.

Letters: B batch, L positions, E channels, W taps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from models._compiled import ONE, call
from models._simd import LANES, VECTORS, aligned, fma, load, sigmoid, splat, store


class _ConvSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, taps = x.contiguous(), weight.t().contiguous()  # (B, L, E), (W, E)
        out = torch.empty_like(x)
        call(_conv_silu, len(x), x, taps, bias, out)
        ctx.save_for_backward(x, taps, bias)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple:
        x, taps, bias = ctx.saved_tensors
        d_x = torch.empty_like(x)
        d_taps, d_bias = x.new_zeros(len(x), *taps.shape), x.new_zeros(len(x), len(bias))
        arrays = (d_out.contiguous(), x, taps, bias, d_x, d_taps, d_bias)
        call(_conv_silu_backward, len(x), *arrays)
        return d_x, d_taps.sum(0).t(), d_bias.sum(0)


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See models._kernels.conv_silu."""
    channels = len(bias)
    more = -channels % LANES
    if not more:
        return _ConvSilu.apply(x, weight, bias)
    x, weight, bias = F.pad(x, (0, more)), F.pad(weight, (0, 0, 0, more)), F.pad(bias, (0, more))
    return _ConvSilu.apply(x, weight, bias)[..., :channels]


# Compiled from here on.


@njit(inline="always")
def _convolved(x, t, e, taps, bias):
    """Bias + sum over w of taps[w] x[t - W + 1 + w] for 16 channels; positions before 0 count as zero."""
    first = t - len(taps) + 1
    total = load(bias, (e,))
    for w in range(max(0, -first), len(taps)):
        total = fma(load(taps, (w, e)), load(x, (first + w, e)), total)
    return total


@njit(**VECTORS)
def _conv_silu(first, last, x, taps, bias, out):
    for b in range(first, last):
        for t in range(x.shape[1]):
            for e in range(0, len(bias), LANES):
                y = _convolved(x[b], t, e, taps, bias)
                store(out[b], (t, e), y * sigmoid(y))


@njit(**VECTORS)
def _conv_silu_backward(first, last, d_out, x, taps, bias, d_x, d_taps, d_bias):
    length, width = x.shape[1], len(taps)
    gradient = aligned(length * LANES).reshape(length, LANES)  # of y, for 16 channels
    for b in range(first, last):
        for e in range(0, len(bias), LANES):
            total = load(d_bias, (b, e))
            for t in range(length):  # silu'(y) = s (1 + y (1 - s)) with s = sigmoid(y)
                y = _convolved(x[b], t, e, taps, bias)
                s = sigmoid(y)
                g = load(d_out[b], (t, e)) * s * fma(y, splat(ONE) - s, splat(ONE))
                store(gradient, (t, 0), g)
                total = total + g
            store(d_bias, (b, e), total)
            for t in range(length):
                last_tap = t + width - 1  # position that reads x[t] by the first tap
                w = max(0, last_tap - length + 1)
                d = load(taps, (w, e)) * load(gradient, (last_tap - w, 0))
                for later in range(w + 1, width):
                    d = fma(load(taps, (later, e)), load(gradient, (last_tap - later, 0)), d)
                store(d_x[b], (t, e), d)
            for w in range(width):
                total = load(d_taps[b], (w, e))
                for t in range(width - 1 - w, length):
                    total = fma(load(gradient, (t, 0)), load(x[b], (t - width + 1 + w, e)), total)
                store(d_taps[b], (w, e), total)
