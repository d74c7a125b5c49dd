"""What is derived from the samples of a race: seconds per target, ratios, their intervals.

R rounds. A round's value is its seconds over its targets: batches differ in length, so single steps are not compared.
Ratios are formed within a round, where both contestants met the same state of the machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqbench.analysis import resampling


@dataclass(frozen=True)
class Estimate:
    """Median over the rounds with its 95 % bootstrap interval."""

    median: float
    low: float
    high: float


def estimate(values: np.ndarray, seed: int = 0) -> Estimate:
    """Median of ``values`` (R,) and the interval of the medians of its resamples."""
    draws = np.random.default_rng(seed).integers(
        0, len(values), (resampling.RESAMPLES, len(values))
    )
    low, high = resampling.interval(np.median(values[draws], axis=1))
    return Estimate(float(np.median(values)), float(low), float(high))


def per_target(rounds: list[dict[str, list]], clock: str = "step_s") -> np.ndarray:
    """Seconds per real target of every round (R,); ``clock`` is ``step_s`` (wall) or ``cpu_s``."""
    return np.array([sum(r[clock]) / sum(r["targets"]) for r in rounds])


def ratio(
    rounds: list[dict[str, list]], reference: list[dict[str, list]], clock: str = "step_s"
) -> Estimate:
    """How many times the reference's seconds per target, paired by round."""
    shared = min(len(rounds), len(reference))
    return estimate(per_target(rounds, clock)[:shared] / per_target(reference, clock)[:shared])
