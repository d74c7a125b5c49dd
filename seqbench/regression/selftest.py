"""The gate proves itself: changes whose effect is known are planted in copies of the checkout, and it must say so.

    model          10 % more time in SASRec's training step      tier 2 fails and names it
    preparing      10 % more time in preparing data               tier 2 fails and names it
    documentation  a line in the README                           passes
    activations    1 % more bytes kept for the backward pass      tier 1 fails and names them
    metric         another discount in NDCG                       tier 1 fails and names it

``collect`` runs blocks of equal and of slowed checkouts; ``rates`` resamples them into a rate of detection and of false alarms.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..code import ROOT
from . import golden, pairs, verdict, workbench

# Appended to a module: its function takes a share longer by waiting for the clock, whatever the machine.
WAIT = """

import time as _time

def _longer(function, share):
    def run(*args, **kwargs):
        start = _time.perf_counter()
        result = function(*args, **kwargs)
        end = start + (1 + share) * (_time.perf_counter() - start)
        while _time.perf_counter() < end:
            pass
        return result
    return run

"""
SLOW_STEP = (
    WAIT
    + """
def training_step(model, *args, _step=training_step):
    return (_longer(_step, 0.10) if type(model).__module__ == "models.sasrec" else _step)(model, *args)
"""
)
KEEP_MORE = """

_forward = Model.hidden
def _keeping(self, items):
    x = _forward(self, items)
    more = torch.ones({n}, requires_grad=True)
    return x + 0 * (more * more).sum()
