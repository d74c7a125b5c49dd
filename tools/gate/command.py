"""``python -m tools.gate``: both tiers, their output, and the line of history that they leave."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from seqbench.core import provenance
from seqbench.core.errors import UserError
from seqbench.core.provenance import ROOT
from seqbench.hardware.environment import environment

from . import benches, golden, history, output, pairs, revisions, workbench
from .output import Result
from .pairs import Comparison
from .workers import Workers


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
    output.clear(out)
    start = time.monotonic()
    if base:
        revisions.commit(base)  # a name that is none is said before anything is measured
    _say("tier 1: counts and golden metrics")
    changes = golden.check()
    found, reason = None, ""
    if base:
        with revisions.worktree(base) as other:
            found, reason = against(other, head, budget_s)
    facts = environment("cpu", 1)
    about = {
        "machine": facts["machine_name"], "base": base or "none", "head": revision(),
        "blocks": found.full_blocks() if found else 0, "seconds": round(time.monotonic() - start),
    }  # fmt: skip
    result = Result(changes, found.verdicts() if found else None, about, reason)
    output.write(result, out)
    if found:
        history.append(out / history.FILE, facts, about["head"], found)
    print(output.to_text(result))
    return output.STATUS[result.outcome]


def against(
    base: Path, head: Path, budget_s: float, data: Path | None = None
) -> tuple[Comparison | None, str]:
    """Compare two checkouts; nothing, and why, if they cannot be compared at all. ``data``: a workbench, if there is one."""
    if not benches.counts():
        return (
            None,
            "this system does not count how long a thread waits for the CPU (/proc/self/task/*/schedstat, Linux)",
        )
    pythons = {"base": sys.executable, "head": sys.executable}
    try:
        if revisions.pins(base) != revisions.pins(head):
            _say("tier 2: base has other pins; making its own environment")
            pythons["base"] = revisions.interpreter(base)
    except UserError as error:
        return None, f"base cannot be run: {error}"
    _say("tier 2: base against head, processes of both on one CPU")
    with tempfile.TemporaryDirectory() as folder:
        workers = Workers({"base": base, "head": head}, data or workbench.make(Path(folder)), pythons)  # fmt: skip
        found = pairs.compare(workers, budget_s, say=_say)
    if not found.timed():
        why = next((v.reason for v in found.verdicts()), "nothing was run")
        return found, f"nothing could be compared: {why}"
    return found, ""


def revision() -> str:
    """What head is; changes that are not committed are said."""
    identity = provenance.provenance("")
    return (identity["revision"] or "unknown") + ("-dirty" if identity["dirty"] else "")


def _say(text: str) -> None:
    print(f"regression: {text}", file=sys.stderr, flush=True)
