"""Tier 2's processes: two of base and two of head, alive together, which share one CPU while a stage is timed.

A pair is one process of base and one of head; a block is two such pairs, in fresh processes, whose layout in memory differs. All four
run a stage at the same time on the same CPU, so that the kernel changes between them every few milliseconds and whatever the
machine does meets all alike (as in Bulej et al. 2020, "Duet benchmarking", but on one CPU and with more than one pair). What
each took is its time on the wall without that in which the others had the CPU (`benches.clock`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from . import benches
from .pairs import Block
from .process import Lost, Place, Worker

ORDER = ("base", "head", "head", "base")
ELSEWHERE = 0.05  # share of CPU time in other threads and processes, which a worker's clock does not see, that is let pass
BOTH = "both"  # neither side is to blame
WARMED = ("train/", "inference/")  # what is compiled once per checkout


class Workers:
    """Runs blocks of two checkouts, each with an interpreter; ``bench``: the folder of benchmarks."""

    def __init__(
        self, roots: Mapping[str, Path], data: Path, pythons: Mapping[str, str], bench: Path = benches.FOLDER
    ) -> None:  # fmt: skip
        self._roots, self._pythons, self._arguments = roots, pythons, (data, bench)

    @contextlib.contextmanager
    def _started(self, sides: Sequence[str]) -> Iterator[list[Worker]]:
        with ExitStack() as stack:
            workers = []
            for side in sides:  # all at once: they import for seconds
                arguments = (self._pythons[side], self._roots[side], *self._arguments)
                workers.append(Worker(side, *arguments))
                stack.callback(workers[-1].close)
            yield workers

    def warm(self) -> None:
        """Let each checkout compile what it caches on disk, both at the same time; what goes wrong shows in a block."""

        def compile_all(worker: Worker) -> None:
            for name in worker.ask("names"):
                if name.startswith(WARMED):
                    worker.ask("make", name)

        with self._started(("base", "head")) as workers, ThreadPoolExecutor(2) as threads:
            for done in [threads.submit(compile_all, worker) for worker in workers]:
                with contextlib.suppress(Lost):
                    done.result()

    def block(self, only: Sequence[str] | None = None) -> Block:
        """Every stage, or those named, as `pairs.Block` says."""
        found: Block = {}
        place = Place()
        with self._started(ORDER) as workers:
            for name in _names(workers):
                if only is None or name in only:
                    found[name] = _stage(workers, name, place)
            if only is None or any(name.startswith(benches.PREFIX) for name in only):
                found |= _benchmarks(workers, only, place)
        return found


def _names(workers: Sequence[Worker]) -> list[str]:
    for worker in workers:
        try:
            return worker.ask("names")
        except Lost:
            worker.restart()  # what it may still have to say is not for the next question
    return ["stages"]  # which every worker is lost at, and says why


def _stage(workers: Sequence[Worker], name: str, place: Place) -> dict[str, Any]:
    """One stage: built by all four on any CPU, then run by all four on one. If a process is lost they begin again, once."""
    for _ in range(2):
        wrong: dict[str, str] = {}
        answers = _all_at_once(workers, wrong, "make", name)
        if not wrong:
            with place.one_cpu(workers):
                answers = _all_at_once(workers, wrong, "run")
        if not any("lost" in answer for answer in answers):
            break
    if wrong:
        return _error(wrong)
    elsewhere = max(answer["elsewhere"] for answer in answers)
    if elsewhere > ELSEWHERE:
        why = f"other threads or processes used {elsewhere:.0%} of the CPU time of the one that is timed"
        return {"error": why, "side": BOTH}
    return result([answer["s"] for answer in answers])


def _all_at_once(workers: Sequence[Worker], wrong: dict[str, str], *request: Any) -> list[dict[str, Any]]:  # fmt: skip
    for worker in workers:
        worker.send(*request)
    answers = [_safely(worker) for worker in workers]
    for worker, answer in zip(workers, answers, strict=True):
        _note(wrong, worker, answer)
    return answers


def _safely(worker: Worker) -> dict[str, Any]:
    """Its answer; a lost worker is an error, and a fresh one takes its place."""
    try:
        return worker.answer()
    except Lost as lost:
        worker.restart()
        return {"error": str(lost), "lost": True}


def _note(wrong: dict[str, str], worker: Worker, answer: Mapping[str, Any]) -> None:
    if "error" in answer:
        wrong.setdefault(worker.side, answer["error"])


def _error(wrong: Mapping[str, str]) -> dict[str, Any]:
    """Head's error before base's: the stages are head's own, and its code must run them."""
    side = "head" if "head" in wrong else "base"
    return {"error": wrong[side], "side": side}


