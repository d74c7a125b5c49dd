"""A GRU for CPUs.

The matrix products are PyTorch's, the rest of a step is one loop compiled by numba. Letters: B batch,
L positions, U units.
"""

from __future__ import annotations

import torch
from numba import njit
from torch import Tensor

from models import _cost
from models._compiled import LOOPS, ONE, sigmoid, tanh


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
