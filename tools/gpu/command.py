"""Check a machine with a GPU and measure on it: tests, scan kernels, cost, short trainings. No Snakemake, no installing.

In parts, each of which goes on where it was interrupted: a job that has left its record is not run again while neither its
description nor its code changed. The jobs of cost come in order of importance and stop at the budget; another call takes
the rest. Everything ends in one archive for ``python -m tools.gpu unpack``.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from seqbench.core.errors import UserError
from seqbench.core.provenance import ROOT
from seqbench.core.records import write_atomically
from seqbench.hardware.leases import EXCLUSIVE, holding

from . import training
from .plan import DONE, FAILED, UNFINISHED, Plan, ask, dataset, is_done, jobs, table
from .state import identity, read, say, write

PARTS = ("tests", "scan", "cost", "train", "tune", "quality")
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
NEEDED_BY = {"tune": {"optuna": "optuna"}}  # by one part only
OF_GRID = {"tune": "studies", "quality": "trainings"}  # part -> what of results/grid.json it takes


def gpu_check(
    out: Path, parts: str, budget_s: float, data: Path | None,
    allow_cpu: bool = False, tiny: bool = False, every: bool = False,
    grid: Path | None = None, share: int = 1, only: str = "*",
) -> int:  # fmt: skip
    """Run the parts, pack what there is, and return an exit status.

    tiny: sizes for a test of this code itself; every: the whole grid of config/gpu.yaml, not its core; only: of its
    jobs, those whose folder below runs/ this pattern matches; grid, share: see tools.gpu.training.

    Raises:
        UserError: an unknown part, a package or a GPU that is missing, data that is none, a pattern that matches nothing.
    """
    chosen = _parts(parts, grid)
    _check_packages(chosen)
    _check_device(allow_cpu)
    _check_data(data)
    for part in OF_GRID if grid is not None else ():
        if part in chosen:
            training.of_grid(grid, OF_GRID[part])  # refuses what is no grid
    plan = Plan(out, chosen, data, time.monotonic() + budget_s, tiny, every, grid, share, only)
    if "cost" in chosen and not any(jobs(plan)):
        raise UserError(f"only = {only!r}: matches no job of cost, such as full-length/matched/*")
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
        kept = read(plan, f"{part}.json")  # trainings that passed
        reason = f"{type(error).__name__}: {error}"
        write(plan, f"{part}.json", {**kept, "status": "failed", "reason": reason})
        return FAILED


def _parts(text: str, grid: Path | None) -> tuple[str, ...]:
    names = tuple(text.split())
    for name in OF_GRID if grid is None else ():
        if name in names:
            raise UserError(f"parts = '{name}': needs --grid, a results/grid.json of the workflow")
    for name in names:
        if name not in PARTS:
            raise UserError(f"parts = {name!r}: unknown; allowed: {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in names)


def _check_packages(parts: tuple[str, ...] = ()) -> None:
    needed = dict(NEEDED)
    for part in parts:
        needed |= NEEDED_BY.get(part, {})
    missing = [name for module, name in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(
            f"missing packages: {', '.join(missing)}; `{Path(sys.executable).name} -m pip install {' '.join(missing)}`,"
            " or put a folder with them on PYTHONPATH"
        )


def _check_device(allow_cpu: bool) -> None:
    from seqbench.hardware import device

    if device.pick().type != "cuda" and not allow_cpu:
        raise UserError(
            "gpu-check needs an NVIDIA GPU that PyTorch can use: `python -m seqbench doctor` says what is missing"
        )


def _check_data(data: Path | None) -> None:
    from seqbench.data import open_dataset

    if data and not (data / "dataset.json").exists():
        raise UserError(f"{data}: holds no dataset.json; DATA is what `seqbench prepare` wrote")
    if data:
        open_dataset(data)  # refuses what is damaged


# --- parts --------------------------------------------------------------------------------------------------------------


def _tests(plan: Plan) -> int:
    """The tests that need a GPU, in this interpreter."""
    if importlib.util.find_spec("pytest") is None:
        write(plan, "tests.json", {"status": "not run", "reason": "pytest is not installed"})
        return DONE
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu"]
    command += ["-o", "addopts=", "-p", "no:cacheprovider"]
    report = plan.checks.resolve() / "tests.xml"
    made_by = identity(
        "models/_scan/check.py", "models/mamba4rec.py", "seqbench/measuring/phases.py"
    )

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
        if report.exists():  # a record names no host
            text = re.sub(r' hostname="[^"]*"', "", report.read_text(encoding="utf-8"))
            write_atomically(report, text.encode())
        return {"status": "passed" if done.returncode == 0 else "failed", "code": made_by}

    return _once(plan, "tests", made_by, run)


def _scan(plan: Plan) -> int:
    """Every scan backend against the reference, and its times."""
    from seqbench.hardware import device

    from . import scan_bench

    where = device.pick()
    size = {"batch": 2, "length": 20, "channels": 16} if plan.tiny else scan_bench.PAPER
    of = f"{where.type} {' x '.join(map(str, size.values()))}"  # another device or size is another result
    made_by = f"{identity('models/_scan/check.py', 'tools/gpu/scan_bench.py')} {of}"

    def run() -> dict[str, Any]:
        # In a process of its own, which takes its context and memory along: nothing that is measured
        # later shares the GPU with this one.
        spawn = multiprocessing.get_context("spawn")
        with holding(EXCLUSIVE), ProcessPoolExecutor(1, mp_context=spawn) as pool:
            found = pool.submit(scan_bench.check_and_time, where, size).result()
        wrong = [r for r in found["check"] if not r["ok"] and r["reason"] is None]
        timed = [row for row in found["times"] if row["reason"] is None]
        no_kernel = where.type == "cuda" and not timed
        return {"status": "failed" if wrong or no_kernel else "passed", "code": made_by, **found}

    return _once(plan, "scan", made_by, run)


def _once(plan: Plan, part: str, made_by: str, run: Callable[[], dict[str, Any]]) -> int:
    """Run a part unless this code has already passed it here."""
    before = read(plan, f"{part}.json")
    if before.get("code") == made_by and before.get("status") == "passed":
        say(plan, f"{part}: done before")
        return DONE
    if plan.left_s() <= 0:
        return UNFINISHED
    say(plan, part)
    try:
        found = run()
    except subprocess.TimeoutExpired:
        return UNFINISHED
    write(plan, f"{part}.json", found)
    return DONE if found["status"] == "passed" else FAILED


def _cost(plan: Plan) -> int:
    """The jobs of measuring, most important first, until the budget ends; those that crashed before come last."""
    from seqbench.measuring.session import measure

    spent, processes = 0.0, 0
    todo = [job for job in jobs(plan) if not is_done(plan, job)]
    todo.sort(key=lambda job: (plan.results / job.path).exists())
    crashed = cut = False
    for number, job in enumerate(todo):
        wanted = ask(plan, job)
        round_ = len(job.models) * len(wanted.phases)  # processes of one
        if plan.left_s() <= (spent / processes * (round_ + 2) if processes else 0):
            say(plan, f"cost: {len(todo) - number} jobs are left")
            return UNFINISHED
        say(plan, f"cost {number + 1}/{len(todo)}: {job.path}")
        begun = time.monotonic()
        folder = None if job.n_items is not None else dataset(plan)
        out, limit = plan.results / job.path, max(plan.left_s(), 1.0)
        ends = measure(job, folder, out, 1, limit, replace(wanted, until=plan.deadline))
        crashed |= "crashed" in ends.values()
        cut |= "crashed" not in ends.values() and not is_done(plan, job)  # fewer rounds, no counts
        spent, processes = spent + time.monotonic() - begun, processes + round_ * job.rounds
    return FAILED if crashed else UNFINISHED if cut else DONE


def _of_grid(plan: Plan, part: str, run: Callable[[Plan], tuple[int, int]]) -> int:
    """Studies or trainings of a grid, in full: what is left when the budget ends goes on with the next call."""
    left, failed = run(plan)
    if left:
        say(plan, f"{part}: {left} {OF_GRID[part]} are left")
        return UNFINISHED
    return FAILED if failed else DONE


_RUN = {
    "tests": _tests,
    "scan": _scan,
    "cost": _cost,
    "train": training.train_short,
    "tune": lambda plan: _of_grid(plan, "tune", training.search_all),
    "quality": lambda plan: _of_grid(plan, "quality", training.train_all),
}


# --- output ---------------------------------------------------------------------------------------------------


def _pack(plan: Plan) -> None:
    from .bundle import pack

    names = sorted({json.loads(p.read_text())["environment"]["machine_name"]
                    for p in plan.results.rglob("record.json")})  # fmt: skip
    archive = plan.out / f"gpu-check-{names[0] if names else 'no-records'}.tar.gz"
    size = pack(plan.out, archive)
    print(f"packed: {archive} ({size / 2**20:.1f} MiB)")
