"""What the compiled kernels do, in PyTorch's own operators: any device, any precision; the tests' oracle.

Plain functions of tensors, so that TorchInductor can make one kernel of each.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def add_norm(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    p: float,
    training: bool,
) -> tuple[Tensor, Tensor]:
    """See models._kernels.add_norm."""
    x = F.dropout(x, p, training)
    total = x if residual is None else x + residual
    return F.layer_norm(total, weight.shape, weight, bias, eps), total


def gelu(x: Tensor, p: float, training: bool) -> Tensor:
    """See models._kernels.gelu."""
    return F.dropout(F.gelu(x), p, training)


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See models._kernels.conv_silu.

    Shifted products in this layout are faster on a CPU than a transposition for conv1d and back.
    """
    length, width = x.shape[1], weight.shape[1]
    padded = F.pad(x, (0, 0, width - 1, 0))
    y = torch.addcmul(bias, x, weight[:, -1])
    for tap in range(width - 1):
        y = torch.addcmul(y, padded[:, tap : tap + length], weight[:, tap])
    return F.silu(y)


def cross_entropy_rows(logits: Tensor, targets: Tensor, losses: Tensor, scale: Tensor) -> None:
    """See models._kernels.cross_entropy_rows."""
    wanted = logits.gather(1, targets[:, None]).squeeze(1)
    peak = logits.amax(1, keepdim=True)
    mass = logits.sub_(peak).exp_().sum(1, keepdim=True)
    logits.scatter_add_(1, targets[:, None], -mass)
    scale.copy_(mass.reciprocal())
    losses.copy_((mass.log() + peak).squeeze(1) - wanted)


def count_above(scores: Tensor, targets: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """See models._kernels.count_above."""
    own = scores.gather(1, targets[:, None])
    above, equal = scores >= own, scores == own
    above[:, 0] = equal[:, 0] = False  # the padding row
    rivals = torch.zeros_like(above).scatter_(1, seen, True).scatter_(1, targets[:, None], False)
    found = (above, equal, above & rivals, equal & rivals)
    counts = torch.stack([f.sum(1) for f in found], 1)
    counts[:, 1] -= 1
    return counts, torch.isnan(scores[:, 1:]).any()
