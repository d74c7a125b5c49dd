"""The selective scan in plain PyTorch: any device and precision, linear time, the other backends' oracle.

Only about 2·sqrt(L) states are alive at a time: the sequence is cut into segments of about sqrt(L)
positions, and the backward pass repeats a segment from the state before it. The gradients are
PyTorch's own, so nothing here was derived by hand.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
    reset: Tensor | None = None,
) -> Tensor:
    """See models._scan.selective_scan."""
    step = F.softplus(delta + delta_bias)  # (B, L, E)
    y = _recurrence(step, step * u, A, B, C, reset)
    return (y + D * u) * F.silu(z)


def _recurrence(
    step: Tensor, x: Tensor, A: Tensor, B: Tensor, C: Tensor, reset: Tensor | None
) -> Tensor:
    length = x.shape[1]
    size = max(1, math.isqrt(length))
    keep = torch.ones_like(x[:, :, 0]) if reset is None else (~reset).to(x.dtype)  # (B, L)
    state = x.new_zeros(x.shape[0], *A.shape)  # (B, E, N)
    outputs = []
    # split, not slices: the backward pass of a slice fills the whole tensor with zeros each time
    for parts in zip(*(t.split(size, dim=1) for t in (step, x, B, C, keep)), strict=True):
        y, state = checkpoint(
            _segment, state, A, *parts, use_reentrant=False, preserve_rng_state=False
        )
        outputs.append(y)
    return torch.cat(outputs, dim=1)


def _segment(
    state: Tensor, A: Tensor, step: Tensor, x: Tensor, B: Tensor, C: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor]:
    """Advance the state through one segment: y (B, K, E) and the state (B, E, N) behind it."""
    outputs = []
    for step_t, x_t, B_t, C_t, keep_t in zip(
        *(t.unbind(1) for t in (step, x, B, C, keep)), strict=True
    ):
        decay = torch.exp(step_t[:, :, None] * A) * keep_t[:, None, None]
        state = decay * state + x_t[:, :, None] * B_t[:, None, :]
        outputs.append(torch.bmm(state, C_t[:, :, None]).squeeze(2))
    return torch.stack(outputs, dim=1), state
