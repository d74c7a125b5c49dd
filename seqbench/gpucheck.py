"""Check a machine with a GPU and measure on it: tests, scan kernels, cost, short trainings. No Snakemake, no installing.

In parts, each of which goes on where it was interrupted: a job that has left its record is not run again while neither its
description nor its code changed. The jobs of cost come in order of importance and stop at the budget; another call takes
the rest. Everything ends in one archive for ``seqbench unpack``.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import gpuquality
from .code import ROOT
from .errors import UserError
from .gpuplan import Plan, ask, dataset, is_done, jobs, table, trainings

PARTS = ("tests", "scan", "cost", "train", "quality")
# Package to import -> what to install. numba is for CPUs, pandas and matplotlib are for `unpack`.
NEEDED = {
    "torch": "torch",
    "numpy": "numpy",
    "yaml": "pyyaml",
    "jsonschema": "jsonschema",
    "psutil": "psutil",
    "safetensors": "safetensors",
    "tqdm": "tqdm",
    "pynvml": "nvidia-ml-py",
}
DONE, FAILED, UNFINISHED = 0, 1, 3  # exit statuses; 2 is bad input


def gpu_check(
    out: Path, parts: str, budget_s: float, data: Path | None,
    allow_cpu: bool = False, tiny: bool = False, every: bool = False,
    grid: Path | None = None, share: int = 1,
) -> int:  # fmt: skip
    """Run the parts, pack what there is, and return an exit status.

    tiny: sizes for a test of this code itself; every: the whole grid of config/gpu.yaml, not its core; grid, share: see
    seqbench.gpuquality.

    Raises:
        UserError: an unknown part, a package or a GPU that is missing, data that is none.
    """
    chosen = _parts(parts, grid)
    _check_packages()
    _check_device(allow_cpu)
    _check_data(data)
    if grid is not None:
        gpuquality.trainings(grid)  # refuses what is no grid
    plan = Plan(out, chosen, data, time.monotonic() + budget_s, tiny, every, grid, share)
    plan.checks.mkdir(parents=True, exist_ok=True)
    states = {part: _attempt(plan, part) for part in chosen}
    print(table(plan))
    for part, state in states.items():
        print(
            f"{part}: {'done' if state == DONE else 'FAILED' if state == FAILED else 'not finished'}"
        )
    _pack(plan)
    if UNFINISHED in states.values():
        print("not finished: the same command goes on with what is missing")
    return FAILED if FAILED in states.values() else max(states.values(), default=DONE)


def _attempt(plan: Plan, part: str) -> int:
    """Run a part. One that breaks, a kernel that does not compile say, must not keep the others from the machine."""
    try:
        return _RUN[part](plan)
    except Exception as error:
        traceback.print_exc()
        kept = _read(plan, f"{part}.json")  # trainings that passed
        reason = f"{type(error).__name__}: {error}"
        _write(plan, f"{part}.json", {**kept, "status": "failed", "reason": reason})
        return FAILED


def _parts(text: str, grid: Path | None) -> tuple[str, ...]:
    names = tuple(text.split())
    if grid is None and "quality" in names:
        raise UserError("parts = 'quality': needs --grid, a results/grid.json of the workflow")
    for name in names:
        if name not in PARTS:
            raise UserError(f"parts = {name!r}: unknown; allowed: {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in names)


def _check_packages() -> None:
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(
            f"missing packages: {', '.join(missing)}; `{Path(sys.executable).name} -m pip install {' '.join(missing)}`,"
            " or put a folder with them on PYTHONPATH"
        )


def _check_device(allow_cpu: bool) -> None:
    from . import device

    if device.pick().type != "cuda" and not allow_cpu:
        raise UserError(
            "gpu-check needs an NVIDIA GPU that PyTorch can use: `python -m seqbench doctor` says what is missing"
        )


def _check_data(data: Path | None) -> None:
    from .data import open_dataset

    if data and not (data / "dataset.json").exists():
        raise UserError(f"{data}: holds no dataset.json; DATA is what `seqbench prepare` wrote")
    if data:
        open_dataset(data)  # refuses what is damaged


def _say(plan: Plan, text: str) -> None:
    print(f"gpu-check: {text} ({max(plan.left_s(), 0):.0f} s left)", file=sys.stderr, flush=True)


# --- parts --------------------------------------------------------------------------------------------------------------


def _tests(plan: Plan) -> int:
    """The tests that need a GPU, in this interpreter."""
    if importlib.util.find_spec("pytest") is None:
        _write(plan, "tests.json", {"status": "not run", "reason": "pytest is not installed"})
        return DONE
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu"]
    command += ["-o", "addopts=", "-p", "no:cacheprovider"]
    report = plan.checks.resolve() / "tests.xml"
    identity = _code("models/_scan/check.py", "models/mamba4rec.py", "seqbench/measure.py")

    def run() -> dict[str, Any]:
        # Other files may import what only the project's own environment has.
        files = [
            p for p in sorted(ROOT.glob("tests/*/test_*.py")) if "pytest.mark.gpu" in p.read_text()
        ]
        done = subprocess.run(
            [*command, f"--junitxml={report}", *map(str, files)],
            cwd=ROOT,
            timeout=max(plan.left_s(), 1),
        )
        return {"status": "passed" if done.returncode == 0 else "failed", "code": identity}

    return _once(plan, "tests", identity, run)


def _scan(plan: Plan) -> int:
    """Every scan backend against the reference, and its times."""
    from . import device, scan_bench

    where = device.pick()
    identity = _code("models/_scan/check.py", "seqbench/scan_bench.py")
    size = {"batch": 2, "length": 20, "channels": 16} if plan.tiny else scan_bench.PAPER

    def run() -> dict[str, Any]:
        # In a process of its own, which takes its context and memory along: nothing that is measured
        # later shares the GPU with this one.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(scan_bench.check_and_time, where, size).result()
        wrong = [r for r in found["check"] if not r["ok"] and r["reason"] is None]
        timed = [row for row in found["times"] if row["reason"] is None]
        no_kernel = where.type == "cuda" and not timed
        return {"status": "failed" if wrong or no_kernel else "passed", "code": identity, **found}

    return _once(plan, "scan", identity, run)


def _once(plan: Plan, part: str, identity: str, run: Callable[[], dict[str, Any]]) -> int:
    """Run a part unless this code has already passed it here."""
    before = _read(plan, f"{part}.json")
    if before.get("code") == identity and before.get("status") == "passed":
        _say(plan, f"{part}: done before")
        return DONE
    if plan.left_s() <= 0:
        return UNFINISHED
    _say(plan, part)
    try:
        found = run()
    except subprocess.TimeoutExpired:
        return UNFINISHED
    _write(plan, f"{part}.json", found)
    return DONE if found["status"] == "passed" else FAILED


def _cost(plan: Plan) -> int:
    """The jobs of measuring, most important first, until the budget ends; those that crashed before come last."""
    from .interleave import measure

    spent, processes = 0.0, 0
    todo = [job for job in jobs(plan) if not is_done(plan, job)]
    todo.sort(key=lambda job: (plan.results / job.path).exists())
    crashed = False
    for number, job in enumerate(todo):
        wanted = ask(plan, job)
        round_ = len(job.models) * len(wanted.phases)  # processes of one
        if plan.left_s() <= (spent / processes * (round_ + 2) if processes else 0):
            _say(plan, f"cost: {len(todo) - number} jobs are left")
            return UNFINISHED
        _say(plan, f"cost {number + 1}/{len(todo)}: {job.path}")
        begun = time.monotonic()
        folder = None if job.n_items is not None else dataset(plan)
        out, limit = plan.results / job.path, max(plan.left_s(), 1.0)
        ends = measure(job, folder, out, 1, limit, replace(wanted, until=plan.deadline))
        if plan.left_s() <= 0 and "timeout" in ends.values():
            shutil.rmtree(out)  # our deadline in the first round, not a size that is too slow
            return UNFINISHED
        crashed |= "crashed" in ends.values()
        spent, processes = spent + time.monotonic() - begun, processes + round_ * job.rounds
    return FAILED if crashed else DONE


def _train(plan: Plan) -> int:
    """A short training of each model: does it run, learn and validate on this device? No published quality."""
    from .run import supervise

    before = _read(plan, "train.json").get("models", {})
    found = {}
    for job in trainings(plan):
        made = {"experiment": job.to_json(), "code": _code(f"models/{job.model}.py", "seqbench/train.py")}  # fmt: skip
        kept = before.get(job.model, {})
        if made.items() <= kept.items() and _passed(kept):
            found[job.model] = kept
            continue
        if plan.left_s() <= 0:
            return UNFINISHED
        _say(plan, f"train {job.model}")
        folder = plan.out / "trainings" / job.model
        supervise(job, dataset(plan), folder, 1, max(plan.left_s(), 1.0))
        if plan.left_s() <= 0:
            return UNFINISHED
        found[job.model] = made | _learned(folder)
        _write(plan, "train.json", {"status": "not finished", "models": before | found})
    passed = all(map(_passed, found.values()))
    _write(plan, "train.json", {"status": "passed" if passed else "failed", "models": found})
    return DONE if passed else FAILED


def _passed(training: dict[str, Any]) -> bool:
    return training["status"] == "ok" and training["last"] > training["first"]


def _learned(folder: Path) -> dict[str, Any]:
    """Validation NDCG@10 at the first and at the last validation, and seconds of training."""
    from .record import read_record

    record = read_record(folder)
    curve = [
        point["valid"]["unmasked"]["ndcg@10"]
        for point in record["values"].get("curve") or [{}]
        if point
    ]
    ends = (
        {"first": curve[0], "last": max(curve[1:], default=curve[0])}
        if curve
        else {"first": 0, "last": 0}
    )
    facts = {
        key: record["values"].get(key) for key in ("train_s", "steps", "targets_seen", "backend")
    }
    return {"status": record["status"], "reason": record["reason"], **ends, **facts}


def _quality(plan: Plan) -> int:
    """The trainings of a grid, in full: what is left when the budget ends goes on with the next call."""
    left, failed = gpuquality.train_all(plan)
    if left:
        _say(plan, f"quality: {left} trainings are left")
        return UNFINISHED
    return FAILED if failed else DONE


_RUN = {"tests": _tests, "scan": _scan, "cost": _cost, "train": _train, "quality": _quality}


# --- state and output ---------------------------------------------------------------------------------------------------


def _code(*files: str) -> str:
    from . import code
    from .imports import closure

    return code.identity(closure(code.ROOT, *files, without=code.PLUMBING))["hash"]


def _write(plan: Plan, name: str, content: dict[str, Any]) -> None:
    from .record import write_atomically

    write_atomically(plan.checks / name, (json.dumps(content, indent=1) + "\n").encode())


def _read(plan: Plan, name: str) -> dict[str, Any]:
    try:
        return json.loads((plan.checks / name).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}


def _pack(plan: Plan) -> None:
    from .bundle import pack

    names = sorted({json.loads(p.read_text())["environment"]["machine_name"]
                    for p in plan.results.rglob("record.json")})  # fmt: skip
    archive = plan.out / f"gpu-check-{names[0] if names else 'no-records'}.tar.gz"
    size = pack(plan.out, archive)
    print(f"packed: {archive} ({size / 2**20:.1f} MiB)")
