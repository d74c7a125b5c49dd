"""The position-wise half of a block where nothing is trained, compiled for CPUs by numba.

A tile of positions passes through both norms and the network while it is in a core's cache; nothing is
kept for a backward pass. T rows, D columns, Y columns of what is mixed, I units of the network.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from torch import Tensor, nn

from models._compiled import LOOPS, ONE, ZERO, call, normal_cdf

TILE = 128  # rows


def feed_forward(
    mixed: Tensor,
    residual: Tensor | None,
    out: nn.Linear | None,
    norm: nn.LayerNorm,
    inner: nn.Linear,
    outer: nn.Linear,
    outer_norm: nn.LayerNorm,
) -> Tensor:
    """LayerNorm(h + W2 gelu(W1 h)) with h = LayerNorm(residual + out(mixed)).

    mixed (..., Y), residual (..., D) or None -> (..., D); without ``out`` Y is D.
    """
    width = len(norm.weight)
    shape = (*mixed.shape[:-1], width)
    mixed = mixed.reshape(-1, mixed.shape[-1]).contiguous()
    added = mixed if residual is None else residual.reshape(-1, width).contiguous()
    result = mixed.new_empty(len(mixed), width)
    projection = (mixed[:0], mixed.new_empty(0)) if out is None else (out.weight, out.bias)
    call(
        _feed_forward, -(-len(mixed) // TILE), mixed, added, residual is not None, *projection,
        norm.weight, norm.bias, inner.weight, inner.bias, outer.weight, outer.bias,
        outer_norm.weight, outer_norm.bias, np.float32(norm.eps), np.float32(outer_norm.eps),
        result,
    )  # fmt: skip
    return result.view(shape)


# Compiled from here on.


@njit(inline="always")
def _norm_row(row, bias, added, has_added, scale, shift, eps, out):
    """Out (D,) = LayerNorm(row + bias + added); ``row`` is overwritten by the sum. An empty bias is none."""
    width = len(out)
    share = ONE / np.float32(width)
    if len(bias):
        for e in range(width):
            row[e] += bias[e]
    if has_added:
        for e in range(width):
            row[e] += added[e]
    mean, variance = ZERO, ZERO
    for e in range(width):
        mean += row[e]
    mean *= share
    for e in range(width):
        variance += (row[e] - mean) * (row[e] - mean)
    rate = np.float32(ONE / math.sqrt(variance * share + eps))
    for e in range(width):
        out[e] = (row[e] - mean) * rate * scale[e] + shift[e]


@njit(**LOOPS)
def _feed_forward(
    first, last, mixed, residual, has_residual, out_weight, out_bias, scale, shift,
    inner_weight, inner_bias, outer_weight, outer_bias, outer_scale, outer_shift,
    eps, outer_eps, result,
):  # fmt: skip
    width, inner = outer_weight.shape
    memory = np.empty((TILE, width), np.float32)
    normed = np.empty((TILE, width), np.float32)
    units = np.empty((TILE, inner), np.float32)
    for tile in range(first, last):
        start = tile * TILE
        n = min(TILE, len(result) - start)
        if len(out_weight):
            np.dot(mixed[start : start + n], out_weight.T, memory[:n])
        else:
            memory[:n] = mixed[start : start + n]
        for i in range(n):
            _norm_row(
                memory[i], out_bias, residual[start + i], has_residual, scale, shift, eps, normed[i]
            )
        np.dot(normed[:n], inner_weight.T, units[:n])
        for i in range(n):
            row = units[i]
            for e in range(inner):
                v = row[e] + inner_bias[e]
                cdf, _ = normal_cdf(v)
                row[e] = v * cdf
        np.dot(units[:n], outer_weight.T, memory[:n])
        for i in range(n):
            _norm_row(
                memory[i], outer_bias, normed[i], True, outer_scale, outer_shift, outer_eps,
                result[start + i],
            )  # fmt: skip