Model.hidden = _keeping
import torch
"""


@dataclass(frozen=True)
class Plant:
    """A change: text appended to, or replaced in, a file; whose names must be blamed, by a prefix; by which tier."""

    name: str
    file: str
    text: str
    blamed: str = ""
    tier: int = 0
    instead_of: str = ""


@dataclass(frozen=True)
class Case:
    """What the gate said of a plant: ``right`` if it failed where it must, and named nothing else."""

    plant: str
    expected: str
    said: str
    right: bool
    seconds: float


def plants() -> list[Plant]:
    """Every planted change; the kept bytes are a hundredth of what SASRec's step keeps at the shorter length."""
    known = json.loads(golden.FILE.read_text(encoding="utf-8"))["by_torch"][golden.torch_version()]
    kept = known["sasrec/L50/train/saved_bytes"]["value"]
    return [
        Plant("model", "seqbench/train.py", SLOW_STEP, "train/sasrec/", 2),
        Plant(
            "preparing",
            "seqbench/data/pipeline.py",
            WAIT + "build = _longer(build, 0.10)\n",
            "prepare",
            2,
        ),
        Plant("documentation", "README.md", "\nOne more line.\n"),
        Plant("activations", "models/sasrec.py", KEEP_MORE.format(n=kept // 400), "sasrec/", 1),
        Plant(
            "metric",
            "seqbench/metrics.py",
            "np.log2(1.02 + rank)",
            "/ndcg@10",
            1,
            "np.log2(1.0 + rank)",
        ),
    ]


@contextmanager
def planted(plant: Plant | None) -> Iterator[Path]:
    """A copy of this checkout, uncommitted changes included, with a change planted."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        if plant:
            file = copy / plant.file
            text = file.read_text(encoding="utf-8")
            if plant.instead_of and plant.instead_of not in text:
                raise ValueError(
                    f"{plant.file} has no {plant.instead_of!r}: the plant {plant.name} must be renewed"
                )
            file.write_text(
                text.replace(plant.instead_of, plant.text)
                if plant.instead_of
                else text + plant.text
            )
        yield copy


def selftest(budget_s: float, repeats: int, say: Callable[[str], None] = print) -> list[Case]:
    """Plant every change ``repeats`` times and judge what the gate says; ``budget_s``: of each comparison of times."""
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        data = workbench.make(Path(folder))
        for plant in plants():
            for _ in range(repeats):
                cases.append(_case(plant, data, budget_s))
                c = cases[-1]
                say(
                    f"{c.plant:14} {'right' if c.right else 'WRONG':6} expected {c.expected}; said {c.said} ({c.seconds:.0f} s)"
                )
    return cases


def _case(plant: Plant, data: Path, budget_s: float) -> Case:
    start = time.monotonic()
    with planted(plant) as head:
        changes = {c.name for c in golden.compare(_golden(), _probe(head))}
        slower: set[str] = set()
        if plant.tier != 1:  # a change of counts says nothing about times
            found = pairs.compare(pairs.runner({"base": ROOT, "head": head}, data), budget_s)
            slower = {v.stage for v in found.verdicts() if v.verdict == verdict.SLOWER}
    named = changes if plant.tier == 1 else slower
    others = (slower if plant.tier == 1 else changes) | {n for n in named if plant.blamed not in n}
    right = (bool(named) or not plant.tier) and not others
    expected = f"tier {plant.tier} names {plant.blamed}" if plant.tier else "passes"
    said = ", ".join(sorted(changes)[:3] + sorted(slower)) or "passes"
    return Case(plant.name, expected, said, right, time.monotonic() - start)


def _golden() -> dict:
    return json.loads(golden.FILE.read_text(encoding="utf-8"))["by_torch"][golden.torch_version()]


def _probe(root: Path) -> golden.Values:
    return golden.run_probe(golden.PORTABLE, root=root)


# --- rates ----------------------------------------------------------------------------------------------------------


def collect(equal: int, slowed: int, out: Path, say: Callable[[str], None] = print) -> None:
    """Write seconds of ``equal`` blocks of this checkout against itself and ``slowed`` against each plant of tier 2."""
    with tempfile.TemporaryDirectory() as folder:
        data = workbench.make(Path(folder))
        for name, count, plant in [
            ("equal", equal, None),
            *((p.name, slowed, p) for p in plants() if p.tier == 2),
        ]:
            with planted(plant) as head:
                run = pairs.runner({"base": ROOT, "head": head}, data)
                found = pairs.Comparison()
                for side in ("base", "head"):
                    run(side, None)
                for block in range(count):
                    pairs.add_block(run, found, None)
                    say(f"{name}: block {block + 1} of {count}")
                    content = {"base": found.base, "head": found.head}
                    out.mkdir(parents=True, exist_ok=True)
                    (out / f"{name}.json").write_text(json.dumps(content))


def rates(
    folder: Path, blocks: Sequence[int] = (4, 6, 8, 12), draws: int = 1000, seed: int = 0
) -> list[dict]:
    """Per plant, stage and number of blocks: share of resampled gates that alarm, and that alarm twice, as a failure needs."""
    rng, found = np.random.default_rng(seed), []
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text())
        for stage, base in content["base"].items():
            logs = verdict.changes(np.array(base), np.array(content["head"][stage]))
            for count in blocks:
                alarms = [[_alarms(logs, count, rng) for _ in range(draws)] for _ in range(2)]
                both = np.logical_and(*alarms)
                row = {"planted": file.stem, "stage": stage, "blocks": count, "of": len(logs)}
                found.append(
                    {**row, "alarm": float(np.mean(alarms[0])), "failure": float(np.mean(both))}
                )
    return found


def _alarms(logs: np.ndarray, count: int, rng: np.random.Generator) -> bool:
    return verdict.alarm(
        verdict.estimate(logs[rng.integers(0, len(logs), count)], int(rng.integers(2**31)))
    )


def write(cases: list[Case], out: Path) -> bool:
    """`selftest.json` in a folder; whether every case was right."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "selftest.json").write_text(json.dumps([asdict(c) for c in cases], indent=1) + "\n")
    wrong = [c for c in cases if not c.right]
    print(f"selftest: {len(cases) - len(wrong)} of {len(cases)} right", file=sys.stderr)
    return not wrong
