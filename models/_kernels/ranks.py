"""Counting the items that stand at or above a target, compiled for CPUs by numba."""

from __future__ import annotations

import numpy as np
from numba import njit
from torch import Tensor

from models._compiled import LOOPS, call


def count_above(scores: Tensor, targets: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """See models._kernels.count_above."""
    counts = targets.new_empty(len(scores), 4)
    wrong = targets.new_empty(len(scores))
    arrays = (scores.contiguous(), targets.contiguous(), seen.contiguous())
    call(_count_above, len(scores), *arrays, counts, wrong)
    return counts, wrong.sum() > 0


# Compiled from here on.


@njit(**LOOPS)
def _count_above(first, last, scores, targets, seen, counts, wrong):
    counted = np.zeros(scores.shape[1], np.int64)  # by which row, so that no item counts twice
    for i in range(first, last):
        row, own = scores[i], scores[i, targets[i]]
        above, equal, missing = np.int32(0), np.int32(0), np.int32(0)
        for j in range(1, len(row)):
            above += np.int32(row[j] >= own)
            equal += np.int32(row[j] == own)
            missing += np.int32(row[j] != row[j])
        seen_above, seen_equal = 0, 0
        counted[0] = counted[targets[i]] = i + 1
        for j in range(seen.shape[1]):
            item = seen[i, j]
            if counted[item] != i + 1:
                counted[item] = i + 1
                seen_above += row[item] >= own
                seen_equal += row[item] == own
        counts[i, 0], counts[i, 1] = above, equal - 1
        counts[i, 2], counts[i, 3] = seen_above, seen_equal
        wrong[i] = missing
