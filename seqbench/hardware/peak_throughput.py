"""What the device does at best: a large matrix product and a large copy, measured, not read in a datasheet."""

from __future__ import annotations

import time

import numpy as np
import torch

from ..core.metrics import spread
from .arithmetic import arithmetic
from .device import Stopwatch

SIDE = {
    "cpu": 2048,
    "cuda": 8192,
}  # of the square matrices: large enough that nothing but the product counts
COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}  # far beyond the caches
FEWEST = 3  # repeats, however slow


def ceilings(where: torch.device, precision: str, seconds: float = 1.0) -> dict[str, float]:
    """Median rates over about ``seconds`` each, after a warm-up, with interquartile range and number of repeats.

    product_flop_per_s: of C = A B in fp32, tf32 or bf16 (mixed too), 2 n^3 FLOPs each; copy_bytes_per_s: bytes read plus bytes
    written. The median and not the best, because a model is compared by its median too.
    """
    product = spread(_products(where, precision, seconds))
    copy = spread(_copies(where, seconds))
    return {
        "product_flop_per_s": product.median,
        "product_iqr": product.iqr,
        "product_n": product.n,
        "copy_bytes_per_s": copy.median,
        "copy_iqr": copy.iqr,
        "copy_n": copy.n,
    }


def _products(where: torch.device, precision: str, seconds: float) -> np.ndarray:
    side = SIDE[where.type]
    half = precision in ("bf16", "mixed")
    dtype = torch.bfloat16 if half else torch.float32
    a, b, out = (torch.randn(side, side, device=where).to(dtype) for _ in "abc")
    with arithmetic("fp32" if half else precision, where):
        return 2 * side**3 / _repeat(lambda: torch.mm(a, b, out=out), where, seconds)


def _copies(where: torch.device, seconds: float) -> np.ndarray:
    source = torch.randn(COPY_BYTES[where.type] // 4, device=where)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _repeat(lambda: target.copy_(source), where, seconds)


def _repeat(work, where: torch.device, seconds: float) -> np.ndarray:
    """Seconds of every repeat but the first."""
    clock, begun = Stopwatch(where), time.perf_counter()
    while len(clock.seconds) <= FEWEST or time.perf_counter() - begun < seconds:
        with clock.time():
            work()
    return np.array(clock.seconds[1:])