def result(seconds: Sequence[Sequence[float]]) -> dict[str, Any]:
    """What a block says of one stage, from the seconds of every run of its four processes, in the order of ``ORDER``.

    The n-th runs of all were made at about the same time: a ratio is the median of theirs.
    """
    runs = min(map(len, seconds))
    table = np.array([s[:runs] for s in seconds])
    if not (table > 0).all():
        return {"error": "a run took no time by the clock of its process", "side": BOTH}
    first, second, third, last = np.log(table)
    medians = np.median(table, axis=1)
    return {
        "change": [float(np.median(second - first)), float(np.median(third - last))],
        "own": [float(np.median(last - first)), float(np.median(third - second))],
        "base": medians[[0, 3]].tolist(),
        "head": medians[[1, 2]].tolist(),
    }


# --- benchmarks -----------------------------------------------------------------------------------------------------


def _benchmarks(workers: Sequence[Worker], only: Sequence[str] | None, place: Place) -> Block:
    """All benchmarks that head has, or those among ``only``: one pytest per process, the same benchmark in all at a time.

    If a process is lost they begin again, once.
    """
    found: Block = {}
    for _ in range(2):
        try:
            return _one_by_one(workers, only, place)
        except Lost as lost:
            found = {"bench": {"error": str(lost), "side": lost.side}}
            for worker in workers:
                worker.restart()
    return found


def _one_by_one(workers: Sequence[Worker], only: Sequence[str] | None, place: Place) -> Block:
    for worker in workers:
        worker.send("benches")
    told = [worker.answer() for worker in workers]
    wrong: dict[str, str] = {}
    for worker, answer in zip(workers, told, strict=True):
        _note(wrong, worker, answer)
    if wrong:
        return {"bench": _error(wrong)}  # the others wait until the block ends and closes them
    names = dict.fromkeys(name for answer in told for name in answer["names"])
    ended = {}
    for name in names:
        if only is None or name in only:
            having = [w for w, a in zip(workers, told, strict=True) if name in a["names"]]
            ended[name] = _rounds(having, name, place)
    for worker in workers:
        worker.word(None)
    seconds = [worker.answer()["s"] for worker in workers]
    found = {
        name: _benchmark(workers, outcomes, [s.get(name, ()) for s in seconds])
        for name, outcomes in ended.items()
    }
    return {name: block for name, block in found.items() if block}


def _benchmark(
    workers: Sequence[Worker], outcomes: Mapping[Worker, str], rounds: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """One benchmark from how it ended in each process that has it; nothing if it is skipped everywhere."""
    if set(outcomes.values()) == {benches.SKIPPED}:
        return {}
    wrong: dict[str, str] = {}
    for worker, timed in zip(workers, rounds, strict=True):
        outcome = outcomes.get(worker, "there is no such benchmark")
        if outcome != benches.PASSED:
            wrong.setdefault(worker.side, outcome)
        elif not timed:
            wrong.setdefault(worker.side, "it timed nothing")
    return _error(wrong) if wrong else result(rounds)


def _rounds(workers: Sequence[Worker], name: str, place: Place) -> dict[Worker, str]:
    """One benchmark: prepared by all on any CPU, then run by all on one; how it ended in each."""
    for worker in workers:
        worker.word(name)
    said = {worker: worker.answer() for worker in workers}
    ready = [worker for worker, answer in said.items() if not answer["done"]]
    with place.one_cpu(ready):
        for worker in ready:
            worker.word(name)
        said |= {worker: worker.answer() for worker in ready}
    return {worker: answer["outcome"] for worker, answer in said.items()}
