"""The exponential of the compiled kernels alone: the rate that a scan's exponentials are held against."""

from __future__ import annotations

from numba import njit
from torch import Tensor

from models._compiled import LOOPS, call, exp2


def powers_of_two(x: Tensor, out: Tensor, times: int) -> None:
    """Write 2**x into ``out`` row by row, each ``times`` times: float32 (R, n), n numbers that a cache holds."""
    call(_powers_of_two, len(x), x, out, times)


@njit(**LOOPS)
def _powers_of_two(first, last, x, out, times):
    for r in range(first, last):
        row, result = x[r], out[r]
        for _ in range(times):
            for i in range(len(row)):
                result[i] = exp2(row[i])
