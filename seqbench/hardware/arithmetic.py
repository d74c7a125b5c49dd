"""The precision of a forward pass and of the backward pass that follows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

import models

from ..core.errors import UserError


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """Compute a forward pass in fp32, tf32 (products of a GPU rounded to 10 bits), bf16 or mixed.

    bf16 is PyTorch's autocast on a GPU; mixed has the products of loss, feed-forward and projections in
    bfloat16 and all else in float32, and is what bf16 means on a CPU too. Weights, sums and the loss
    stay in float32. Where nothing is trained a CPU computes both in fp32, whose kernels are as fast or faster there.
    tf32 stays on afterwards, because the backward pass must compute alike.

    Raises:
        UserError: tf32 on a device that does not have it.
    """
    if precision == "tf32" and not has_tf32(device):
        raise UserError(
            "precision tf32: this PyTorch sees no NVIDIA GPU of capability 8.0 or newer"
        )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    on_cpu = device.type == "cpu"
    autocast = precision == "bf16" and not on_cpu
    half = precision in ("bf16", "mixed") and (torch.is_grad_enabled() or not on_cpu)
    with (
        torch.autocast(device.type, torch.bfloat16, enabled=autocast),
        models.half_products(half and not autocast),
    ):
        yield


def has_tf32(device: torch.device) -> bool:
    """Whether products can be rounded to 10 bits there: NVIDIA GPUs of capability 8.0 or newer."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
