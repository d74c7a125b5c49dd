"""How many steps a process takes, and which of them count: as many as asked for, fewer where its budget ends."""

from __future__ import annotations

import time
from collections.abc import Iterator

from .device import Stopwatch
from .experiment import Measurement

FEWEST_STEPS = 2  # timed ones of a process whose budget is over
WARMUP_SHARE = 0.25  # of the budget, at most


class TooSlow(Exception):
    """One step takes longer than the process may compute."""


def steps(job: Measurement, clock: Stopwatch) -> Iterator[bool]:
    """One value per step to take, whether it counts: as many as asked for, fewer where the budget ends.

    Raises:
        TooSlow: one step takes longer than the budget; a first one that compiles and is not counted may.
    """
    budget, begun = job.budget_s or float("inf"), time.perf_counter()
    timed = 0
    for step in range(job.warmup + job.steps):
        spent = time.perf_counter() - begun
        if step > 0 and clock.seconds[-1] > budget and (step > 1 or job.warmup == 0):
            raise TooSlow(f"one step took {clock.seconds[-1]:.1f} s, the budget is {budget:g} s")
        counts = step >= job.warmup or (step > 0 and spent > WARMUP_SHARE * budget)
        if counts and (timed == job.steps or (spent >= budget and timed >= FEWEST_STEPS)):
            return
        timed += counts
        yield counts
