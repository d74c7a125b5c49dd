"""A GRU of which only the state behind the last item is read, compiled for CPUs by numba.

Windows pass through all positions and layers while their states and the weights stay in a core's cache;
no position's state is kept. Letters: B windows, L positions, K layers, U units.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor, nn

from models._compiled import LOOPS, call, sigmoid, tanh

ROWS = 256  # windows of a GRU that take a step together


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
