"""Statistics of raw samples: medians of times, bootstrap intervals of qualities and of their differences.

Letters: S seeds, U users, K columns (any number of quantities measured on the same users), R resamples.

Two things vary between repetitions of an experiment: who the users are, and how the training went. The users are the
same people in every seed, so one draw of users serves all seeds (drawing them anew in each seed would make the interval
too narrow by up to the square root of S). Seeds are too few to be resampled (3 values have 10 different resamples, and
their spread is too small): their part is drawn from Student's t with S - 1 degrees of freedom, with a spread from which
the part that the draw of users already holds has been taken out. For a difference of two models that would be too
unsure: significance.py has it. Simulations in the tests check the coverage.
"""

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
CHUNK_BYTES = 32 * 2**20  # of resampling weights held at once


@dataclass(frozen=True)
class SeedMeans:
    """What S trainings of one model say about K quantities.

    users: (U, K) value of every user averaged over the seeds. mean, std: (K,) over the seeds' means (std NaN for one
    seed). seed_variance: (K,) estimated variance of the mean that is owed to the training alone, zero for one seed; an
    estimate without bias, so it may be negative.
    """

    users: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    seed_variance: np.ndarray
    n_seeds: int

    @property
    def seed_error(self) -> np.ndarray:
        """Standard error (K,) that is owed to the training alone."""
        return np.sqrt(np.maximum(self.seed_variance, 0))


def seed_means(per_seed: list[np.ndarray]) -> SeedMeans:
    """Average the tables (U, K) of S seeds and split their spread into users' and training's part."""
    n_seeds, n_users = len(per_seed), len(per_seed[0])
    means = np.stack([table.mean(axis=0) for table in per_seed])  # (S, K)
    users, mean = sum(per_seed) / n_seeds, means.mean(axis=0)
    if n_seeds == 1:
        return SeedMeans(users, mean, np.full_like(mean, np.nan), np.zeros_like(mean), 1)
    variance = means.var(axis=0, ddof=1)
    squares = sum(
        ((table - users - own + mean) ** 2).sum(axis=0)
        for table, own in zip(per_seed, means, strict=True)
    )
    by_users = (
        squares / ((n_seeds - 1) * max(n_users - 1, 1)) / n_users
    )  # interaction, two-way layout
    return SeedMeans(users, mean, np.sqrt(variance), (variance - by_users) / n_seeds, n_seeds)


def resampled_user_means(
    users: np.ndarray, rng: np.random.Generator, n_resamples: int = RESAMPLES
) -> np.ndarray:
    """Return the means (R, K) of R draws of U users with replacement from a table (U, K).

    Every column sees the same draws, so the difference of two columns is a paired resample.
    """
    n_users = len(users)
    values = np.ascontiguousarray(users, dtype=np.float64)
    chunk = max(1, min(n_resamples, CHUNK_BYTES // (8 * n_users)))
    means = np.empty((n_resamples, values.shape[1]))
    for start in range(0, n_resamples, chunk):
        rows = min(chunk, n_resamples - start)
        counts = np.empty((rows, n_users))
        for row in counts:
            row[:] = np.bincount(
                rng.integers(0, n_users, n_users, dtype=np.int32), minlength=n_users
            )
        means[start : start + rows] = counts @ values / n_users
    return means


def seed_noise(
    model: SeedMeans, rng: np.random.Generator, n_resamples: int = RESAMPLES
) -> np.ndarray:
    """Return draws (R, K) of how far the mean over seeds may be off; zero when one seed tells nothing about it."""
    if model.n_seeds < 2:
        return np.zeros((n_resamples, len(model.mean)))
    return rng.standard_t(model.n_seeds - 1, n_resamples)[:, None] * model.seed_error


@dataclass(frozen=True)
class Resampled:
    """Resampled means (R, K) of one model: ``users``, by the choice of users alone, paired across models; ``means``, by the
    luck of its trainings too."""

    model: SeedMeans
    users: np.ndarray
    means: np.ndarray


def resample(
    models: list[SeedMeans], seed: int = 0, n_resamples: int = RESAMPLES
) -> list[Resampled]:
    """Resample every model's means on the same draws of users."""
    rng = np.random.default_rng(seed)
    widths = [model.users.shape[1] for model in models]
    means = resampled_user_means(np.hstack([model.users for model in models]), rng, n_resamples)
    parts = np.split(means, np.cumsum(widths)[:-1], axis=1)
    return [
        Resampled(model, part, part + seed_noise(model, rng, n_resamples))
        for part, model in zip(parts, models, strict=True)
    ]


def interval(resamples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper end (K,) of the central 95 % of resamples (R, K)."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resamples, [tail, 1 - tail], axis=0)
    return low, high


def verdict(low: float, high: float, margin: float) -> str:
    """Judge the interval of a difference against a margin: `better`, `worse`, `equivalent` or `inconclusive`."""
    if low > margin:
        return "better"
    if high < -margin:
        return "worse"
    if -margin <= low and high <= margin:
        return "equivalent"
    return "inconclusive"
