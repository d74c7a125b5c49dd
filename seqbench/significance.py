"""Differences between models, tested a second way: paired t over users, Holm over pairs, effect sizes.

Apart from stats.py, which every measuring process imports: scipy would be part of its memory.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student_t


def paired_t(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p-values (two-sided) and effect sizes (K,) of the differences of two tables (U, K) on the same users.

    Each difference is a user's, averaged over seeds; the effect is their mean over their standard deviation. A
    cross-check of the interval for the choice of users; the luck of the training is not in it.
    """
    d = first - second
    error = d.std(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.where(error > 0, d.mean(axis=0) / error, 0.0)
    t = np.abs(effect) * np.sqrt(len(d))
    return 2 * student_t.sf(t, len(d) - 1), effect


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values (M,) adjusted for M comparisons (Holm 1979): rejecting those below 5 % errs once in 20 families."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    stepped = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted
