"""A GRU of which only the state behind the last item is read, compiled for CPUs by numba.

Windows pass through all positions and layers while their states and the weights stay in a core's cache;
no position's state is kept. Letters: B windows, L positions, K layers, U units.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor, nn

from models._compiled import ZERO, call
from models._kernels.recurrence import gru_row, gru_sums
from models._resting import once
from models._simd import VECTORS
from models._tiles import multiply, scratch

ROWS = 96  # windows of a GRU that take a step together


def gru(layer: nn.GRU, items: Tensor, table: Tensor, lengths: Tensor) -> Tensor:
    """The last state of a GRU over embedded items: (B, U). As models._kernels.gru, then the last position.

    items (B, L), table (V, D), lengths (B,). What the first layer makes of an item is computed once per
    item, unless the catalogue is larger than the batch.
    """
    input_weight, _, *biases = layer.all_weights[0]
    bias = biases[0] if biases else None
    if len(table) > items.numel():
        inputs = F.linear(F.embedding(items.flatten(), table), input_weight, bias)  # (B L, 3U)
        index = torch.arange(items.numel()).view_as(items)
    else:
        inputs, index = once(input_weight, lambda: F.linear(table, input_weight, bias)), items
    units = layer.hidden_size
    weights = [w for _, w, *_ in layer.all_weights]
    if not biases:
        zeros = inputs.new_zeros(3 * units)
        input_biases, hidden_biases = [zeros] * len(weights), [zeros] * len(weights)
    else:
        input_biases, hidden_biases = zip(*(b for _, _, *b in layer.all_weights), strict=True)
    above = [w.T for w, *_ in layer.all_weights[1:]] or [weights[0].T[:0]]
    order = lengths.argsort(descending=True)
    out = inputs.new_empty(len(items), units)
    call(
        _gru, -(-len(items) // ROWS), inputs, index[order], lengths[order], torch.stack(above),
        torch.stack([w.T for w in weights]), torch.stack(list(input_biases)),
        torch.stack(list(hidden_biases)), out,
    )  # fmt: skip
    return torch.empty_like(out).index_copy_(0, order, out)


# Compiled from here on.


@njit(**VECTORS)
def _gru(first, last, inputs, index, lengths, above, weights, input_biases, biases, out):
    """Above (K - 1, U, 3U) and weights (K, U, 3U) of all layers, transposed; lengths fall from row to row."""
    n_layers, units = weights.shape[:2]
    states, x = scratch(n_layers * ROWS * units), scratch(ROWS * 3 * units)
    gates = scratch(ROWS * 4 * units)
    h_rows, x_rows = states.reshape(n_layers, ROWS, units), x.reshape(ROWS, 3 * units)
    gate_rows = gates.reshape(ROWS, 4 * units)
    for group in range(first, last):
        start = group * ROWS
        n = min(ROWS, len(out) - start)
        states[:] = ZERO
        for t in range(lengths[start]):
            while lengths[start + n - 1] <= t:
                n -= 1
                out[start + n] = h_rows[n_layers - 1, n]
            for layer in range(n_layers):
                here = layer * ROWS * units
                if t == 0:
                    gates[:] = ZERO
                else:
                    w = weights[layer].reshape(-1)
                    gru_sums(n, units, w, states, here, units, gates, 0, 4 * units)
                if layer > 0:
                    w, bias = above[layer - 1].reshape(-1), input_biases[layer]
                    multiply(
                        n, 3 * units, units, states, here - ROWS * units, units, 1, w, 0, 3 * units,
                        bias, 0, 0, x, 0, 3 * units,
                    )  # fmt: skip
                for i in range(n):
                    row = x_rows[i] if layer > 0 else inputs[index[start + i, t]]
                    state = h_rows[layer, i]
                    gru_row(row, biases[layer], state, gate_rows[i], state)
        out[start : start + n] = h_rows[n_layers - 1, :n]
