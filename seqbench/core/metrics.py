"""Quality metrics from ranks.

With a single held-out item per user all three quality metrics are functions of its rank alone, so ranks are
what is stored and metrics are derived from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

SPLITS = ("valid", "test")
SEEN_ITEMS = ("kept", "excluded")
TIES = ("conservative", "average")


def hit_rate(rank: np.ndarray, k: int) -> np.ndarray:
    """HR@k per user: 1 where the held-out item is among the first k. rank (U,) is 1-based."""
    return (rank <= k).astype(np.float64)


def ndcg(rank: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k per user: 1 / log2(1 + rank) within the first k (one relevant item: the ideal DCG is 1)."""
    return np.where(rank <= k, 1.0 / np.log2(1.0 + rank), 0.0)


def reciprocal_rank(rank: np.ndarray, k: int) -> np.ndarray:
    """MRR@k per user: 1 / rank within the first k, else 0."""
    return np.where(rank <= k, 1.0 / rank, 0.0)


QUALITY: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "hr": hit_rate,
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
}


def per_user(rank: np.ndarray, metric: str) -> np.ndarray:
    """A metric's value for each user. rank (U,) 1-based, whole or half (average ties); metric as ``ndcg@10``."""
    name, _, k = metric.partition("@")
    if rank.size and rank.min() < 1:
        raise ValueError(f"ranks start at 1, got {rank.min()}")
    return QUALITY[name](np.asarray(rank), int(k))


def expected_under_random_ties(rank: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Average rank of the held-out item among its equal-scored others. rank is conservative, ties their number."""
    return rank - ties / 2.0


def ranks_of(
    samples: Mapping[str, np.ndarray], split: str, seen_items: str
) -> tuple[np.ndarray, np.ndarray]:
    """Conservative ranks (U,) and numbers of equal-scored others (U,) of a record, seen items ``kept`` or ``excluded``."""
    rank, ties = samples[f"{split}/rank"], samples[f"{split}/ties"]
    if seen_items == "kept":
        return rank, ties
    return rank - samples[f"{split}/seen_above"], ties - samples[f"{split}/seen_tied"]


def qualities(
    samples: Mapping[str, np.ndarray], split: str, metrics: Iterable[str]
) -> dict[tuple[str, str, str], np.ndarray]:
    """Return values per user (U,) of a record by (seen_items, ties, metric)."""
    table = {}
    for seen_items in SEEN_ITEMS:
        rank, ties = ranks_of(samples, split, seen_items)
        ranks = {"conservative": rank, "average": expected_under_random_ties(rank, ties)}
        for kind, metric in product(TIES, metrics):
            table[seen_items, kind, metric] = per_user(ranks[kind], metric)
    return table


@dataclass(frozen=True)
class Spread:
    """Median, interquartile range with its ends, and number of the samples of one measured quantity."""

    median: float
    iqr: float
    q25: float
    q75: float
    n: int


def spread(samples: np.ndarray) -> Spread:
    """Return median, interquartile range and count; a NaN among the samples stays visible as NaN."""
    values = np.asarray(samples, dtype=float).ravel()
    if values.size == 0:
        raise ValueError("spread of no samples")
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Spread(float(median), float(high - low), float(low), float(high), int(values.size))
