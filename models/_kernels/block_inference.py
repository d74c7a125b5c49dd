"""The position-wise half of a block where nothing is trained, compiled for CPUs by numba.

A block of positions passes through both norms and the network while it is in a core's cache: what training
keeps is overwritten by the next one. D columns, Y columns of what is mixed.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from torch import Tensor, nn

from models._compiled import LOOPS, ONE, call
from models._kernels.elementwise import _norm
from models._kernels.fused_feed_forward import ROWS, _forward
from models._tiles import multiply, scratch


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
    projection = (mixed[:0], norm.bias) if out is None else (_turned(out), out.bias)
    call(
        _feed_forward, -(-len(mixed) // ROWS), mixed, added, residual is not None, *projection,
        norm.weight, norm.bias, _turned(inner), inner.bias, _turned(outer), outer.bias,
        outer_norm.weight, outer_norm.bias, np.float32(norm.eps), np.float32(outer_norm.eps),
        result,
    )  # fmt: skip
    return result.view(shape)


def _turned(layer: nn.Linear) -> Tensor:
    return layer.weight.t().contiguous()


# Compiled from here on.


@njit(**LOOPS)
def _feed_forward(
    first, last, mixed, residual, has_residual, projection, out_bias, scale, shift,
    inner, inner_bias, outer, outer_bias, outer_scale, outer_shift, eps, outer_eps, result,
):  # fmt: skip
    units, width = outer.shape
    depth = len(projection)
    a, b = mixed.reshape(-1), projection.reshape(-1)
    memory, normed = scratch(ROWS * width), scratch(ROWS * width).reshape(ROWS, width)
    total, before = memory.reshape(ROWS, width), scratch(ROWS * units).reshape(ROWS, units)
    moments = scratch(ROWS * 2).reshape(ROWS, 2)
    no_dropout = np.uint32(0), np.uint32(0), np.uint32(0), ONE
    for tile in range(first, last):
        i = tile * ROWS
        n = min(ROWS, len(result) - i)
        if depth:
            multiply(
                n, width, depth, a, i * depth, depth, 1, b, 0, width,
                out_bias, 0, 0, memory, 0, width,
            )  # fmt: skip
        else:
            total[:n] = mixed[i : i + n]
        _norm(
            0, n, total, residual[i : i + n], has_residual, scale, shift, eps, *no_dropout,
            total, moments, normed,
        )  # fmt: skip
        _forward(
            0, 1, normed[:n], normed[:n], inner, inner_bias, outer, outer_bias, outer_scale, outer_shift,
            outer_eps, *no_dropout, *no_dropout, before, total, moments, result[i : i + n],
        )  # fmt: skip
