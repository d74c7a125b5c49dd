"""Blocks of the regression gate with a known change and noise."""

import numpy as np

from tools.gate import workers


def seconds(rng, noise, factor):
    """One block's seconds in the order base, head, head, base."""
    return 0.1 * np.exp(noise * rng.standard_normal(4)) * [1.0, factor, factor, 1.0]


def blocks(n, factor=1.0, noise=0.02, seed=0):
    """Log ratios (n, 2) of head to base and of each side to itself."""
    rng = np.random.default_rng(seed)
    found = [workers.result(seconds(rng, noise, factor)[:, None]) for _ in range(n)]
    return np.array([b["change"] for b in found]), np.array([b["own"] for b in found])
