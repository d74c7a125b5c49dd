"""The hot paths in `tests/bench`, timed by pytest-benchmark under one checkout: its JSON in, seconds by stage out.

The benchmarks are those of the revision that asks, as the stages are; what they import is CHECKOUT's. So there is one
verdict on both. Benchmarks of what is a stage already are left out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..code import ROOT

FOLDER = ROOT / "tests" / "bench"
PREFIX = "bench/"
STAGES = ("test_training_step", "test_scoring")  # stages.py times these, in the same processes
# Long enough for a median, short enough for many processes: the spread between processes is the larger part.
SETTINGS = ("--benchmark-enable", "--benchmark-only", "--benchmark-max-time=0.2", "--benchmark-min-rounds=5",
            "--benchmark-warmup=on", "--benchmark-warmup-iterations=1", "--benchmark-disable-gc")  # fmt: skip


def command(out: Path, only: Sequence[str] | None, python: str = sys.executable) -> list[str]:
    """What times the benchmarks, or those among the stages ``only``, and writes pytest-benchmark's JSON to ``out``."""
    chosen = " and ".join(f"not {name}" for name in STAGES)
    if only is not None:
        names = {re.split(r"[\[/]", stage.removeprefix(PREFIX))[0] for stage in mine(only)}
        chosen += f" and ({' or '.join(f'test_{name}' for name in sorted(names))})"
    plain = ("-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(FOLDER))
    return [python, "-m", "pytest", str(FOLDER), *plain, *SETTINGS, f"--benchmark-json={out}", "-k", chosen]  # fmt: skip


def mine(only: Sequence[str]) -> list[str]:
    """The stages among ``only`` that are benchmarks."""
    return [stage for stage in only if stage.startswith(PREFIX)]


def run(
    variables: Mapping[str, str], folder: Path, only: Sequence[str] | None, limit_s: float
) -> dict[str, dict]:
    """Seconds by stage, the median over a benchmark's rounds, or why there are none.

    Raises:
        subprocess.TimeoutExpired: they took longer than ``limit_s``.
    """
    if only is not None and not mine(only):
        return {}
    out = folder / "bench.json"
    done = subprocess.run(
        command(out, only), cwd=folder, env=dict(variables), capture_output=True, text=True, timeout=limit_s,
    )  # fmt: skip
    found = read(out) if out.exists() and out.stat().st_size else {}
    if done.returncode:  # a benchmark failed, or the other revision lacks what one imports
        said = re.findall(r"^E\s+(\w*(?:Error|Exception)\b.*)$", done.stdout, flags=re.MULTILINE)
        why = said[0] if said else (done.stdout.strip().splitlines() or ["no message"])[-1]
        return {**found, "bench": {"error": why}}
    return found


def read(file: Path) -> dict[str, dict]:
    """Seconds by stage of a file that pytest-benchmark wrote."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return {
        PREFIX + entry["name"].removeprefix("test_"): {"s": entry["stats"]["median"]}
        for entry in content["benchmarks"]
    }
