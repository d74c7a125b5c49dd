"""Metrics on ranks with known answers."""

import numpy as np
import pytest

from seqbench.core import metrics


def test_known_values():
    rank = np.array([1, 2, 10, 11])
    assert metrics.per_user(rank, "hr@10").tolist() == [1, 1, 1, 0]
    assert metrics.per_user(rank, "mrr@10") == pytest.approx([1, 0.5, 0.1, 0])
    assert metrics.per_user(rank, "ndcg@10") == pytest.approx(
        [1, 1 / np.log2(3), 1 / np.log2(11), 0]
    )


def test_average_ties_lie_between_best_and_worst():
    rank, ties = np.array([5, 5]), np.array([0, 4])
    assert metrics.expected_under_random_ties(rank, ties).tolist() == [5, 3]


def test_a_rank_below_one_is_an_error():
    with pytest.raises(ValueError, match="ranks start at 1"):
        metrics.per_user(np.array([0, 3]), "hr@10")
