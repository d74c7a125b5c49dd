"""What runs along the sequence apart from the selective scan, for CPUs: a GRU and a short convolution.

A GRU's whole sequence is one call, its products of a few rows included. Letters: B batch, L positions,
U units of the GRU, E channels, W taps.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from models._compiled import LOOPS, ONE, ZERO, call, sigmoid
from models._simd import LANES, VECTORS, fma, load, store, tanh
from models._simd import sigmoid as sigmoid16
from models._tiles import multiply, scratch

ROWS = 12  # of a weight's gradient that a thread takes at a time


class _Gru(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        inputs, weight, units = inputs.contiguous(), weight.contiguous(), weight.shape[1]
        ctx.biased, bias = bias is not None, weight.new_zeros(3 * units) if bias is None else bias
        states = inputs.new_empty(*inputs.shape[:2], units)
        gates = inputs.new_empty(*inputs.shape[:2], 4 * units)
        call(_gru, len(inputs), inputs, weight.t().contiguous(), bias, states, gates)
        ctx.save_for_backward(states, gates, weight)
        return states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple:
        states, gates, weight = ctx.saved_tensors
        units = weight.shape[1]
        d_inputs = states.new_empty(*states.shape[:2], 3 * units)
        d_candidates = torch.empty_like(states)
        arrays = (d_out.contiguous(), states, gates, weight, d_inputs, d_candidates)
        call(_gru_backward, len(states), *arrays)
        d_weight = torch.zeros_like(weight)
        parts = -(-len(weight) // ROWS)
        call(_gru_weight_gradient, parts, states, d_inputs, d_candidates, d_weight)
        if not ctx.biased:
            return d_inputs, d_weight, None
        d_bias = torch.cat([d_inputs[..., : 2 * units], d_candidates], -1).sum((0, 1))
        return d_inputs, d_weight, d_bias


def gru(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """See models._kernels.gru."""
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


@njit(**VECTORS)
def _gru(first, last, inputs, transposed, bias, states, gates):
    """States (B, L, U) of inputs (B, L, 3U), weights transposed (U, 3U); keeps r, z, n, q (B, L, 4U)."""
    length, units = states.shape[1:]
    w, h, kept = transposed.reshape(-1), states.reshape(-1), gates.reshape(-1)
    old, zeros = np.zeros(units, np.float32), np.zeros(2 * units, np.float32)
    for t in range(length):
        if t == 0:
            gates[first:last, 0] = ZERO
        else:
            place = (first * length + t) * units
            gru_sums(
                last - first, units, w, h, place - units, units * length,
                zeros, 0, 0, zeros, kept, 4 * place, 4 * units * length,
            )  # fmt: skip
        for i in range(first, last):
            gru_row(
                inputs[i, t], bias, old if t == 0 else states[i, t - 1], gates[i, t], states[i, t]
            )


@njit(**LOOPS)
def gru_sums(n, units, transposed, h, h0, h_row, start, s0, s_row, zeros, gates, g0, g_row):
    """Products of n states (U,) with the weights (U, 3U): sums of r and z from ``start`` on and of q in gates (n, 4U)."""
    a = (h, h0, h_row, 1)
    multiply(n, 2 * units, units, *a, transposed, 0, 3 * units, start, s0, s_row, gates, g0, g_row)
    b = (transposed, 2 * units, 3 * units)
    multiply(n, units, units, *a, *b, zeros, 0, 0, gates, g0 + 3 * units, g_row)


@njit(inline="always")
def gru_row(x, bias, old, gate, new):
    """Sums of r, z and q without biases (4U,) become r, z, n, q; the new state (U,), which may be the old one."""
    units = len(new)
    for e in range(0, units, LANES):
        of_z, of_n, of_q = units + e, 2 * units + e, 3 * units + e
        r = sigmoid16(load(x, (e,)) + load(gate, (e,)) + load(bias, (e,)))
        z = sigmoid16(load(x, (of_z,)) + load(gate, (of_z,)) + load(bias, (of_z,)))
        q = load(gate, (of_q,)) + load(bias, (of_n,))
        n = tanh(fma(r, q, load(x, (of_n,))))
        store(gate, (e,), r)
        store(gate, (of_z,), z)
        store(gate, (of_n,), n)
        store(gate, (of_q,), q)
        store(new, (e,), fma(z, load(old, (e,)) - n, n))


@njit(**LOOPS)
def _gru_backward(first, last, d_out, states, gates, weight, d_inputs, d_candidates):
    """Gradients of the inputs (B, L, 3U), and of the candidates' sums q (B, L, U), the others' being equal."""
    length, units = states.shape[1:]
    n, size = last - first, units * length
    d_states = scratch(n * units)
    d_states[:] = ZERO
    d_rows = d_states.reshape(n, units)
    old = np.zeros(units, np.float32)
    w, d_x, d_q = weight.reshape(-1), d_inputs.reshape(-1), d_candidates.reshape(-1)
    for t in range(length - 1, -1, -1):
        for i in range(first, last):
            before = old if t == 0 else states[i, t - 1]
            _gru_row_backward(
                d_out[i, t], gates[i, t], before, d_rows[i - first], d_inputs[i, t], d_candidates[i, t]
            )  # fmt: skip
        if t > 0:
            place = (first * length + t) * units
            c = (d_states, 0, units, d_states, 0, units)
            multiply(n, units, 2 * units, d_x, 3 * place, 3 * size, 1, w, 0, units, *c)
            multiply(n, units, units, d_q, place, size, 1, w, 2 * units * units, units, *c)


@njit(inline="always")
def _gru_row_backward(d_new, gate, old, d_state, d_x, d_q):
    """Gradients at one position; d_state (U,) keeps the part that z lets through."""
    units = len(old)
    for e in range(units):
        z, n, total = gate[units + e], gate[2 * units + e], d_state[e] + d_new[e]
        r, q = gate[e], gate[3 * units + e]
        d_n = total * (ONE - z) * (ONE - n * n)
        d_state[e] = total * z
        d_x[e] = d_n * q * r * (ONE - r)
        d_x[units + e] = total * (old[e] - n) * z * (ONE - z)
        d_x[2 * units + e] = d_n
        d_q[e] = d_n * r


@njit(**LOOPS)
def _gru_weight_gradient(first, last, states, d_inputs, d_candidates, d_weight):
    """D_weight (3U, U) += gradients of the sums, transposed, times the states before them."""
    batch, length, units = states.shape
    h, d_x, d_q, d_w = (
        states.reshape(-1), d_inputs.reshape(-1), d_candidates.reshape(-1), d_weight.reshape(-1)
    )  # fmt: skip
    begin, end = first * ROWS, min(last * ROWS, 3 * units)
    border = min(max(begin, 2 * units), end)  # up to it r and z, from it on candidates
    for i in range(batch):
        place = i * length * units
        now = place + units
        b = (h, place, units)
        c = (d_w, begin * units, units, d_w, begin * units, units)
        multiply(border - begin, units, length - 1, d_x, 3 * now + begin, 1, 3 * units, *b, *c)
        c = (d_w, border * units, units, d_w, border * units, units)
        a = (d_q, now + border - 2 * units, 1, units)
        multiply(end - border, units, length - 1, *a, *b, *c)


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
