"""What a model's own kernels cost, for whoever counts: FLOPs by formula, and which tensors a kernel touches.

PyTorch sees its own operators; it sees nothing of a compiled kernel. Two switches, both off unless
somebody counts:

    counting()        attention, GRU, convolution and scan do not run: they add their FLOPs to a
                      tally and return zeros, so that FLOPs are the same on every device and for
                      every kernel, and cost no time
    observing(seen)   every launch of a kernel that PyTorch does not see is reported to ``seen``

A multiplication, an addition and an exponential are one FLOP each. A causal attention is counted at
the half that it needs. What a kernel computes twice to save memory counts once. A scan's exponentials
and bytes are tallied too, because products are not all of its time. Letters as in
models/__init__.py and models/_scan/__init__.py; U units of a GRU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Per sequence, position, channel and state. Forward: s A, exp, times h, s u B (the product s u is per
# channel), plus, times C, sum. Backward: seven products with one sum each for the gradients of y to h,
# of C, B, s u, s A, s and A, and the product that carries the gradient of h one position back.
SCAN_FLOPS = 7
SCAN_BACKWARD_FLOPS = 15

_observer: Callable | None = None
_tally: Tally | None = None


@dataclass
class Tally:
    """What formulas have added up.

    scan_bytes: arguments and results of scans; backwards the arguments again, and a gradient of each.
    """

    flops: int = 0
    exponentials: int = 0  # of scans, once per channel, state and position
    scan_bytes: int = 0

    def add(self, flops: int, exponentials: int = 0, scan_bytes: int = 0) -> None:
        """Add the cost of one pass."""
        self.flops += flops
        self.exponentials += exponentials
        self.scan_bytes += scan_bytes


@contextlib.contextmanager
def counting() -> Iterator[Tally]:
    """Replace what PyTorch cannot count by formulas, for the length of a block."""
    global _tally
    before, _tally = _tally, Tally()
    try:
        yield _tally
    finally:
        _tally = before


@contextlib.contextmanager
def observing(seen: Callable[[str, tuple], None]) -> Iterator[None]:
    """Call ``seen(name, tensors)`` at every launch of a kernel of ours, for the length of a block."""
    global _observer
    before, _observer = _observer, seen
    try:
        yield
    finally:
        _observer = before


def is_counting() -> bool:
    """Whether formulas stand in for kernels."""
    return _tally is not None


def launched(name: str, *tensors) -> None:
    """Report the launch of a kernel that reads or writes each of these tensors once."""
    if _observer is not None:
        _observer(name, tensors)


def opaque(name: str, out: Tensor, *arguments: Tensor) -> Tensor:
    """Report a foreign autograd function that gave ``out``, and later its backward pass.

    What that reads inside is unknown: its arguments and a gradient for each are what it cannot avoid.
    """
    if _observer is not None:
        launched(name, *arguments, out)
        if out.requires_grad:
            touched = (*arguments, *arguments, out)
            out.register_hook(lambda _: launched(f"{name}_backward", *touched))
    return out


class _Formula(torch.autograd.Function):
    """Zeros in place of a result, and a tally in place of the work, forwards and backwards."""

    @staticmethod
    def forward(ctx, shape: tuple, cost: tuple, backward_cost: tuple, *inputs: Tensor) -> Tensor:
        ctx.tally, ctx.cost = _tally, backward_cost
        ctx.like = [(t.shape, t.dtype, t.device) for t in inputs]
        _tally.add(*cost)
        return inputs[0].new_zeros(shape)

    @staticmethod
    def backward(ctx, _: Tensor) -> tuple:
        ctx.tally.add(*ctx.cost)
        zeros = (torch.zeros(s, dtype=d, device=w) for s, d, w in ctx.like)
        return None, None, None, *zeros


def attention(q: Tensor, k: Tensor, v: Tensor, causal: bool, counts: Tensor | None) -> Tensor:
    """Products of queries with keys and of weights with values; backwards twice as many. As in _kernels."""
    rows, heads, n_queries, width = q.shape
    n_keys = k.shape[2]
    queries = rows * n_queries if counts is None else int(counts.sum())
    pairs = rows * n_keys * (n_keys + 1) // 2 if causal else queries * n_keys
    flops = 4 * heads * pairs * width
    return _Formula.apply(q.shape, (flops,), (2 * flops,), q, k, v)


def gru(layer: torch.nn.GRU, x: Tensor) -> Tensor:
    """The products of a GRU's inputs and states with its weights, (B, L, D) -> (B, L, U)."""
    for weight_input, weight, *_ in layer.all_weights:
        shape = (*x.shape[:2], weight.shape[1])
        flops = 2 * x.shape[0] * x.shape[1] * (weight_input.numel() + weight.numel())
        x = _Formula.apply(shape, (flops,), (2 * flops,), x, weight_input, weight)
    return x


def convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A product and a sum per tap: x (B, L, E), weight (E, W)."""
    flops = 2 * x.numel() * weight.shape[1]
    return _Formula.apply(x.shape, (flops,), (2 * flops,), x, weight, bias)


def scan(u: Tensor, A: Tensor, *others: Tensor) -> Tensor:
    """The selective scan: u (B, L, E), A (E, N)."""
    inputs = (u, A, *others)
    size, result = u.numel() * A.shape[1], u.numel() * u.itemsize
    moved = sum(t.numel() * t.itemsize for t in inputs)
    forward = (SCAN_FLOPS * size, size, moved + result)
    backward = (SCAN_BACKWARD_FLOPS * size, 0, 2 * moved + result)
    return _Formula.apply(u.shape, forward, backward, *inputs)
