"""The gate proves itself: changes whose effect is known are planted in copies of the checkout, and it must say so.

    model          10 % more time in SASRec's training step      tier 2 fails and names it
    preparing      10 % more time in preparing data               tier 2 fails and names it
    documentation  a line in the README                           passes
    activations    1 % more bytes kept for the backward pass      tier 1 fails and names them
    metric         another discount in NDCG                       tier 1 fails and names it

Every comparison leaves its seconds, ``collect`` makes more of them without judging; rates.py resamples them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import code
from ..code import ROOT
from ..environment import environment
from ..errors import UserError
from . import golden, history, pairs, verdict, workbench

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


def selftest(
    budget_s: float, repeats: int, out: Path, names: list[str] | None = None,
    say: Callable[[str], None] = print,
) -> list[Case]:  # fmt: skip
    """Plant every change, or those named, ``repeats`` times and judge what the gate says; ``budget_s``: of each comparison of times.

    The seconds behind each judgement go to ``out``/blocks, those of the checkout as it is also to ``out``/history.jsonl.

    Raises:
        UserError: there is no plant of a name.
    """
    cases, known = [], {plant.name: plant for plant in plants()}
    for name in names or ():
        if name not in known:
            raise UserError(f"--plants: there is no plant {name!r}; there are: {', '.join(known)}")
    with tempfile.TemporaryDirectory() as folder:
        data = workbench.make(Path(folder))
        for plant in [known[name] for name in names or known]:
            for _ in range(repeats):
                cases.append(_case(plant, data, budget_s, _free(out / "blocks", plant.name)))
                write(cases, out)
                c = cases[-1]
                say(
                    f"{c.plant:14} {'right' if c.right else 'WRONG':6} expected {c.expected}; said {c.said} ({c.seconds:.0f} s)"
                )
    return cases


def _case(plant: Plant, data: Path, budget_s: float, file: Path) -> Case:
    start = time.monotonic()
    with planted(plant) as head:
        changes = {c.name for c in golden.compare(_golden(), _probe(head))}
        slower: set[str] = set()
        if plant.tier != 1:  # a change of counts says nothing about times
            found = pairs.compare(pairs.runner({"base": ROOT, "head": head}, data), budget_s)
            _write_blocks(found, file)
            calm = pairs.Comparison(head=found.base)  # the checkout as it is, whatever was planted
            revision = code.identity([])["revision"] or "unknown"
            history.append(file.parent.parent / history.FILE, environment("cpu", 1), revision, calm)
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


# --- more blocks ----------------------------------------------------------------------------------------------------


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
                    run(side, pairs.WARMING)
                file = _free(out, name)
                for block in range(count):
                    pairs.add_block(run, found, None)
                    say(f"{name}: block {block + 1} of {count}")
                    _write_blocks(found, file)


def _write_blocks(found: pairs.Comparison, file: Path) -> None:
    """The raw seconds of a comparison; those of the blocks that only confirmed something are left out."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"base": found.base, "head": found.head}) + "\n")


def _free(folder: Path, name: str) -> Path:
    """The next file of a plant that does not exist yet: nothing that was measured is overwritten."""
    numbers = (n for n in range(10_000) if not (folder / f"{name}-{n}.json").exists())
    return folder / f"{name}-{next(numbers)}.json"


def write(cases: list[Case], out: Path) -> None:
    """`selftest.json` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "selftest.json").write_text(json.dumps([asdict(c) for c in cases], indent=1) + "\n")


def judged(cases: list[Case]) -> bool:
    """Whether every case was right; says how many were."""
    right = sum(c.right for c in cases)
    print(f"selftest: {right} of {len(cases)} right", file=sys.stderr)
    return right == len(cases)
