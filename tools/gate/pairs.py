"""Tier 2's plan: blocks of pairs until everything is settled or the budget ends, then new blocks that confirm alarms.

Every block after the fewest that say anything runs only what is not settled yet. What runs a block is handed in: processes
(`workers.py`), or measured blocks drawn again (`rates.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from . import verdict
from .verdict import Verdict

STARTING = 0.25  # of a block of all stages goes into starting its processes
CONFIRMING = 0.2  # share of the budget that is kept for confirming alarms while there are any
Block = dict[
    str, dict[str, Any]
]  # stage -> {"change", "own": log ratios, "base", "head": seconds; two each} or {"error": why, "side": "base", "head" or "both"}


class Runner(Protocol):
    """What runs blocks."""

    def warm(self) -> None:
        """Compile what is compiled once."""

    def block(self, only: Sequence[str] | None) -> Block:
        """What all stages took, or those named."""


@dataclass
class Comparison:
    """A row per block by stage: log ratios of head to base (B, 2), of each side to itself (B, 2), of blocks that confirm; seconds of
    base (B, 2) and head (B, 2); failures.

    blocks: everything that was measured, in order, confirming blocks included: {"took_s": seconds, "all": whether of all stages,
    "stages": the block}. warm_s: what compiling took before them; seconds: of everything.
    """

    change: dict[str, list[list[float]]] = field(default_factory=dict)
    own: dict[str, list[list[float]]] = field(default_factory=dict)
    base: dict[str, list[list[float]]] = field(default_factory=dict)
    head: dict[str, list[list[float]]] = field(default_factory=dict)
    confirming: dict[str, list[list[float]]] = field(default_factory=dict)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)  # stage -> side, why
    blocks: list[dict[str, Any]] = field(default_factory=list)
    warm_s: float = 0.0
    seconds: float = 0.0

    def verdict(self, stage: str) -> Verdict:
        """What is said of one stage."""
        if stage in self.failed:
            side, why = self.failed[stage]
            said = verdict.BROKEN if side == "head" else verdict.GONE
            return Verdict(stage, said, None, None, f"{side}: {why}")
        new = self.confirming.get(stage)
        change, own = np.array(self.change[stage]), np.array(self.own[stage])
        return verdict.judge(stage, change, own, None if new is None else np.array(new))

    def verdicts(self) -> list[Verdict]:
        """One per stage, those that cannot be compared last."""
        return [self.verdict(stage) for stage in (*self.timed(), *self.failed)]

    def timed(self) -> list[str]:
        """Stages that both sides have run so far."""
        return [stage for stage in self.change if stage not in self.failed]

    def full_blocks(self) -> int:
        """How many blocks of all stages there are."""
        return max((len(rows) for rows in self.change.values()), default=0)

    def add(self, block: Block, confirms: bool = False) -> None:
        """Take in a block. A stage that failed once is not compared, whatever other blocks say of it."""
        for stage, result in block.items():
            if "error" in result:
                self.failed.setdefault(stage, (result["side"], result["error"]))
            elif confirms:
                self.confirming.setdefault(stage, []).append(result["change"])
            else:
                for name in ("change", "own", "base", "head"):
                    getattr(self, name).setdefault(stage, []).append(result[name])


def run(
    runner: Runner, found: Comparison, only: Sequence[str] | None, confirms: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> float:  # fmt: skip
    """Run one block, take it in, and return how many seconds it took."""
    start = clock()
    block = runner.block(only)
    took = clock() - start
    found.blocks.append({"took_s": round(took, 2), "all": only is None, "stages": block})
    found.add(block, confirms)
    return took


def compare(
    runner: Runner,
    budget_s: float,
    clock: Callable[[], float] = time.monotonic,
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Run blocks until all is settled, or as long as the next one is expected to end within ``budget_s``."""
    start, found = clock(), Comparison()
    runner.warm()
    found.warm_s = clock() - start
    last = 0.0  # seconds of the block before, as a guess at the next one's
    while True:
        before, enough = clock(), found.full_blocks() >= verdict.FEWEST
        left = [s for s in found.timed() if found.verdict(s).open]
        waits = any(found.verdict(s).waits for s in found.timed())
        if found.blocks and not left:
            break
        if enough and found.full_blocks() == verdict.FEWEST:  # the first block of a few stages only
            last = _part(found, left)
        if before - start + last > budget_s * (1 - CONFIRMING if waits else 1):
            break
        last = run(runner, found, left if enough else None, clock=clock)
        timed = found.timed()
        settled = sum(not found.verdict(s).open for s in timed)
        say(
            f"block {found.full_blocks()}: {settled} of {len(timed)} stages settled, {clock() - start:.0f} s"
        )
    _confirm(runner, found, start + budget_s, clock, say)
    found.seconds = clock() - start
    return found


def _confirm(
    runner: Runner, found: Comparison, end: float, clock: Callable[[], float], say: Callable[[str], None]
) -> None:  # fmt: skip
    """Run what raised an alarm again, alone, until new blocks have said something of each; none that would not be enough."""
    last, missing = 0.0, verdict.FEWEST_AGAIN
    while alarms := [s for s in found.timed() if found.verdict(s).waits]:
        last = last or _part(found, alarms)
        if clock() + max(1, missing) * last > end:
            return
        last = run(runner, found, alarms, confirms=True, clock=clock)
        missing -= 1
        say(f"confirming {', '.join(alarms)}, {end - clock():.0f} s left")


def _part(found: Comparison, stages: Sequence[str]) -> float:
    """Seconds that a block of these stages alone will take, from those of the last block of all."""
    full = [block["took_s"] for block in found.blocks if block["all"]][-1]
    return full * (STARTING + (1 - STARTING) * len(stages) / len(found.timed()))
