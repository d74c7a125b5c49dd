"""The row-wise part of the loss over the catalogue, compiled for CPUs by numba."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from torch import Tensor

from models._compiled import LOG2_E, LOOPS, ONE, ZERO, call, exp2, largest, number, put


def cross_entropy_rows(logits: Tensor, targets: Tensor, losses: Tensor, scale: Tensor) -> None:
    """See models._kernels.cross_entropy_rows."""
    call(_cross_entropy_rows, len(logits), logits, targets, losses, scale)


@njit(**LOOPS)
def _cross_entropy_rows(first, last, logits, targets, losses, scale):
    for i in range(first, last):
        row, target = logits[i], targets[i]
        top, wanted = largest(row, len(row)), number(row[target])
        shift, mass = top * LOG2_E, ZERO
        for j in range(len(row)):
            e = exp2(number(row[j]) * LOG2_E - shift)
            put(row, j, e)
            mass += e
        put(row, target, number(row[target]) - mass)
        losses[i] = top - wanted + np.float32(math.log(mass))
        scale[i, 0] = ONE / mass
