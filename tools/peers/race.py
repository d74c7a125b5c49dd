"""The race: all contestants are started one after the other, then asked in rotating order, one at a time.

The idle ones block on their input. A contestant that fails is out with its reason; the others go on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .contestants import Contestant
from .process import Failed, Worker

WARMUP = 2  # steps before the first round, at least; reported apart
WARMUP_S = 2.0  # further ones that fit into it
ROUNDS = 12
FEWEST_ROUNDS = 3  # whatever the budget says: fewer give no interval
EVALUATION_SHARE = 0.2  # of the budget, kept for the evaluation passes
MOST_STEPS = 200  # per round and contestant
ANSWER_LIMIT_S = 300.0


@dataclass
class Lane:
    """What one contestant did: facts, samples of every round, and why it stopped early if it did."""

    contestant: Contestant
    failure: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    start_s: float | None = None  # from starting the process to ready
    warmup: dict[str, list] = field(default_factory=dict)
    rounds: list[dict[str, list]] = field(default_factory=list)
    evaluation: dict[str, Any] = field(default_factory=dict)
    peak_rss_bytes: int | None = None
    worker: Worker | None = None

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn a failure inside into this lane's reason and end its worker."""
        try:
            yield
        except Failed as failure:
            self.failure = str(failure)
            print(f"bench-peers: {self.contestant.label}: {failure}", file=sys.stderr)
            self.close()

    def close(self) -> None:
        """End the worker if there is one."""
        if self.worker:
            self.worker.close()
            self.worker = None


def race(
    contestants: list[Contestant], variables: dict[str, str], logs: Path, budget_s: float,
    clock: Callable[[], float] = time.monotonic, warmup_s: float = WARMUP_S,
) -> list[Lane]:  # fmt: skip
    """Start, warm up, train in rounds, evaluate and end all contestants within about ``budget_s`` seconds."""
    began = clock()
    lanes = [Lane(contestant) for contestant in contestants]
    try:
        for lane in lanes:
            _start(lane, variables, logs)
        for lane in _running(lanes):
            _say(f"warming up {lane.contestant.label}")
            with lane.guard():
                _warm_up(lane, warmup_s)
        _train(lanes, began + (1 - EVALUATION_SHARE) * budget_s, clock)
        for lane in _running(lanes):
            _finish(lane)
    finally:
        for lane in lanes:
            lane.close()
    return lanes


def _start(lane: Lane, variables: dict[str, str], logs: Path) -> None:
    _say(f"starting {lane.contestant.label}")
    start = time.perf_counter()
    with lane.guard():
        log = logs / f"{lane.contestant.key}.log"
        lane.worker = Worker(lane.contestant.command(), variables, log)
        lane.facts = lane.worker.receive(ANSWER_LIMIT_S)
        lane.start_s = time.perf_counter() - start


def _warm_up(lane: Lane, seconds: float) -> None:
    """Two steps, and as many more as fit into ``seconds``: products are compiled for every size of a batch."""
    lane.warmup = lane.worker.ask(f"train {WARMUP}", ANSWER_LIMIT_S)
    more = min(int(seconds / lane.warmup["step_s"][-1]), MOST_STEPS)
    if more:
        further = lane.worker.ask(f"train {more}", ANSWER_LIMIT_S)
        lane.warmup = {key: [*values, *further[key]] for key, values in lane.warmup.items()}


def _train(lanes: list[Lane], deadline: float, clock: Callable[[], float]) -> None:
    """Rounds until the deadline; a round is begun when the longest one so far would still end in time."""
    share = max(deadline - clock(), 0.0) / ROUNDS / max(len(_running(lanes)), 1)
    steps = {lane.contestant.key: steps_in(share, lane.warmup) for lane in _running(lanes)}
    longest = 0.0
    for round_ in range(ROUNDS):
        start = clock()
        if round_ >= FEWEST_ROUNDS and start + longest > deadline:
            break
        _say(f"round {round_ + 1} of at most {ROUNDS}")
        for lane in rotated(_running(lanes), round_):
            with lane.guard():
                asked = f"train {steps[lane.contestant.key]}"
                lane.rounds.append(lane.worker.ask(asked, ANSWER_LIMIT_S))
        longest = max(longest, clock() - start)


def _finish(lane: Lane) -> None:
    """One evaluation pass, then the peak of memory; its process is gone before the next one's pass begins."""
    _say(f"evaluating {lane.contestant.label}")
    with lane.guard():
        lane.evaluation = lane.worker.ask("evaluate", ANSWER_LIMIT_S)
        lane.peak_rss_bytes = lane.worker.ask("quit", ANSWER_LIMIT_S)["peak_rss_bytes"]
    lane.close()


def steps_in(seconds: float, warmup: dict[str, list]) -> int:
    """Steps of one round: as many as fit into ``seconds``, at least one."""
    return min(max(int(seconds / warmup["step_s"][-1]), 1), MOST_STEPS)


def rotated(lanes: list[Lane], round_: int) -> list[Lane]:
    """The lanes, begun at another one each round."""
    turn = round_ % len(lanes) if lanes else 0
    return lanes[turn:] + lanes[:turn]


def _running(lanes: list[Lane]) -> list[Lane]:
    return [lane for lane in lanes if lane.worker]


def _say(text: str) -> None:
    print(f"bench-peers: {text}", file=sys.stderr, flush=True)
