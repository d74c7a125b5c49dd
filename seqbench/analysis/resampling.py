"""Statistics of raw samples: medians of times, bootstrap intervals of qualities and of their differences.

Letters: S seeds, U users, K columns (any number of quantities measured on the same users), R resamples.

Two things vary between repetitions of an experiment: who the users are, and how the training went. The users are the
same people in every seed, so one draw of users serves all seeds (drawing them anew in each seed would make the interval
too narrow by up to the square root of S). Seeds are too few to be resampled (3 values have 10 different resamples, and
their spread is too small): their part is drawn from Student's t with S - 1 degrees of freedom, with a spread from which
the part that the draw of users already holds has been taken out. For a difference of two models that would be too
unsure: significance.py has it. Simulations in the tests check the coverage.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2  # on either side of an interval
OPPOSITE = {"better": "worse", "worse": "better"}  # verdicts, read from the other side
CHUNK = 2**18  # draws, or counts of them, that are worked on at once
MOST_KEPT = 2**28  # bytes of counts that are kept for other models of the same users
AT_ONCE = 16  # draws, where they are not
TILE = 64  # users whose counts are numbers of double precision at once: for all draws they fit the second cache


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
    squares = np.zeros_like(mean)
    for table, own in zip(per_seed, means, strict=True):
        apart = table - users  # changed in place: tables are large
        apart -= own - mean
        squares += np.square(apart, out=apart).sum(axis=0)
    # The interaction of a two-way layout.
    by_users = squares / ((n_seeds - 1) * max(n_users - 1, 1)) / n_users
    return SeedMeans(users, mean, np.sqrt(variance), (variance - by_users) / n_seeds, n_seeds)


@lru_cache(maxsize=32)  # the conditions of a dataset rank for the same users
def user_draws(n_users: int, seed: int = 0, n_resamples: int = RESAMPLES) -> tuple[np.ndarray, np.random.Generator]:  # fmt: skip
    """How often each of U users is in each of R draws with replacement (U, R), and the generator after them: copy it."""
    rng, done = np.random.default_rng(seed), 0
    counts = np.empty((n_users, n_resamples), dtype=np.uint8)
    for part in _counted_draws(n_users, rng, n_resamples, CHUNK):
        counts[:, done : done + len(part)] = part.T
        done += len(part)
    return counts, rng


def _counted_draws(n_users: int, rng: np.random.Generator, n_resamples: int, chunk: int) -> Iterator[np.ndarray]:  # fmt: skip
    """How often each of U users is in each of P draws (P, U), for all R draws, about `chunk` users of them together."""
    parts = np.array_split(np.arange(n_resamples), -(-n_users * n_resamples // chunk))

    def draw(part: np.ndarray) -> np.ndarray:
        return rng.integers(0, n_users, (len(part), n_users), dtype=np.int32)

    with ThreadPoolExecutor(1) as ahead:  # draws the next ones while these are counted
        for drawn in ahead.map(draw, parts):
            drawn += n_users * np.arange(len(drawn), dtype=np.int32)[:, None]
            yield np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)


def resampled_user_means(users: np.ndarray, seed: int = 0, n_resamples: int = RESAMPLES) -> tuple[np.ndarray, np.random.Generator]:  # fmt: skip
    """Return the means (R, K) of a table (U, K) over draws of its users, and the generator after them.

    Every column sees the same draws, so the difference of two columns is a paired resample. Counts that would not fit are
    not kept, and `AT_ONCE` draws made at a time.
    """
    found = np.flatnonzero(
        users.any(axis=1)
    )  # most have the item nowhere in a list, and add nothing
    values, own = _different(users[found].T.astype(np.float64))
    if users.shape[0] * n_resamples > MOST_KEPT:
        rng = np.random.default_rng(seed)
        drawn = _counted_draws(len(users), rng, n_resamples, AT_ONCE * len(users))
        sums = np.hstack([values @ part[:, found].T.astype(np.float64) for part in drawn])
    else:
        counts, after = user_draws(len(users), seed, n_resamples)
        rng, sums = deepcopy(after), np.zeros((len(values), n_resamples))
        for k in range(0, len(found), TILE):
            sums += values[:, k : k + TILE] @ counts[found[k : k + TILE]].astype(np.float64)
    return sums[own].T / len(users), rng


def _different(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different ones of K columns (K, U), and for each of the K which of these it is: many are equal, for ties are rare."""
    first: dict[bytes, int] = {}
    equal = [first.setdefault(column.tobytes(), k) for k, column in enumerate(columns)]
    different, own = np.unique(equal, return_inverse=True)
    return columns[different], own


def seed_noise(model: SeedMeans, rng: np.random.Generator, n_resamples: int = RESAMPLES) -> np.ndarray:  # fmt: skip
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


def resample(models: list[SeedMeans], seed: int = 0, n_resamples: int = RESAMPLES) -> list[Resampled]:  # fmt: skip
    """Resample every model's means on the same draws of users."""
    users = np.hstack([model.users for model in models])
    means, rng = resampled_user_means(users, seed, n_resamples)
    widths = [model.users.shape[1] for model in models]
    parts = np.split(means, np.cumsum(widths)[:-1], axis=1)
    return [Resampled(model, part, part + seed_noise(model, rng, n_resamples)) for part, model in zip(parts, models, strict=True)]  # fmt: skip


def interval(resamples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper end (K,) of the central 95 % of resamples (R, K)."""
    low, high = np.quantile(resamples, [TAIL, 1 - TAIL], axis=0)
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
