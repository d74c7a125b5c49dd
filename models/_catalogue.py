"""Softmax cross-entropy over the whole catalogue without ever holding all logits.

Letters as in models/__init__.py, and n = V - 1 items, c targets of a chunk.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models import _kernels
from models._errors import ModelError


def catalogue_cross_entropy(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Mean softmax cross-entropy over the items 1..n: hidden (T, D), table (V, D), targets (T,).

    The T x V logits exist only a chunk at a time, in one reused buffer, and the gradient is formed
    while they do. No double backward. Exponentials and sums are in float32 at least; under autocast
    the operands of the products are in its half precision.
    """
    if _kernels.is_eager(hidden.device):
        return F.cross_entropy(hidden @ table[1:].T, targets - 1)
    device = hidden.device.type
    if device == "cpu" and len(targets) and not 1 <= targets.min() <= targets.max() < len(table):
        raise ModelError(f"targets must be items 1..{len(table) - 1}")  # a kernel would not notice
    half = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return _CatalogueCrossEntropy.apply(hidden, table, targets, half)


class _CatalogueCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, table, targets, half: torch.dtype | None) -> Tensor:
        ctx.dtypes = hidden.dtype, table.dtype
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        with torch.autocast(hidden.device.type, enabled=False):
            loss, d_hidden, d_table = _loss_and_gradient(
                hidden.to(dtype), table.to(dtype), targets, any(ctx.needs_input_grad), half
            )
        ctx.save_for_backward(d_hidden, d_table)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_loss: Tensor) -> tuple:
        d_hidden, d_table = ctx.saved_tensors
        hidden_dtype, table_dtype = ctx.dtypes
        return (d_hidden * d_loss).to(hidden_dtype), (d_table * d_loss).to(table_dtype), None, None


def _loss_and_gradient(
    hidden: Tensor, table: Tensor, targets: Tensor, gradient: bool, half: torch.dtype | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Mean of -log p(target), and its gradient with respect to hidden and table."""
    if half is None and _kernels.has_cross_entropy(hidden):
        return _kernels.cross_entropy(hidden, table, targets, gradient)
    items = table[1:]  # (n, D): the padding row is no candidate
    d_hidden, d_table = (
        (torch.empty_like(hidden), torch.zeros_like(table)) if gradient else 2 * (None,)
    )
    products = _Products(items, None if d_table is None else d_table[1:], half)
    rows = _rows_per_chunk(len(items), hidden.device) * (1 if half is None else 2)
    buffer = hidden.new_empty(min(rows, len(hidden)), len(items))
    losses, scale = hidden.new_empty(len(hidden)), hidden.new_empty(len(hidden), 1)
    split = (hidden, targets - 1, losses, scale, *([d_hidden] if gradient else []))
    for h, columns, *out in zip(*(t.split(rows) for t in split), strict=True):
        logits = buffer[: len(h)]  # (c, n)
        products.logits(h, logits)
        _kernels.cross_entropy_rows(logits, columns, *out[:2])
        if gradient:
            products.gradients(h, logits, *out[1:])
    if gradient:
        d_hidden.mul_(scale).div_(len(hidden))
        d_table.div_(len(hidden))
    return losses.mean(), d_hidden, d_table


class _Products:
    """The three products of a chunk with the catalogue, their operands in half precision if asked for.

    The scale of a row, which belongs to its logits' gradient, is applied on the narrow side.
    """

    def __init__(self, items: Tensor, d_items: Tensor | None, half: torch.dtype | None):
        self.items, self.d_items, self.half = (
            items if half is None else items.to(half),
            d_items,
            half,
        )

    def logits(self, h: Tensor, logits: Tensor) -> None:
        """Logits (c, n) of h (c, D)."""
        if self.half is None:
            torch.mm(h, self.items.T, out=logits)
        else:
            logits.copy_(h.to(self.half) @ self.items.T)

    def gradients(self, h: Tensor, d_logits: Tensor, scale: Tensor, d_h: Tensor) -> None:
        """From d_logits (c, n), up to scale (c, 1): d_h (c, D), likewise up to it, and more of d_items."""
        if self.half is None:
            torch.mm(d_logits, self.items, out=d_h)
            self.d_items.addmm_(d_logits.T, h * scale)
        else:
            d_logits = d_logits.to(self.half)
            d_h.copy_(d_logits @ self.items)
            self.d_items += d_logits.T @ (h * scale).to(self.half)  # summed in float32


def _rows_per_chunk(n_items: int, device: torch.device) -> int:
    """Targets per chunk: on a CPU the logits should stay in a core's cache (1 MiB), on a GPU fill it."""
    if device.type == "cpu":
        return max(48, (1 << 18) // n_items)
    return max(16, (1 << 26) // n_items)
