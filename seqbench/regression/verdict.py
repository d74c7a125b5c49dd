"""Tier 2's statistics: is head slower than base, faster, or can this machine not tell? Plain arrays of pairs in.

A pair is one process of base and one of head, run one after the other, so that what the machine does to both cancels. The
statistic is the median of log(head / base) over pairs with a percentile bootstrap over blocks of two pairs in the order base,
head, head, base, in which a steady drift cancels too. Each block holds an A/A pair, its two runs of base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

THRESHOLD = 0.05  # relative change that counts
RESAMPLES = 2000
CONFIDENCE = 0.95
FEWEST = 4  # blocks before anything is said
FEWEST_AGAIN = (
    2  # new blocks before an alarm is confirmed: all of their medians must lie above the threshold
)
OK, SLOWER, FASTER, UNSURE, GONE = "same", "slower", "faster", "cannot tell", "not comparable"


@dataclass(frozen=True)
class Estimate:
    """Ratio head / base: median and the ends of its 95 % interval, over so many blocks."""

    ratio: float
    low: float
    high: float
    blocks: int

    def text(self) -> str:
        """As a change in per cent."""
        return f"{100 * (self.ratio - 1):+.1f} % [{100 * (self.low - 1):+.1f}, {100 * (self.high - 1):+.1f}]"


@dataclass(frozen=True)
class Verdict:
    """What is said of one stage; ``noise``: the A/A estimate of base against itself; ``reason`` in words."""

    stage: str
    verdict: str
    change: Estimate | None
    noise: Estimate | None
    reason: str = ""


def estimate(blocks: np.ndarray, seed: int = 0) -> Estimate:
    """Median of log ratios (B, P) of B blocks of P pairs, back as a ratio."""
    blocks = np.asarray(blocks, dtype=float)
    rng = np.random.default_rng(seed)
    drawn = blocks[rng.integers(0, len(blocks), (RESAMPLES, len(blocks)))].reshape(RESAMPLES, -1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.median(drawn, axis=1), [tail, 1 - tail])
    return Estimate(
        float(np.exp(np.median(blocks))), float(np.exp(low)), float(np.exp(high)), len(blocks)
    )


def changes(base: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Log ratios (B, 2) of blocks: base (B, 2) first and last, head (B, 2) second and third."""
    return np.log(np.asarray(head, dtype=float)) - np.log(np.asarray(base, dtype=float))


def noise(base: np.ndarray) -> np.ndarray:
    """Log ratios (B, 1) of a block's last to its first run of base."""
    base = np.log(np.asarray(base, dtype=float))
    return base[:, 1:] - base[:, :1]


def judge(
    stage: str,
    base: np.ndarray,
    head: np.ndarray,
    confirming: np.ndarray | None,
    threshold: float = THRESHOLD,
) -> Verdict:
    """Verdict on one stage from its seconds (B, 2), (B, 2).

    confirming: log ratios of blocks made after a first alarm, None if there were none; a stage is slower only if both say so.
    """
    if len(base) < FEWEST:
        return Verdict(
            stage, UNSURE, None, None, f"only {len(base)} blocks of the {FEWEST} that are needed"
        )
    change, own = estimate(changes(base, head)), estimate(noise(base))
    up, down = 1 + threshold, 1 / (1 + threshold)
    if alarm(change, threshold):
        if confirming is None or len(confirming) < FEWEST_AGAIN:
            return Verdict(stage, UNSURE, change, own, "an alarm that there was no time to confirm")
        again = estimate(confirming)
        if alarm(again, threshold):
            return Verdict(stage, SLOWER, change, own, f"confirmed on new pairs: {again.text()}")
        return Verdict(
            stage, OK, change, own, f"an alarm that new pairs did not confirm: {again.text()}"
        )
    if change.high < down:
        return Verdict(stage, FASTER, change, own)
    if change.high <= up:
        return Verdict(stage, OK, change, own)
    if own.high / own.low > up / down:
        return Verdict(
            stage,
            UNSURE,
            change,
            own,
            "base differs from itself by more than the threshold: the machine is too restless",
        )
    return Verdict(stage, UNSURE, change, own, "the interval reaches beyond the threshold")


def alarm(change: Estimate, threshold: float = THRESHOLD) -> bool:
    """Whether the whole interval lies above the threshold."""
    return change.low > 1 + threshold


def settled(change: Estimate, threshold: float = THRESHOLD) -> bool:
    """Whether more pairs could hardly change the verdict: an alarm, or an interval that the threshold is not in."""
    return alarm(change, threshold) or change.high <= 1 + threshold


def overall(verdicts: Sequence[Verdict]) -> str:
    """`slower` if any stage is, else `cannot tell` if of any stage nothing can be said, else `same`."""
    said = {v.verdict for v in verdicts}
    return SLOWER if SLOWER in said else (UNSURE if UNSURE in said or not said else OK)
