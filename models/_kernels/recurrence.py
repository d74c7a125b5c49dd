"""What runs along the sequence apart from the selective scan, for CPUs: a GRU and a short convolution.

The matrix products are PyTorch's, the rest of a step is one loop compiled by numba. Letters: B batch,
L positions, U units of the GRU, E channels, W taps.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from models import _cost
from models._compiled import LOOPS, ONE, ZERO, call, sigmoid, tanh


class _Gru(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        batch, length, _ = inputs.shape
        states = inputs.new_zeros(length + 1, batch, weight.shape[1])  # [t]: before position t
        gates = inputs.new_empty(length, batch, 4 * weight.shape[1])
        sums = inputs.new_empty(batch, len(weight))
        transposed = weight.t().contiguous()
        arrays = [t.detach().numpy() for t in (inputs.contiguous(), sums, bias, states, gates)]
        _cost.launched("_gru", inputs, states, gates)
        for t in range(length):
            torch.mm(states[t], transposed, out=sums)
            _gru_step(t, *arrays)
        ctx.save_for_backward(states, gates, weight)
        return states[1:].transpose(0, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple:
        states, gates, weight = ctx.saved_tensors
        length, batch, units = states[1:].shape
        d_inputs = d_out.new_empty(batch, length, 3 * units)
        d_sums = d_out.new_empty(length, batch, 3 * units)
        d_state, kept = d_out.new_zeros(batch, units), d_out.new_empty(batch, units)
        tensors = (d_out.contiguous(), states, gates, d_state, d_inputs, d_sums, kept)
        _cost.launched("_gru_backward", *tensors)
        arrays = [t.detach().numpy() for t in tensors]
        for t in range(length - 1, -1, -1):
            _gru_step_backward(t, *arrays)
            torch.addmm(kept, d_sums[t], weight, out=d_state)
        d_sums = d_sums.view(-1, 3 * units)
        d_weight = d_sums.t() @ states[:-1].reshape(-1, units)
        return d_inputs, d_weight, d_sums.sum(0)


def gru(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See models._kernels.gru; bias is never None here."""
    return _Gru.apply(inputs, weight, bias)


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
    return _ConvSilu.apply(x, weight, bias)


# Compiled from here on.


@njit(**LOOPS)
def _gru_step(t, inputs, sums, bias, states, gates):
    """States[t + 1] from inputs[:, t] (B, 3U) and sums = states[t] weight' (B, 3U); keeps r, z, n, q."""
    units = states.shape[2]
    for b in range(len(sums)):
        x, s, kept = inputs[b, t], sums[b], gates[t, b]
        old, new = states[t, b], states[t + 1, b]
        for e in range(2 * units):
            kept[e] = sigmoid(x[e] + s[e] + bias[e])
        for e in range(2 * units, 3 * units):
            kept[e + units] = s[e] + bias[e]
        for e in range(units):
            kept[2 * units + e] = tanh(x[2 * units + e] + kept[e] * kept[3 * units + e])
        for e in range(units):
            z, n = kept[units + e], kept[2 * units + e]
            new[e] = n + z * (old[e] - n)


@njit(**LOOPS)
def _gru_step_backward(t, d_out, states, gates, d_state, d_inputs, d_sums, kept):
    """Gradients of inputs[:, t] and of its sums; kept = the part of d_state that z lets through."""
    units = states.shape[2]
    for b in range(len(kept)):
        gate, old, d_old, g = gates[t, b], states[t, b], kept[b], d_state[b]
        d_x, d_s, d_new = d_inputs[b, t], d_sums[t, b], d_out[b, t]
        for e in range(units):
            z, n, total = gate[units + e], gate[2 * units + e], g[e] + d_new[e]
            d_old[e] = total * z
            d_x[units + e] = total * (old[e] - n) * z * (ONE - z)
            d_x[2 * units + e] = total * (ONE - z) * (ONE - n * n)
        for e in range(units):
            r, q, d_n = gate[e], gate[3 * units + e], d_x[2 * units + e]
            d_x[e] = d_n * q * r * (ONE - r)
            d_s[2 * units + e] = d_n * r
        d_s[: 2 * units] = d_x[: 2 * units]


@njit(inline="always")
def _convolve(x, t, taps, bias, y):
    """Y (E,) = bias + sum over w of taps[w] x[t - W + 1 + w]; positions before 0 count as zero."""
    width = len(taps)
    for e in range(len(y)):
        y[e] = bias[e]
    for w in range(max(0, width - 1 - t), width):
        row, tap = x[t - width + 1 + w], taps[w]
        for e in range(len(y)):
            y[e] += tap[e] * row[e]


@njit(**LOOPS)
def _conv_silu(first, last, x, taps, bias, out):
    for b in range(first, last):
        for t in range(x.shape[1]):
            y = out[b, t]
            _convolve(x[b], t, taps, bias, y)
            for e in range(len(y)):
                y[e] *= sigmoid(y[e])


@njit(**LOOPS)
def _conv_silu_backward(first, last, d_out, x, taps, bias, d_x, d_taps, d_bias):
    width = len(taps)
    y = np.empty_like(bias)
    for b in range(first, last):
        d_x[b] = ZERO
        for t in range(x.shape[1]):
            _convolve(x[b], t, taps, bias, y)
            g, sums = d_out[b, t], d_bias[b]
            for e in range(len(y)):  # silu'(y) = s (1 + y (1 - s)) with s = sigmoid(y)
                s = sigmoid(y[e])
                y[e] = g[e] * s * (ONE + y[e] * (ONE - s))
                sums[e] += y[e]
            for w in range(max(0, width - 1 - t), width):
                place = t - width + 1 + w
                row, d_row, tap, d_tap = x[b, place], d_x[b, place], taps[w], d_taps[b, w]
                for e in range(len(y)):
                    d_row[e] += tap[e] * y[e]
                for e in range(len(y)):
                    d_tap[e] += y[e] * row[e]
