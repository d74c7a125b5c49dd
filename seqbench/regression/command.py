"""``python -m seqbench regression``: both tiers, their output, and the line of history that they leave."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from .. import code
from ..code import ROOT
from ..environment import environment
from . import golden, history, output, pairs, workbench
from .output import Result


def regression(
    base: str | None, budget_s: float, out: Path, accept: bool, head: Path = ROOT
) -> int:
    """Run tier 1, and tier 2 against ``base`` if one is named; exit status 0 passed, 1 failed, 3 cannot tell."""
    if accept:
        changes = golden.accept()
        for change in changes or ["nothing has changed"]:
            print(change)
        print(
            f"written: {golden.FILE.relative_to(ROOT)} for torch {golden.torch_version()}",
            file=sys.stderr,
        )
        return 0
    start = time.monotonic()
    _say("tier 1: counts and golden metrics")
    changes = golden.check()
    verdicts, reason, found = None, "", None
    if base:
        with ExitStack() as stack:
            other = stack.enter_context(pairs.worktree(base))
            if pairs.pins(other) != pairs.pins(head):
                reason = (
                    f"{base} has other pinned packages: its times are not those of its code alone"
                )
            else:
                found = _pairs(other, head, budget_s)
                verdicts = found.verdicts()
                reason = (
                    ""
                    if found.base
                    else f"{budget_s:g} s were not enough for one block; raise --budget-s"
                )
    facts = environment("cpu", 1)
    about = {
        "machine": facts["machine_name"], "base": base or "none", "head": code.identity([])["revision"] or "unknown",
        "blocks": max((len(b) for b in found.base.values()), default=0) if found else 0,
        "seconds": round(time.monotonic() - start),
    }  # fmt: skip
    result = Result(changes, verdicts, about, reason)
    output.write(result, out)
    if found:
        history.append(out / history.FILE, facts, about["head"], found)
    print(output.to_text(result))
    return output.STATUS[result.outcome]


def _pairs(base: Path, head: Path, budget_s: float) -> pairs.Comparison:
    _say("tier 2: base against head, a process per side and pair")
    with tempfile.TemporaryDirectory() as folder:
        data = workbench.make(Path(folder))
        return pairs.compare(pairs.runner({"base": base, "head": head}, data), budget_s, say=_say)


def _say(text: str) -> None:
    print(f"regression: {text}", file=sys.stderr, flush=True)
