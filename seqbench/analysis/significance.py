"""Differences between models: their intervals, and tested a second way: paired t over users, Holm over pairs, effect sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from . import resampling
from .resampling import TAIL

MOST_FREEDOM = 1e6  # degrees of freedom beyond which Student's t is normal


@dataclass(frozen=True)
class Difference:
    """The central 95 % of differences of two models' means: lower and upper ends (K,), and degrees of freedom (K,)."""

    low: np.ndarray
    high: np.ndarray
    freedom: np.ndarray

    def p_beyond(self, margin: ArrayLike) -> np.ndarray:
        """Two-sided p-values (K,) of differences no larger than `margin`, those of the interval: below 5 % where 95 % lie beyond it.

        The half width of the interval is taken as its quantile of t times the standard error.
        """
        beyond = np.maximum(np.abs(self.low + self.high) / 2 - margin, 0)
        half = (self.high - self.low) / 2
        errors = beyond / np.where(half > 0, half, 1)
        p = 2 * stdtr(self.freedom, -errors * stdtrit(self.freedom, 1 - TAIL))
        return np.where(half > 0, p, beyond == 0)


def difference(a: resampling.Resampled, b: resampling.Resampled, columns: ArrayLike | slice = slice(None)) -> Difference:  # fmt: skip
    """The difference of two models' means, or of some columns of them.

    The interval of the paired users is widened about its middle: by the variance of both models' trainings, and by the
    quantile of t with the degrees of freedom that Welch and Satterthwaite give for what is known of each part. (A draw of t
    for each model covered 98 % where 95 % were meant.)
    """
    at = np.atleast_1d(np.arange(a.users.shape[1])[columns])
    draws = a.users[:, at] - b.users[:, at]
    draws[:, (a.model.users == b.model.users).all(axis=0)[at]] = 0  # however they were rounded
    middle, of_users = draws.mean(axis=0), draws.var(axis=0)
    total, freedom = _variance(a.model, b.model, at, of_users)
    half = stdtrit(freedom, 1 - TAIL) * np.sqrt(total)
    half_of_users = stdtrit(MOST_FREEDOM, 1 - TAIL) * np.sqrt(of_users)
    alike = half_of_users == 0  # users who do not differ, trainings that may
    factor = np.where(alike, 1, half / np.where(alike, 1, half_of_users))
    extra = np.where(alike, half, 0)
    low, high = resampling.interval(draws)
    return Difference(middle + (low - middle) * factor - extra, middle + (high - middle) * factor + extra, freedom)  # fmt: skip


def _variance(a: resampling.SeedMeans, b: resampling.SeedMeans, at: np.ndarray, of_users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Variance of the difference by users and trainings, and its degrees of freedom (K,), at least 1."""
    of_seeds = np.maximum(a.seed_variance[at] + b.seed_variance[at], 0)
    # Known to infinitely many degrees of freedom for the users, to S - 1 for a model's trainings.
    parts = ((np.maximum(m.seed_variance[at], 0), max(m.n_seeds - 1, 1)) for m in (a, b))
    unsure = sum(part**2 / known_to for part, known_to in parts)
    total = of_users + of_seeds
    freedom = np.minimum(total**2 / np.maximum(unsure, 1e-300), MOST_FREEDOM)
    return total, np.maximum(freedom, 1)


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
    return 2 * stdtr(len(d) - 1, -t), effect


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values (M,) adjusted for M comparisons (Holm 1979): rejecting those below 5 % errs once in 20 families."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    stepped = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted
