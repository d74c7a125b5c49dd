"""Differences between models: their intervals, and tested a second way: paired t over users, Holm over pairs, effect sizes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from . import resampling

MOST_FREEDOM = 1e6  # degrees of freedom beyond which Student's t is normal


def difference_interval(
    a: resampling.Resampled, b: resampling.Resampled, columns: ArrayLike | slice = slice(None)
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end (K,) of the central 95 % for the difference of two models' means, or of some columns of it.

    The interval of the paired users is widened about its middle: by the variance of both models' trainings, and by the
    quantile of t with the degrees of freedom that Welch and Satterthwaite give for what is known of each part. (A draw of t
    for each model covered 98 % where 95 % were meant.)
    """
    at = np.atleast_1d(np.arange(a.users.shape[1])[columns])
    draws = _draws(a, b, at)
    middle, of_users = draws.mean(axis=0), draws.var(axis=0)
    total, freedom = _variance(a, b, at, of_users)
    tail = (1 - resampling.CONFIDENCE) / 2
    half = stdtrit(freedom, 1 - tail) * np.sqrt(total)
    half_of_users = stdtrit(MOST_FREEDOM, 1 - tail) * np.sqrt(of_users)
    alike = half_of_users == 0  # users who do not differ, trainings that may
    factor = np.where(alike, 1, half / np.where(alike, 1, half_of_users))
    extra = np.where(alike, half, 0)
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return middle + (low - middle) * factor - extra, middle + (high - middle) * factor + extra


def p_beyond(
    a: resampling.Resampled,
    b: resampling.Resampled,
    columns: ArrayLike,
    interval: tuple[np.ndarray, np.ndarray],
    margin: ArrayLike,
) -> np.ndarray:
    """Two-sided p-values (K,) of differences no larger than `margin`, those of the interval: below 5 % where 95 % lie beyond it.

    interval: of `difference_interval`, whose half width is taken as its quantile of t times the standard error.
    """
    at = np.atleast_1d(columns)
    _, freedom = _variance(a, b, at, _draws(a, b, at).var(axis=0))
    low, high = interval
    beyond, half = np.maximum(np.abs(low + high) / 2 - margin, 0), (high - low) / 2
    errors = beyond / np.where(half > 0, half, 1)
    p = 2 * stdtr(freedom, -errors * stdtrit(freedom, (1 + resampling.CONFIDENCE) / 2))
    return np.where(half > 0, p, beyond == 0)


def _draws(a: resampling.Resampled, b: resampling.Resampled, at: np.ndarray) -> np.ndarray:
    """Differences (R, K), none at all where no user differs, however the means were rounded."""
    draws = a.users[:, at] - b.users[:, at]
    draws[:, (a.model.users == b.model.users).all(axis=0)[at]] = 0
    return draws


def _variance(
    a: resampling.Resampled, b: resampling.Resampled, at: np.ndarray, of_users: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the difference by users and trainings, and its degrees of freedom (K,), at least 1."""
    of_seeds = np.maximum(a.model.seed_variance[at] + b.model.seed_variance[at], 0)
    # Known to infinitely many degrees of freedom for the users, to S - 1 for a model's trainings.
    unsure = np.zeros(len(at))
    for model in (a.model, b.model):
        if model.n_seeds > 1:
            unsure += np.maximum(model.seed_variance[at], 0) ** 2 / (model.n_seeds - 1)
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
