"""Recurrent layers of which only the state behind the last item is read, compiled for CPUs by numba.

A few rows pass through all positions while their states and the weights stay in a core's cache; no
position's state is kept. Letters: B windows, L positions, K layers, U units of a GRU; E channels and N
states per channel of a selective scan, R rank of its step sizes.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor, nn

from models._compiled import LOG2_E, LOOPS, ZERO, call, exp2, sigmoid, softplus, tanh

ROWS = 256  # windows of a GRU that take a step together
TOGETHER = 4  # states, so that sums are read and written less often
SPAN = 8  # positions of a scan between two looks at what is forgotten
FORGOTTEN = np.float32(-40)  # base-2 logarithm of a decay: 65,536 times below what float32 resolves


def gru(layer: nn.GRU, items: Tensor, table: Tensor, lengths: Tensor) -> Tensor:
    """The last state of a GRU over embedded items: (B, U). As models._kernels.gru, then the last position.

    items (B, L), table (V, D), lengths (B,). What the first layer makes of an item is computed once per
    item, unless the catalogue is larger than the batch.
    """
    input_weight, _, *biases = layer.all_weights[0]
    index = items
    if len(table) > items.numel():
        table, index = (
            F.embedding(items.flatten(), table),
            torch.arange(items.numel()).view_as(items),
        )
    inputs = F.linear(table, input_weight, biases[0] if biases else None)  # (V, 3U)
    units = layer.hidden_size
    weights = [w for _, w, *_ in layer.all_weights]
    if not biases:
        zeros = inputs.new_zeros(3 * units)
        input_biases, hidden_biases = [zeros] * len(weights), [zeros] * len(weights)
    else:
        input_biases, hidden_biases = zip(*(b for _, _, *b in layer.all_weights), strict=True)
    above = [w for w, *_ in layer.all_weights[1:]] or [weights[0][:0]]
    out = inputs.new_empty(len(items), units)
    call(
        _gru, -(-len(items) // ROWS), inputs, index, lengths, torch.stack(above), torch.stack(weights),
        torch.stack(list(input_biases)), torch.stack(list(hidden_biases)), out,
    )  # fmt: skip
    return out


def scan(
    u: Tensor,
    step_B: Tensor,
    dt_proj: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    C: Tensor,
    lengths: Tensor,
) -> Tensor:
    """C h of the state h behind the last position of a selective scan: (B, E). As models._scan.selective_scan.

    u (B, L, E), step_B (B, L, R + N), dt_proj (E, R), dt_bias (E,), A (E, N), C (B, N), lengths (B,).
    Position t adds to the last state the product of its input and exp(A times the sum of later steps). So
    positions are taken from the last one backwards, and where all channels of a state have a decay below
    2^-40 what lies before is left out.
    """
    rates = F.pad(A * float(LOG2_E), (0, -A.shape[1] % TOGETHER)).T.contiguous()
    out = torch.zeros_like(u[:, 0])
    arrays = (u.contiguous(), step_B.contiguous(), dt_proj.T.contiguous(), dt_bias, rates, C)
    call(_scan, len(u), *arrays, lengths, out)
    return out


# Compiled from here on.


@njit(**LOOPS)
def _gru(first, last, inputs, index, lengths, above, weights, input_biases, biases, out):
    n_layers, _, units = weights.shape
    for group in range(first, last):
        start = group * ROWS
        n = min(ROWS, len(out) - start)
        states = np.zeros((n_layers, n, units), np.float32)
        sums = np.empty((n, 3 * units), np.float32)
        x = np.empty((n, 3 * units), np.float32)
        longest = lengths[start : start + n].max()
        for t in range(longest):
            for layer in range(n_layers):
                np.dot(states[layer], weights[layer].T, sums)
                if layer:
                    np.dot(states[layer - 1], above[layer - 1].T, x)
                    for b in range(n):
                        _add(x[b], input_biases[layer])
                        _gru_row(x[b], sums[b], biases[layer], states[layer, b])
                else:
                    for b in range(n):
                        row = inputs[index[start + b, t]]
                        _gru_row(row, sums[b], biases[0], states[0, b])
            for b in range(n):
                if lengths[start + b] == t + 1:
                    out[start + b] = states[n_layers - 1, b]


@njit(inline="always")
def _add(row, bias):
    for e in range(len(row)):
        row[e] += bias[e]


@njit(inline="always")
def _gru_row(x, sums, bias, state):
    """State (U,) after one position: of input x (3U,) and sums (3U,) = W state."""
    units = len(state)
    for e in range(units):
        r = sigmoid(x[e] + sums[e] + bias[e])
        z = sigmoid(x[units + e] + sums[units + e] + bias[units + e])
        n = tanh(x[2 * units + e] + r * (sums[2 * units + e] + bias[2 * units + e]))
        state[e] = n + z * (state[e] - n)


@njit(**LOOPS)
def _scan(first, last, u, step_B, dt_proj, dt_bias, rates, C, lengths, out):
    rank, channels = dt_proj.shape
    n_states = C.shape[1]
    x = np.empty((SPAN, channels), np.float32)
    later = np.empty((SPAN, channels), np.float32)  # sums of the steps behind each position
    weights = np.zeros((SPAN, len(rates)), np.float32)
    total = np.empty(channels, np.float32)
    alive = np.empty(len(rates) // TOGETHER, np.bool_)
    for b in range(first, last):
        total[:] = ZERO
        alive[:] = True
        stop = lengths[b]
        while stop > 0 and _remember(alive, rates, total):
            begin = max(0, stop - SPAN)
            for t in range(stop - 1, begin - 1, -1):
                j = t - begin
                _step_back(u[b, t], step_B[b, t], dt_proj, dt_bias, total, later[j], x[j])
                for n in range(n_states):
                    weights[j, n] = C[b, n] * step_B[b, t, rank + n]
            for group in range(len(alive)):
                if alive[group]:
                    for j in range(stop - begin):
                        _add_states(rates, weights[j], TOGETHER * group, later[j], x[j], out[b])
            stop = begin


@njit(inline="always")
def _remember(alive, rates, total):
    """Whether any state still counts after steps ``total`` (E,); alive: which of them do, by groups."""
    any_alive = False
    for group in range(len(alive)):
        if alive[group]:
            n_channels = np.int32(0)
            for n in range(TOGETHER * group, TOGETHER * (group + 1)):
                rate = rates[n]
                for e in range(len(total)):
                    n_channels += np.int32(rate[e] * total[e] > FORGOTTEN)
            alive[group] = n_channels > 0
            any_alive |= alive[group]
    return any_alive


@njit(**LOOPS)  # inlined it would become scalar code
def _step_back(u, step, dt_proj, dt_bias, total, later, x):
    """Inputs x (E,) of a position, the steps behind it, and ``total`` with its own step."""
    for e in range(len(u)):
        x[e] = dt_bias[e]
    for r in range(len(dt_proj)):
        weight, column = step[r], dt_proj[r]
        for e in range(len(u)):
            x[e] += weight * column[e]
    for e in range(len(u)):
        x[e] = softplus(x[e])
    for e in range(len(u)):
        later[e] = total[e]
        total[e] += x[e]
        x[e] *= u[e]


@njit(inline="always")
def _add_states(rates, weights, n, later, x, y):
    """Add to y (E,) what x (E,) left in TOGETHER states from n on."""
    rate_0, rate_1, rate_2, rate_3 = rates[n], rates[n + 1], rates[n + 2], rates[n + 3]
    w_0, w_1, w_2, w_3 = weights[n], weights[n + 1], weights[n + 2], weights[n + 3]
    for e in range(len(y)):
        steps = later[e]
        left = w_0 * exp2(steps * rate_0[e]) + w_1 * exp2(steps * rate_1[e])
        left += w_2 * exp2(steps * rate_2[e]) + w_3 * exp2(steps * rate_3[e])
        y[e] += x[e] * left
