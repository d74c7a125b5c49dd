"""Products of activations with weights in half precision, float32 around them: ``precision: mixed``.

Operands are rounded to bfloat16, products summed in float32 and the result rounded once. Weights stay
float32 and so do their gradients, which Adam sums. What is not such a product (attention, scan,
recurrence, norms, softmax, element-wise work) stays float32. Any CPU computes the same, those without
bfloat16 instructions slowly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from models import _cost

_enabled = False


@contextlib.contextmanager
def half_products(enabled: bool = True) -> Iterator[None]:
    """Compute what is called within, and its backward pass wherever that runs, with half products."""
    global _enabled
    before, _enabled = _enabled, enabled
    try:
        yield
    finally:
        _enabled = before


def enabled() -> bool:
    """Whether products are computed in half precision by this module."""
    return _enabled


def half(device: torch.device) -> torch.dtype | None:
    """The type of the operands of products, None if that of the weights: ours, else PyTorch's autocast's."""
    if _enabled:
        return torch.bfloat16
    kind = device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Products x weight' + bias: (..., D), (M, D), (M,) or None -> (..., M), in the type of x."""
    return _Linear.apply(x, weight, bias)


def rounded(x: Tensor, half: torch.dtype = torch.bfloat16) -> Tensor:
    """Rows of x (..., D) in half precision; on a CPU with rows of zeros behind, a round number in all.

    oneDNN compiles a product for every size that it meets, which takes longer than a small product.
    """
    rows = x.reshape(-1, x.shape[-1])
    pads = x.device.type == "cpu" and not _cost.is_counting()  # FLOPs are those of real rows
    size = _round_number(len(rows)) if pads else len(rows)
    if size == len(rows):
        return rows.to(half)
    padded = rows.new_empty(size, rows.shape[1], dtype=half)
    padded[: len(rows)] = rows
    padded[len(rows) :] = 0
    return padded


def operand(x: Tensor) -> Tensor:
    """``rounded(x)``, and so is its gradient: (..., D) -> (R, D)."""
    return _Operand.apply(x)


def _round_number(size: int) -> int:
    """The next of at most 16 sizes from one power of two to the next."""
    step = max(16, 1 << size.bit_length() >> 5)
    return -(-size // step) * step


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows, half = rounded(x), weight.to(torch.bfloat16)
        ctx.save_for_backward(rows, half)
        ctx.dtypes = x.dtype, weight.dtype
        out = F.linear(rows, half, None if bias is None else bias.to(torch.bfloat16))
        return like(x, out)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple:
        rows, weight = ctx.saved_tensors
        dtype, weight_dtype = ctx.dtypes
        d_rows, needed = rounded(d_out), ctx.needs_input_grad
        d_x = like(d_out, d_rows @ weight, dtype) if needed[0] else None
        d_weight = (d_rows.T @ rows).to(weight_dtype) if needed[1] else None
        d_bias = d_rows.sum(0, dtype=weight_dtype) if needed[2] else None
        return d_x, d_weight, d_bias


class _Operand(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.like = x.new_empty(0).expand(*x.shape[:-1], 0)  # its shape and type, without its memory
        return rounded(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor) -> Tensor:
        return like(ctx.like, d_out)


def like(x: Tensor, rows: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Padded rows (.., M) without what is behind, in the shape of x (..., D): (..., M)."""
    return rows[: x.shape[:-1].numel()].to(dtype or x.dtype).view(*x.shape[:-1], rows.shape[1])
