"""Tier 2's statistics: is head slower than base, faster, or can this machine not tell? Plain arrays of blocks in.

A pair is a process of base and one of head that ran at the same time; a block is two pairs. The change is the median of log(head / base)
over pairs, with a percentile bootstrap. The same blocks hold as many A/A pairs, the two processes of base and the two of head:
their interval, made the same way, says what this machine calls a change where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

THRESHOLD = 0.05  # relative change that counts
RESAMPLES = 2000
CONFIDENCE = 0.95
FEWEST = 3  # blocks before anything is said
FEWEST_AGAIN = 2  # new blocks before an alarm is confirmed: nearly all of their pairs must lie above the threshold
OK, SLOWER, FASTER, UNSURE = "same", "slower", "faster", "cannot tell"
BROKEN, GONE = (
    "broken",
    "not comparable",
)  # head fails at a stage of its own; base has no such stage


@dataclass(frozen=True)
class Estimate:
    """A ratio: median and the ends of its 95 % interval, over so many pairs."""

    ratio: float
    low: float
    high: float
    pairs: int

    def text(self) -> str:
        """As a change in per cent."""
        return f"{100 * (self.ratio - 1):+.1f} % [{100 * (self.low - 1):+.1f}, {100 * (self.high - 1):+.1f}]"


@dataclass(frozen=True)
class Verdict:
    """What is said of one stage, and why in words; ``noise``: the A/A estimate; ``alarm``: whether the first look was one."""

    stage: str
    verdict: str
    change: Estimate | None
    noise: Estimate | None
    reason: str = ""
    alarm: bool = False

    @property
    def waits(self) -> bool:
        """Whether only new pairs, or more of them, could settle it."""
        return self.alarm and self.verdict == UNSURE

    @property
    def open(self) -> bool:
        """Whether more blocks of the first look could settle it."""
        return not self.alarm and self.verdict == UNSURE


def estimate(logs: np.ndarray, seed: int = 0) -> Estimate:
    """Median of log ratios, back as a ratio; the pairs are resampled.

    With six normal pairs the interval holds the truth 89 times in 100, with eight 91, with twelve 93, with more than sixteen 94 (simulated).
    """
    logs = np.asarray(logs, dtype=float).ravel()
    return _estimate(logs.tobytes(), seed)


@lru_cache(maxsize=4096)
def _estimate(content: bytes, seed: int) -> Estimate:
    """The same pairs are asked about after every block."""
    logs = np.frombuffer(content)
    drawn = logs[np.random.default_rng(seed).integers(0, logs.size, (RESAMPLES, logs.size))]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.median(drawn, axis=1), [tail, 1 - tail])
    return Estimate(float(np.exp(np.median(logs))), float(np.exp(low)), float(np.exp(high)), logs.size)  # fmt: skip


def judge(
    stage: str, changes: np.ndarray, noise: np.ndarray, confirming: np.ndarray | None = None, threshold: float = THRESHOLD,
) -> Verdict:  # fmt: skip
    """Verdict on one stage from log ratios (B, 2) of head to base and (B, 2) of each side to itself.

    confirming: log ratios of blocks made after a first alarm, None if there were none; a stage is slower only if both say so.
    """
    if len(changes) < FEWEST:
        why = f"only {len(changes)} blocks of the {FEWEST} that are needed"
        return Verdict(stage, UNSURE, None, None, why)
    change, own = estimate(changes), estimate(noise)
    up, down = 1 + threshold, 1 / (1 + threshold)

    raised = alarm(change, own, threshold)

    def say(verdict: str, reason: str = "") -> Verdict:
        return Verdict(stage, verdict, change, own, reason, raised)

    if raised:
        if confirming is None or len(confirming) < FEWEST_AGAIN:
            return say(UNSURE, "an alarm that there was no time to confirm")
        again = estimate(confirming)
        if alarm(again, own, threshold):
            return say(SLOWER, f"confirmed on new pairs: {again.text()}")
        if again.high <= up:
            return say(OK, f"an alarm that new pairs did not confirm: {again.text()}")
        return say(UNSURE, f"an alarm that new pairs leave open: {again.text()}")
    if own.low < down or own.high > up:
        return say(UNSURE, "equal code differs by more than the threshold: the machine is too restless")  # fmt: skip
    if change.high < down:
        return say(FASTER)
    if change.high <= up:
        return say(OK)
    return say(UNSURE, "the interval reaches beyond the threshold")


def alarm(change: Estimate, own: Estimate, threshold: float = THRESHOLD) -> bool:
    """Whether the whole interval lies above the threshold, and above what equal code does here, in whichever direction."""
    return change.low > max(1 + threshold, own.high, 1 / own.low)


def overall(verdicts: Sequence[Verdict]) -> str:
    """`slower` if any stage is or is broken, else `cannot tell` if of any stage nothing can be said, else `same`."""
    said = {v.verdict for v in verdicts}
    if said & {SLOWER, BROKEN}:
        return SLOWER
    return UNSURE if said & {UNSURE, GONE} or not said else OK
