"""Linear layers compiled for CPUs by numba: y = x W' + b and its gradients, without packing.

Letters: T rows, K inputs, N outputs; float32.
"""

from __future__ import annotations

import torch
from numba import njit
from torch import Tensor

from models._compiled import LOOPS, call
from models._tiles import multiply

ROWS = 96  # of a block: what one needs of x and y stays in the first two caches
OUTPUTS = 12  # rows of the weights' gradient that a thread takes at a time; whole tiles


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        weight = weight.contiguous()
        out = product(rows, weight.t().contiguous(), bias)
        ctx.biased = bias is not None
        ctx.save_for_backward(rows, weight)
        return out.view(*x.shape[:-1], len(weight))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple:
        rows, weight = ctx.saved_tensors
        d_y = d_out.reshape(-1, len(weight)).contiguous()
        d_x = d_weight = d_bias = None
        if ctx.needs_input_grad[0]:
            d_x = product(d_y, weight).view(*d_out.shape[:-1], rows.shape[1])
        if any(ctx.needs_input_grad[1:]):
            d_weight, d_bias = torch.zeros_like(weight), rows.new_zeros(len(weight))
            call(_weight_gradient, -(-len(weight) // OUTPUTS), d_y, rows, d_weight, d_bias)
        return d_x, d_weight, d_bias if ctx.biased else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """See models._kernels.linear."""
    return _Linear.apply(x, weight, bias)


def product(rows: Tensor, matrix: Tensor, start: Tensor | None = None) -> Tensor:
    """start + rows matrix: contiguous (T, K), (K, N), (N,) or None -> (T, N)."""
    start = matrix.new_zeros(matrix.shape[1]) if start is None else start.contiguous()
    out = rows.new_empty(len(rows), matrix.shape[1])
    call(_linear, -(-len(rows) // ROWS), rows, matrix, start, out)
    return out


# Compiled from here on.


@njit(**LOOPS)
def _linear(first, last, x, matrix, start, out):
    """Out (T, N) = start (N,) + x (T, K) matrix (K, N)."""
    depth, width = matrix.shape
    a, b, c, s = x.reshape(-1), matrix.reshape(-1), out.reshape(-1), start.reshape(-1)
    for block in range(first, last):
        i = block * ROWS
        n = min(ROWS, len(x) - i)
        multiply(n, width, depth, a, i * depth, depth, 1, b, 0, width, s, 0, 0, c, i * width, width)


@njit(**LOOPS)
def _weight_gradient(first, last, d_y, x, d_weight, d_bias):
    """D_weight (N, K) += d_y (T, N) transposed times x (T, K); d_bias (N,) += sums of d_y."""
    width, depth = d_weight.shape
    a, b, c = d_y.reshape(-1), x.reshape(-1), d_weight.reshape(-1)
    begin, end = first * OUTPUTS, min(last * OUTPUTS, width)
    for i in range(0, len(x), ROWS):
        n = min(ROWS, len(x) - i)
        place = begin * depth
        multiply(
            end - begin, depth, n, a, i * width + begin, 1, width, b, i * depth, depth,
            c, place, depth, c, place, depth,
        )  # fmt: skip
        for t in range(i, i + n):
            row = d_y[t]
            for e in range(begin, end):
                d_bias[e] += row[e]
