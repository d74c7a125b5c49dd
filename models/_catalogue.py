"""Softmax cross-entropy over the whole catalogue without ever holding all logits.

Letters as in models/__init__.py, and n = V - 1 items, c targets of a chunk.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models import _kernels
from models._errors import ModelError
from models._kernels import products


def catalogue_cross_entropy(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Mean softmax cross-entropy over the items 1..n: hidden (T, D), table (V, D), targets (T,).

    The T x V logits exist only a chunk at a time, in one reused buffer, and the gradient is formed
    while they do. No double backward. Exponentials and sums are in float32 at least; where half
    precision is asked for the operands of the products are in it.
    """
    if _kernels.is_eager(hidden.device):
        return F.cross_entropy(_kernels.linear(hidden, table[1:]), targets - 1)
    on_cpu = hidden.device.type == "cpu"
    if on_cpu and len(targets) and not 1 <= targets.min() <= targets.max() < len(table):
        raise ModelError(f"targets must be items 1..{len(table) - 1}")  # a kernel would not notice
    return _CatalogueCrossEntropy.apply(hidden, table, targets, products.half(hidden.device))


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
    d_hidden, d_table = (
        (torch.empty_like(hidden), torch.zeros_like(table)) if gradient else 2 * (None,)
    )
    items = _Items(table[1:], None if d_table is None else d_table[1:], half)  # without padding row
    rows = _rows_per_chunk(len(table) - 1, len(hidden), hidden.device, half)
    losses, scale = hidden.new_empty(len(hidden)), hidden.new_empty(len(hidden), 1)
    split = (hidden, targets - 1, losses, scale, *([d_hidden] if gradient else []))
    for h, columns, *out in zip(*(t.split(rows) for t in split), strict=True):
        _kernels.cross_entropy_rows(items.logits(h), columns, *out[:2])
        if gradient:
            items.gradients(h, *out[1:])
    if gradient:
        d_hidden.mul_(scale).div_(len(hidden))
        d_table.div_(len(hidden))
    return losses.mean(), d_hidden, d_table


class _Items:
    """The catalogue (n, D) and its three products with a chunk, of half precision if asked for.

    The scale of a row, which belongs to its logits' gradient, is applied on the narrow side.
    """

    def __init__(self, items: Tensor, d_items: Tensor | None, half: torch.dtype | None):
        self.items, self.d_items, self.half = items.to(half or items.dtype), d_items, half
        # Compiled kernels read half logits; others would round what they compute inside.
        self.dtype = self.items.dtype if _kernels.reads_half(self.items) else items.dtype
        self.buffer = self.rows = items.new_empty(0, len(items), dtype=self.dtype)

    def logits(self, h: Tensor) -> Tensor:
        """Logits (c, n) of h (c, D), to be overwritten with their gradient; the next chunk's take their place."""
        operand = h if self.half is None else products.rounded(h, self.half)
        if len(self.buffer) < len(operand):
            self.buffer = self.buffer.new_empty(len(operand), len(self.items))
        self.rows = self.buffer[: len(operand)]
        if self.dtype == self.items.dtype:
            torch.mm(operand, self.items.T, out=self.rows)
        else:
            self.rows.copy_(operand @ self.items.T)
        return self.rows[: len(h)]

    def gradients(self, h: Tensor, scale: Tensor, d_h: Tensor) -> None:
        """From the gradient up to scale (c, 1): d_h (c, D), likewise up to it, and more of d_items."""
        if self.half is None:
            torch.mm(self.rows, self.items, out=d_h)
            self.d_items.addmm_(self.rows.T, h * scale)
        else:
            d_logits = self.rows.to(self.half)
            d_h.copy_((d_logits @ self.items)[: len(h)])
            self.d_items += d_logits.T @ products.rounded(h * scale, self.half)  # float32 sums


def _rows_per_chunk(n: int, n_targets: int, device: torch.device, half: torch.dtype | None) -> int:
    """Targets per chunk of n logits each.

    On a CPU whole logits should stay in a core's cache (1 MiB), half ones in the cache that cores
    share (4 MiB), in chunks of equal size: each costs a sum of gradients in float32. On a GPU they
    should fill it.
    """
    if device.type != "cpu":
        return max(16, (1 << 26) // n) * (1 if half is None else 2)
    if half is None:
        return max(48, (1 << 18) // n)
    chunks = -(-n_targets // max(48, (1 << 21) // n))
    return -(-n_targets // max(1, chunks))
