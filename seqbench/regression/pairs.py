"""Tier 2's runner: two revisions, one machine, one job; a process per side and pair runs all stages and benchmarks.

Blocks of four processes in the order base, head, head, base. More blocks, of what is not settled yet, until the budget ends;
stages that raise an alarm are run again alone, and only new pairs confirm it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..code import ROOT
from ..environment import worker_environment
from ..errors import UserError
from . import benches, verdict
from .verdict import Verdict

ORDER = ("base", "head", "head", "base")
STAGES = Path(__file__).with_name("stages.py")
LIMIT_S = 300.0  # of one process
ABSENT = "it was not run"
WARMING = ["train/", "inference/"]  # what the first process of each side runs: it compiles
GRACE = 1 / 3  # of the budget, beyond it: for the fewest blocks that say anything, and to confirm
STARTING = 0.35  # of a process of all stages goes into starting it
CONFIRMING = 0.2  # share of the budget that is kept for confirming alarms, once there are blocks enough to say anything
Run = Callable[[str, list[str] | None], dict[str, dict]]  # side, stages -> what stages.py wrote


@dataclass
class Comparison:
    """Seconds by stage and side, a row per block: base (B, 2), head (B, 2); log ratios of confirming blocks; failures."""

    base: dict[str, list[list[float]]] = field(default_factory=dict)
    head: dict[str, list[list[float]]] = field(default_factory=dict)
    confirming: dict[str, list[list[float]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def verdicts(self) -> list[Verdict]:
        """One per stage, those that cannot be compared last."""
        found = []
        for stage, base in self.base.items():
            new = self.confirming.get(stage)
            found.append(
                verdict.judge(
                    stage,
                    np.array(base),
                    np.array(self.head[stage]),
                    None if new is None else np.array(new),
                )
            )
        return found + [
            Verdict(stage, verdict.GONE, None, None, why) for stage, why in self.failed.items()
        ]


def compare(
    run: Run,
    budget_s: float,
    clock: Callable[[], float] = time.monotonic,
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Run blocks until all is settled or ``budget_s`` is over; the first process of each side only warms up.

    A run that would say nothing, for want of one block or of a confirmation, may take ``GRACE`` more.
    """
    start, found = clock(), Comparison()
    for side in ("base", "head"):
        for stage, result in run(side, WARMING).items():
            if "error" in result:
                found.failed.setdefault(stage, f"{side}: {result['error']}")
    last = 0.0  # seconds of the block before, as a guess at the next one's
    while not (enough := _blocks(found) >= verdict.FEWEST) or _unsettled(found):
        before, narrow = clock(), _unsettled(found) if enough else None
        if narrow and _blocks(found) == verdict.FEWEST:  # the first block of a few stages only
            last *= STARTING + (1 - STARTING) * len(narrow) / len(found.base)
        if before - start + last >= budget_s * (1 - CONFIRMING if enough else 1 + GRACE):
            break
        add_block(run, found, narrow)
        last = clock() - before
        settled = len(found.base) - len(_unsettled(found))
        say(
            f"block {_blocks(found)}: {settled} of {len(found.base)} stages settled, {clock() - start:.0f} s"
        )
    _confirm_all(run, found, start, budget_s * (1 + GRACE), clock, say)
    found.seconds = clock() - start
    return found


