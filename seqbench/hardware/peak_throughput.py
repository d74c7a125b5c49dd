"""What the device does at best: a large matrix product, a large copy, exponentials. Measured, not read in a datasheet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

import models

from ..core.metrics import spread
from .arithmetic import arithmetic
from .device import Stopwatch

SIDE = {
    "cpu": 2048,
    "cuda": 8192,
}  # of the square matrices: large enough that nothing but the product counts
COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}  # far beyond the caches
# Exponentials of rows that the smallest cache holds, each so often; no power of two, whose addresses would collide.
ROWS, NUMBERS, TIMES = 64, 3008, 100
BLOCKS = 16  # products of the compiled kernels, each in a cache
REDUCED = ("bf16", "mixed")  # precisions whose products are of bf16 numbers
FEWEST = 3  # repeats, however slow

Clock = Callable[[], float]


def ceilings(
    where: torch.device, precision: str, seconds: float = 1.0, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """Median rates over about ``seconds`` each, after a warm-up, with interquartile range and number of repeats.

    product_flop_per_s: of C = A B in fp32, tf32 or bf16, 2 n^3 FLOPs each; in fp32 on a CPU that of the compiled
    kernels where it is higher. fp32_flop_per_s: in fp32, for what a reduced precision leaves in it (``mixed``; on a
    CPU the compiled kernels in any). copy_bytes_per_s: bytes read plus bytes written. exponentials_per_s: on a CPU,
    by the compiled kernels' own function. The median and not the best, because a model is compared by its median too.
    """

    def repeated(work: Callable[[], object]) -> np.ndarray:
        return _repeat(work, Stopwatch(where, clock), seconds)

    found = {}
    for name, unit, rates in _rates(where, precision, repeated):
        rate = spread(rates)
        found |= {f"{name}_{unit}": rate.median, f"{name}_iqr": rate.iqr, f"{name}_n": rate.n}
    return found


def _rates(
    where: torch.device, precision: str, repeated: Callable[[Callable[[], object]], np.ndarray]
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Name, unit and all repeats of every rate."""
    yield "product", "flop_per_s", _products(where, precision, repeated)
    if precision == "mixed" or (precision in REDUCED and where.type == "cpu"):
        yield "fp32", "flop_per_s", _products(where, "fp32", repeated)
    source = torch.randn(COPY_BYTES[where.type] // 4, device=where)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / repeated(lambda: target.copy_(source))
    yield "copy", "bytes_per_s", copied
    x = torch.rand(ROWS, NUMBERS)
    out = torch.empty_like(x)
    if where.type == "cpu" and models.exponentials(x, out, 1):
        taken = repeated(lambda: models.exponentials(x, out, TIMES))
        yield "exponentials", "per_s", x.numel() * TIMES / taken


def _products(where: torch.device, precision: str, repeated: Callable) -> np.ndarray:
    side = SIDE[where.type]
    dtype = torch.bfloat16 if precision in REDUCED else torch.float32
    a, b, out = (torch.randn(side, side, device=where).to(dtype) for _ in "abc")
    with arithmetic("fp32" if precision in REDUCED else precision, where):
        rates = 2 * side**3 / repeated(lambda: torch.mm(a, b, out=out))
    if where.type == "cpu" and dtype == torch.float32:
        shapes = ((BLOCKS, 96, 64), (BLOCKS, 64, 256), (BLOCKS, 96, 256))
        tiles = [torch.randn(*shape) for shape in shapes]
        if models.multiplications(*tiles, 1):
            flops = 2 * BLOCKS * 96 * 64 * 256 * TIMES
            own = flops / repeated(lambda: models.multiplications(*tiles, TIMES))
            rates = max(rates, own, key=np.median)
    return rates


def _repeat(work: Callable[[], object], watch: Stopwatch, seconds: float) -> np.ndarray:
    """Seconds of every repeat but the first."""
    begun = time.perf_counter()
    while len(watch.seconds) <= FEWEST or time.perf_counter() - begun < seconds:
        with watch.time():
            work()
    return np.array(watch.seconds[1:])
