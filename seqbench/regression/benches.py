"""The hot paths in `tests/bench`, timed by pytest-benchmark under one checkout: its JSON in, seconds by stage out.

The benchmarks are those of the revision that asks, as the stages are; what they import is CHECKOUT's. So there is one
verdict on both. Benchmarks of what is a stage already are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from ..code import ROOT

FOLDER = ROOT / "tests" / "bench"
PREFIX = "bench/"
# Left out: what stages.py times in the same process, and one that takes longer than all others.
STAGES = ("test_training_step", "test_scoring", "2048")
# Long enough for a few rounds, short enough for many processes: the spread between processes is the larger part.
SETTINGS = ("--benchmark-enable", "--benchmark-only", "--benchmark-max-time=0.1", "--benchmark-min-rounds=5",
            "--benchmark-warmup=on", "--benchmark-warmup-iterations=1", "--benchmark-disable-gc")  # fmt: skip


def arguments(out: Path, only: Sequence[str] | None) -> list[str]:
    """pytest's arguments to time the benchmarks, or those among the stages ``only``; none if there are none among them.

    The JSON goes to ``out``. pytest runs in the process of the stages, whose imports are most of what a process costs.
    """
    chosen = " and ".join(f"not {name}" for name in STAGES)
    if only is not None:
        names = {re.split(r"[\[/]", stage.removeprefix(PREFIX))[0] for stage in mine(only)}
        if not names:
            return []
        chosen += f" and ({' or '.join(f'test_{name}' for name in sorted(names))})"
    plain = ("-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(FOLDER))
    return [str(FOLDER), *plain, *SETTINGS, f"--benchmark-json={out}", "-k", chosen]


def mine(only: Sequence[str]) -> list[str]:
    """The stages among ``only`` that are benchmarks."""
    return [stage for stage in only if stage.startswith(PREFIX)]


def read(file: Path) -> dict[str, dict]:
    """Seconds by stage, the least of its rounds, of a file that pytest-benchmark wrote; nothing if there is none."""
    if not file.exists() or not file.stat().st_size:
        return {}
    content = json.loads(file.read_text(encoding="utf-8"))
    return {
        PREFIX + entry["name"].removeprefix("test_"): {"s": entry["stats"]["min"]}
        for entry in content["benchmarks"]
    }
