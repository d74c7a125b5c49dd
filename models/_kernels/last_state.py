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

from models._compiled import ZERO, call
from models._kernels.recurrence import gru_sums
from models._resting import once
from models._simd import LANES, VECTORS, fma, load, prefetch, sigmoid, store, tanh
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
    states, gates = scratch(n_layers * ROWS * units), scratch(ROWS * 4 * units)
    rows, gate_rows = states.reshape(n_layers, ROWS, units), gates.reshape(ROWS, 4 * units)
    c, zeros = (gates, 0, 4 * units), np.zeros(units, np.float32)
    for group in range(first, last):
        start = group * ROWS
        n = min(ROWS, len(out) - start)
        states[:] = ZERO
        for t in range(lengths[start]):
            while lengths[start + n - 1] <= t:
                n -= 1
                out[start + n] = rows[n_layers - 1, n]
            for layer in range(n_layers):
                here = layer * ROWS * units
                if layer == 0:
                    _look_up(inputs, index[start : start + n, t], gate_rows)
                else:
                    a, bias = (states, here - ROWS * units, units, 1), input_biases[layer]
                    w = above[layer - 1].reshape(-1)
                    multiply(n, 3 * units, units, *a, w, 0, 3 * units, bias, 0, 0, *c)
                if t == 0:
                    gate_rows[:n, 3 * units :] = ZERO
                else:
                    w = weights[layer].reshape(-1)
                    gru_sums(n, units, w, states, here, units, *c, zeros, *c)
                for i in range(n):
                    _step(gate_rows[i], biases[layer], rows[layer, i])
        out[start : start + n] = rows[n_layers - 1, :n]


@njit(inline="always")
def _look_up(inputs, items, gates):
    """Rows of inputs (V, 3U) to gates; the next one is asked for ahead, as it lies beyond the second cache."""
    for i in range(len(items)):
        item, following = items[i], items[min(i + 1, len(items) - 1)]
        for e in range(0, inputs.shape[1], LANES):
            prefetch(inputs, (following, e))
            store(gates, (i, e), load(inputs, (item, e)))


@njit(inline="always")
def _step(gate, bias, state):
    """The new state (U,) over the old one, of sums of r, z, n's inputs and q (4U,) without the states' biases."""
    units = len(state)
    for e in range(0, units, LANES):
        of_z, of_n, of_q = units + e, 2 * units + e, 3 * units + e
        r = sigmoid(load(gate, (e,)) + load(bias, (e,)))
        z = sigmoid(load(gate, (of_z,)) + load(bias, (of_z,)))
        n = tanh(fma(r, load(gate, (of_q,)) + load(bias, (of_n,)), load(gate, (of_n,))))
        store(state, (e,), fma(z, load(state, (e,)) - n, n))
