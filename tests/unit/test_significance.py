"""Paired t and Holm against numbers from a calculator, and their error rates by simulation."""

import numpy as np
import pytest

from seqbench.analysis import significance


def test_paired_t_of_known_differences():
    """Differences 1, 2, 3, 4: mean 2.5 over a standard deviation of 1.29 is 1.94; t = 3.87."""
    second = np.array([[5.0, 7], [6, 8], [7, 9], [9, 0]])
    first = second + np.array([[1.0, 0], [2, 0], [3, 0], [4, 0]])
    p, effect = significance.paired_t(first, second)
    assert effect[0] == pytest.approx(2.5 / np.sqrt(5 / 3))
    assert p[0] == pytest.approx(0.0305, abs=1e-4)  # two-sided, three degrees of freedom
    assert (p[1], effect[1]) == (1.0, 0.0)  # nothing differs


def test_paired_t_rejects_as_often_as_it_says():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(400, 2000))  # 2,000 experiments in which nothing differs
    p, _ = significance.paired_t(first, rng.normal(size=first.shape))
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.015)


def test_holm_of_known_p_values():
    """Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1, and never falling."""
    adjusted = significance.holm(np.array([0.03, 0.5, 0.01, 0.02]))
    assert adjusted.tolist() == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert significance.holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_holm_keeps_the_family_wise_error():
    rng = np.random.default_rng(1)
    families = rng.random((4000, 6))  # six true null hypotheses each
    wrong = [(significance.holm(family) < 0.05).any() for family in families]
    assert np.mean(wrong) == pytest.approx(0.05, abs=0.012)
