"""The row-wise part of the loss over the catalogue, compiled for CPUs by numba."""

from __future__ import annotations

from numba import njit
from torch import Tensor

from models._compiled import LOG2_E, LOOPS, ZERO, call, exp2, largest


def exponentials(logits: Tensor) -> tuple[Tensor, Tensor]:
    """See models._kernels.exponentials: logits (T, n) are overwritten."""
    peak, mass = logits.new_empty(2, len(logits), 1)
    call(_exponentials, len(logits), logits, peak, mass)
    return peak, mass


@njit(**LOOPS)
def _exponentials(first, last, logits, peak, mass):
    for i in range(first, last):
        row = logits[i]
        top = largest(row, len(row))
        shift, total = top * LOG2_E, ZERO
        for j in range(len(row)):
            e = exp2(row[j] * LOG2_E - shift)
            row[j] = e
            total += e
        peak[i, 0], mass[i, 0] = top, total
