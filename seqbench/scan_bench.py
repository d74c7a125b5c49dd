"""Times of the selective scan by backend, forward and backward, at the paper's size."""

from __future__ import annotations

from typing import Any

import torch

from models._errors import ModelError
from models._scan import BACKENDS, resolve, selective_scan
from models._scan import selfcheck as compare

from .device import Stopwatch
from .stats import spread

PAPER = {"batch": 2048, "length": 200, "channels": 128}
STATES = (16, 32)
REPEATS, WARMUP = 20, 3


def check_and_time(where: torch.device, size: dict[str, int] | None = None) -> dict[str, Any]:
    """``check``: rows of every backend against the float64 reference; ``times``: rows of the separate scans.

    A row of times: backend, states, forward_s and backward_s (medians) with their interquartile ranges, n.
    """
    size = size or PAPER
    names = [n for n, kind in BACKENDS.items() if kind == where.type and n != "fused"]
    times = [_time(name, where, states, size) for name in names for states in STATES]
    return {"check": compare(where), "size": size, "times": times}


def _time(name: str, where: torch.device, states: int, size: dict[str, int]) -> dict[str, Any]:
    row = {"backend": name, "states": states}
    try:
        resolve(name, where)
    except ModelError as error:
        return {**row, "reason": str(error)}
    inputs = _inputs(where, states, **size)
    forward, backward = Stopwatch(where), Stopwatch(where)
    for _ in range(WARMUP + REPEATS):
        with forward.time():
            out = selective_scan(*inputs, backend=name)
        with backward.time():
            torch.autograd.grad(out, inputs, torch.ones_like(out))
    found = {}
    for key, clock in (("forward_s", forward), ("backward_s", backward)):
        result = spread(clock.seconds[WARMUP:])
        found |= {key: result.median, f"{key[:-2]}_iqr_s": result.iqr}
    return {**row, **found, "n": REPEATS, "reason": None}


def _inputs(where: torch.device, states: int, batch: int, length: int, channels: int) -> list:
    generator = torch.Generator(where).manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=where)

    rows = (batch, length)
    u, delta, z = (normal(*rows, channels) for _ in range(3))
    B, C = (normal(*rows, states) for _ in range(2))
    A = -torch.arange(1.0, states + 1, device=where).repeat(channels, 1)
    inputs = (u, delta, A, B, C, normal(channels), z, normal(channels) - 3)
    return [t.requires_grad_() for t in inputs]
