"""What the compiled kernels do at best, alone and from a cache: the rates that a step is held against."""

from __future__ import annotations

import numpy as np
from numba import njit
from torch import Tensor

from models._compiled import LOOPS, call
from models._simd import LANES, VECTORS, exp2_below, load, store
from models._tiles import multiply


def powers_of_two(x: Tensor, out: Tensor, times: int) -> None:
    """Write 2**x into ``out`` row by row, each ``times`` times: float32 (R, n), n numbers that a cache holds, a multiple of 16."""
    call(_powers_of_two, len(x), x, out, times)


def products(a: Tensor, b: Tensor, out: Tensor, times: int) -> None:
    """Write a[r] b[r] into ``out[r]``, each ``times`` times: (R, M, K), (R, K, N), (R, M, N) float32 that a cache holds."""
    call(_products, len(a), a, b, out, times)


@njit(**LOOPS)
def _products(first, last, a, b, out, times):
    m, depth, width = a.shape[1], a.shape[2], b.shape[2]
    zeros = np.zeros(width, np.float32)
    for r in range(first, last):
        x, y, z = a[r].reshape(-1), b[r].reshape(-1), out[r].reshape(-1)
        for _ in range(times):
            multiply(m, width, depth, x, 0, depth, 1, y, 0, width, zeros, 0, 0, z, 0, width)


@njit(**VECTORS)
def _powers_of_two(first, last, x, out, times):
    for r in range(first, last):
        row, result = x[r], out[r]
        for _ in range(times):
            for i in range(0, len(row), LANES):
                store(result, (i,), exp2_below(load(row, (i,))))
