"""The gate proves itself: changes whose effect is known are planted in copies of the checkout, and it must say so.

    model          10 % more time in SASRec's training step      tier 2 fails and names it
    preparing      10 % more time in preparing data               tier 2 fails and names it
    documentation  a line in the README                           passes
    activations    1 % more bytes kept for the backward pass      tier 1 fails and names them
    metric         another discount in NDCG                       tier 1 fails and names it

Every comparison leaves its blocks, ``collect`` measures more of them without judging; rates.py draws them again.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from seqbench.core.errors import UserError
from seqbench.core.provenance import ROOT
from seqbench.hardware.environment import environment

from . import command, golden, history, output, pairs, revisions, verdict, workbench
from .workers import Workers

# Appended to a module: its function computes a share longer, by the clock of its own thread, whatever the machine and its load.
WAIT = """

import time as _time

def _longer(function, share):
    def run(*args, **kwargs):
        start = _time.thread_time()
        result = function(*args, **kwargs)
        end = start + (1 + share) * (_time.thread_time() - start)
        while _time.thread_time() < end:
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
    """What the gate said of a plant. end: `right` if it failed and named that alone, or passed where nothing slows; `cannot tell` if
    it failed nothing and left a stage open; else `wrong`.
    """

    plant: str
    expected: str
    said: str
    end: str
    seconds: float


RIGHT, WRONG = "right", "wrong"


def plants() -> list[Plant]:
    """Every planted change; the kept bytes are a hundredth of what SASRec's step keeps at the shorter length."""
    kept = _golden()["sasrec/L50/train/saved_bytes"]["value"]
    return [
        Plant("model", "seqbench/training/loop.py", SLOW_STEP, "train/sasrec/", 2),
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
            "seqbench/core/metrics.py",
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
        for name in filter(None, revisions.git("ls-files", "-z").split("\0")):
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

    The blocks behind each judgement go to ``out``/blocks, the seconds of the checkout as it is also to ``out``/history.jsonl.

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
                cases.append(_case(plant, data, budget_s, out))
                write(cases, out)
                c = cases[-1]
                say(f"{c.plant:14} {c.end:12} expected {c.expected}; said {c.said} ({c.seconds:.0f} s)")  # fmt: skip
    return cases


def _case(plant: Plant, data: Path, budget_s: float, out: Path) -> Case:
    start = time.monotonic()
    with planted(plant) as head:
        changes = golden.compare(_golden(), _probe(head))
        found, reason = None, ""
        if plant.tier != 1:  # a change of counts says nothing about times
            found, reason = command.against(ROOT, head, budget_s, data)
    if found:
        _write_blocks(found, _free(out / "blocks", plant.name))
        calm = pairs.Comparison(head=found.base)  # the checkout as it is, whatever was planted
        history.append(out / history.FILE, environment("cpu", 1), command.revision(), calm)
    result = output.Result(changes, found.verdicts() if found else None, {}, reason)
    expected = f"tier {plant.tier} names {plant.blamed}" if plant.tier else "passes"
    return Case(plant.name, expected, _said(result), _end(plant, result), time.monotonic() - start)


def _end(plant: Plant, result: output.Result) -> str:
    changes, slower = {c.name for c in result.changes or ()}, set(_slower(result))
    if result.outcome == output.INCONCLUSIVE:
        return verdict.UNSURE
    named, others = (changes, slower) if plant.tier == 1 else (slower, changes)
    others |= {name for name in named if not plant.tier or plant.blamed not in name}
    return RIGHT if bool(named) == bool(plant.tier) and not others else WRONG


def _said(result: output.Result) -> str:
    named = sorted(c.name for c in result.changes or ())[:3] + _slower(result)
    if named:
        return ", ".join(named)
    verdicts = result.verdicts or []
    unsure = [v.stage for v in verdicts if v.verdict in (verdict.UNSURE, verdict.GONE)]
    return result.reason or (f"cannot tell {len(unsure)} of {len(verdicts)} stages" if unsure else "passes")  # fmt: skip


def _slower(result: output.Result) -> list[str]:
    failing = (verdict.SLOWER, verdict.BROKEN)
    return sorted(v.stage for v in result.verdicts or () if v.verdict in failing)


def _golden() -> dict:
    known, torch = json.loads(golden.FILE.read_text(encoding="utf-8"))["by_torch"], golden.torch_version()  # fmt: skip
    if torch not in known:
        raise UserError(
            f"{golden.FILE}: no values for torch {torch}, in which changes could be planted: {golden.ACCEPT}"
        )
    return known[torch]


def _probe(root: Path) -> golden.Values:
    return golden.run_probe(golden.PORTABLE, root=root)


# --- more blocks ----------------------------------------------------------------------------------------------------


def collect(equal: int, slowed: int, out: Path, say: Callable[[str], None] = print) -> None:
    """Measure ``equal`` blocks of this checkout against itself and ``slowed`` against each plant of tier 2."""
    pythons = dict.fromkeys(("base", "head"), sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        data = workbench.make(Path(folder))
        for name, count, plant in [
            ("equal", equal, None),
            *((p.name, slowed, p) for p in plants() if p.tier == 2),
        ]:
            with planted(plant) as head:
                workers, found = Workers({"base": ROOT, "head": head}, data, pythons), pairs.Comparison()  # fmt: skip
                file = _free(out, name)
                for block in range(count):
                    if not block:
                        start = time.monotonic()
                        workers.warm()
                        found.warm_s = time.monotonic() - start
                    pairs.run(workers, found, None)
                    say(f"{name}: block {block + 1} of {count}")
                    _write_blocks(found, file)


def _write_blocks(found: pairs.Comparison, file: Path) -> None:
    """Everything that was measured, block by block."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"warm_s": round(found.warm_s, 2), "blocks": found.blocks}
    file.write_text(json.dumps(content) + "\n")


def _free(folder: Path, name: str) -> Path:
    """The next file of a plant that does not exist yet: nothing that was measured is overwritten."""
    numbers = (n for n in range(10_000) if not (folder / f"{name}-{n}.json").exists())
    return folder / f"{name}-{next(numbers)}.json"


def write(cases: list[Case], out: Path) -> None:
    """`selftest.json` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "selftest.json").write_text(json.dumps([asdict(c) for c in cases], indent=1) + "\n")


def status(cases: list[Case]) -> int:
    """Exit status, as the gate's: 1 if any was wrong, else 3 if any was not told, else 0; says how many were right."""
    ends = [c.end for c in cases]
    print(f"selftest: {ends.count(RIGHT)} of {len(ends)} right, {ends.count(WRONG)} wrong, "
          f"{ends.count(verdict.UNSURE)} not told", file=sys.stderr)  # fmt: skip
    return 1 if WRONG in ends else 3 if verdict.UNSURE in ends else 0