def _confirm_all(
    run: Run, found: Comparison, start: float, until_s: float, clock: Callable[[], float],
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """Run stages that raised an alarm again, alone, until the new blocks have said something of each."""
    alarms, last = _alarms(found), 0.0
    while alarms and clock() - start + last < until_s:
        before = clock()
        _confirm(run, found, alarms)
        last = clock() - before
        done = len(found.confirming[alarms[0]])
        say(f"confirming {', '.join(alarms)}: block {done}, {clock() - start:.0f} s")
        if done >= verdict.FEWEST_AGAIN and all(_said(found, stage) for stage in alarms):
            break


def _blocks(found: Comparison) -> int:
    return max((len(rows) for rows in found.base.values()), default=0)


def add_block(run: Run, found: Comparison, only: list[str] | None) -> None:
    """Run one block of four processes, of all stages or of some, and add its seconds."""
    results = [run(side, only) for side in ORDER]
    for stage in dict.fromkeys(name for r in results for name in r):
        if stage in found.failed:
            continue
        told = [r.get(stage, {"error": ABSENT}) for r in results]
        errors = [
            f"{side}: {t['error']}" for side, t in zip(ORDER, told, strict=True) if "error" in t
        ]
        errors.sort(key=lambda error: error.endswith(ABSENT))  # a reason before a mere absence
        if errors:
            found.failed[stage] = errors[0]
            found.base.pop(stage, None)
            found.head.pop(stage, None)
            continue
        first, second, third, last = (r[stage]["s"] for r in results)
        found.base.setdefault(stage, []).append([first, last])
        found.head.setdefault(stage, []).append([second, third])


def _confirm(run: Run, found: Comparison, alarms: list[str]) -> None:
    new = Comparison()
    add_block(run, new, alarms)
    for stage in alarms:
        if stage in new.base:
            found.confirming.setdefault(stage, []).extend(
                verdict.changes(np.array(new.base[stage]), np.array(new.head[stage])).tolist()
            )
        else:
            found.failed[stage] = new.failed.get(stage, ABSENT)
            found.confirming.setdefault(stage, [])


def _unsettled(found: Comparison) -> list[str]:
    return [
        s
        for s in found.base
        if not verdict.settled(
            verdict.estimate(verdict.changes(np.array(found.base[s]), np.array(found.head[s])))
        )
    ]


def _alarms(found: Comparison) -> list[str]:
    return [
        s
        for s in found.base
        if verdict.alarm(
            verdict.estimate(verdict.changes(np.array(found.base[s]), np.array(found.head[s])))
        )
    ]


def _said(found: Comparison, stage: str) -> bool:
    again = verdict.estimate(np.array(found.confirming[stage]))
    return verdict.alarm(again) or again.low <= 1


# --- processes and revisions ----------------------------------------------------------------------------------------


def runner(roots: dict[str, Path], data: Path, python: str = sys.executable) -> Run:
    """What runs stages.py and the benchmarks once for a side, in a process of their own."""

    def run(side: str, only: list[str] | None) -> dict[str, dict]:
        with tempfile.TemporaryDirectory() as name:
            out, timed = Path(name) / "out.json", Path(name) / "bench.json"
            command = [python, str(STAGES), "--root", str(roots[side])]
            command += ["--data", str(data), "--out", str(out)]
            command += ["--bench", json.dumps(benches.arguments(timed, only))]
            command += [] if only is None else ["--only", *only]
            variables = {**worker_environment(1), "PYTHONPATH": str(roots[side])}
            try:
                done = subprocess.run(
                    command, cwd=name, env=variables, capture_output=True, text=True, timeout=LIMIT_S,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise UserError(
                    f"{side}: one process took more than {LIMIT_S:g} s; the machine is too slow for this"
                ) from None
            if done.returncode or not out.exists():
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise UserError(f"{side}: the worker failed: {last}")
            return json.loads(out.read_text()) | benches.read(timed)

    return run


@contextmanager
def worktree(revision: str) -> Iterator[Path]:
    """A checkout of a revision in a temporary folder, gone afterwards.

    Raises:
        UserError: not a git checkout, or no such revision.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkout"
        _git("worktree", "add", "--detach", str(path), _commit(revision))
        try:
            yield path
        finally:
            subprocess.run(
                ["git", "-C", str(ROOT), "worktree", "remove", "--force", str(path)],
                capture_output=True,
            )


def _commit(revision: str) -> str:
    return _git("rev-parse", "--verify", f"{revision}^{{commit}}").strip()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["failed"])[-1]
        raise UserError(
            f"git {arguments[0]}: {said}; name a revision that this checkout has with --base"
        )
    return done.stdout


def pins(root: Path) -> list[str]:
    """Pinned requirements of a checkout, sorted: equal ones mean that one environment serves both revisions."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    return sorted(set(re.findall(r'"([A-Za-z0-9._-]+==[^";]+)', text)))
