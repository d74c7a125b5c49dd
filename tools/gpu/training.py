"""The trainings of gpu-check: short ones that show that all works, and in full a grid's and its studies', several at once.

A training of the benchmark's size leaves most of a large GPU idle: its steps are short and wait for the host. Side by side,
with CUDA's Multi-Process Service where it is installed, their quality is the same and only their times say nothing; records
say how many shared the GPU. Torch-free.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from seqbench.core import provenance
from seqbench.core.errors import UserError
from seqbench.core.jobs import Study, TrainingJob
from seqbench.core.records import discard, read_record, read_samples
from seqbench.core.store import copy_files
from seqbench.hardware.environment import SHARE
from seqbench.hardware.leases import SHARED, device_kind, gpu_devices, lease, variables
from seqbench.training import search
from seqbench.training.supervisor import supervise

from .plan import DONE, FAILED, UNFINISHED, Plan, dataset, trainings, valid_records
from .state import identity, read, say, write

CONTROL = "nvidia-cuda-mps-control"


def train_short(plan: Plan) -> int:
    """A short training of each model: does it run, learn and validate on this device? No published quality."""
    before = read(plan, "train.json").get("models", {})
    found = {}
    for job in trainings(plan):
        made = {"experiment": job.to_json(), "code": identity(f"models/{job.model}.py", "seqbench/training/loop.py")}  # fmt: skip
        kept = before.get(job.model, {})
        if made.items() <= kept.items() and _passed(kept):
            found[job.model] = kept
            continue
        if plan.left_s() <= 0:
            return UNFINISHED
        say(plan, f"train {job.model}")
        folder = plan.out / "trainings" / job.model
        supervise(job, dataset(plan), folder, 1, max(plan.left_s(), 1.0))
        if plan.left_s() <= 0:
            return UNFINISHED
        found[job.model] = made | _learned(folder)
        write(plan, "train.json", {"status": "not finished", "models": before | found})
    passed = all(map(_passed, found.values()))
    write(plan, "train.json", {"status": "passed" if passed else "failed", "models": found})
    return DONE if passed else FAILED


def _passed(training: dict[str, Any]) -> bool:
    return training["status"] == "ok" and training["last"] > training["first"]


def _learned(folder: Path) -> dict[str, Any]:
    """Validation NDCG@10 at the first and at the last validation, and seconds of training."""
    record = read_record(folder)
    curve = read_samples(folder, record).get("curve/valid/kept/ndcg@10", ())
    ends = (
        {"first": float(curve[0]), "last": float(max(curve[1:], default=curve[0]))}
        if len(curve)
        else {"first": 0, "last": 0}
    )
    facts = {
        key: record["values"].get(key) for key in ("train_s", "steps", "targets_seen", "backend")
    }
    return {"status": record["status"], "reason": record["reason"], **ends, **facts}


# --- of a grid ---


def of_grid(grid: Path, what: str = "trainings") -> list:
    """The ``trainings`` or ``studies`` that the workflow's ``results/grid.json`` names, in its order.

    Raises:
        UserError: no such file, no grid, or a dataset that was not prepared beside it.
    """
    kind = Study if what == "studies" else TrainingJob
    try:
        listed = json.loads(grid.read_text(encoding="utf-8"))[what]
        jobs = [kind.from_json(json.dumps(job)) for job in listed]
    except OSError:
        raise UserError(f"{grid}: no such file; the workflow's rule `grid` writes it") from None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise UserError(f"{grid}: is no grid.json of the workflow") from None
    for name in dict.fromkeys(job.dataset for job in jobs):
        if not (_data(grid, name) / "dataset.json").exists():
            raise UserError(
                f"{_data(grid, name)}: holds no dataset.json; `snakemake --cores 1 --until prepare -- report tune` makes it"
            )
    return jobs


def _data(grid: Path, name: str) -> Path:
    return grid.parent / "data" / name


def is_done(plan: Plan, job: TrainingJob) -> bool:
    """Whether a training has its record: of this machine, description, data and code, and not one that crashed."""
    code = provenance.training(job.model)
    facts = _facts(plan, job.dataset)
    records = valid_records(plan, job.path, job.to_dict(), code)
    return any(r["data"]["hash"] == facts["hash"] and r["status"] != "timeout" for r in records)


def _facts(plan: Plan, name: str) -> dict[str, Any]:
    return json.loads((_data(plan.grid, name) / "dataset.json").read_text(encoding="utf-8"))


def is_searched(plan: Plan, study: Study) -> bool:
    """Whether a study has its summary, made of trials of this description, these data and this code; wherever they ended well."""
    folders = (plan.results, *sorted(plan.published.glob("*/")))
    return any(_is_searched_in(folder, plan, study) for folder in folders)


def _is_searched_in(folder: Path, plan: Plan, study: Study) -> bool:
    found = read_study(folder / study.path)
    if found is None or found["study"] != json.loads(study.to_json()):
        return False
    code = provenance.training(study.model)
    facts = _facts(plan, study.dataset)
    trials = (
        valid_records(plan, study.trial_path(t["number"]), study.training_job(t["chosen"], t.get("seed"), t["share"]).to_dict(), code, True)
        for t in found["trials"]
    )  # fmt: skip
    return all(any(r["data"]["hash"] == facts["hash"] for r in records) for records in trials)


def read_study(folder: Path) -> dict[str, Any] | None:
    """The summary of a study that came to its end."""
    file = folder / search.SUMMARY
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def train_all(plan: Plan) -> tuple[int, int]:
    """Train what has no record yet; how many trainings are left when the budget ends, and how many failed."""
    return _side_by_side(plan, [], _unfinished(plan))


def search_all(plan: Plan) -> tuple[int, int]:
    """Run the studies that have not come to their end; how many are left when the budget ends, and how many failed.

    The trials of a study follow one another. What of the GPU they leave idle is the trainings', if those are asked for.
    """
    todo = [s for s in of_grid(plan.grid, "studies") if not is_searched(plan, s)]
    if not todo:
        return 0, 0
    return _side_by_side(plan, todo, _unfinished(plan) if "quality" in plan.parts else [])


def _unfinished(plan: Plan) -> list[TrainingJob]:
    return [job for job in of_grid(plan.grid) if not is_done(plan, job)]


def _side_by_side(
    plan: Plan, studies: list[Study], training_jobs: list[TrainingJob]
) -> tuple[int, int]:
    """Run all, so many at once; of the studies, or of the trainings where there is none, how many are left and failed."""
    for name in dict.fromkeys(job.dataset for job in [*studies, *training_jobs]):
        copy_files(
            _data(plan.grid, name), plan.results / "data" / name, ("users.npz", "dataset.json")
        )
    stop = threading.Event()
    with _terminable(), _shared_gpu(plan.share), ThreadPoolExecutor(plan.share) as pool:
        searching = [pool.submit(_search, plan, study, stop) for study in studies]
        training = [pool.submit(_train, plan, job, stop) for job in training_jobs]
        all_ = [*searching, *training]
        try:
            ends = [future.result() for future in all_][: len(studies) or None]
        except BaseException:  # Ctrl-C, or a scheduler that wants its machine back
            stop.set()
            _kill_workers(all_)
            raise
    failed = [end for end in ends if end in ("crashed", "refused")]
    return ends.count(None), len(failed)


def _kill_workers(futures: list[Future]) -> None:
    """Kill what the threads started until all have ended: one that had not seen the stop may start a worker yet."""
    while wait(futures, timeout=0.1).not_done:
        for worker in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):
                worker.kill()


class _Stopped(Exception):
    """A trial did not come to its end, and so neither does its study; str: its end, empty if it was the budget's."""


def _search(plan: Plan, study: Study, stop: threading.Event) -> str | None:
    """End of one study; None: it was stopped, by the budget say. It goes on with the trials that are there then."""

    def train(job: TrainingJob, _: Path, folder: Path, *__: object) -> str:
        end = _train(plan, job, stop, folder)
        if (
            end is None or not (folder / "record.json").exists()
        ):  # else it counts, as a failed trial if it failed
            raise _Stopped(end or "")
        return end

    out = plan.results / study.path
    try:
        search.tune(study, _data(plan.grid, study.dataset), out, 1, None, train)
    except _Stopped as stopped:
        return str(stopped) or None
    except Exception as error:  # one study's fault, not the others'
        print(f"{study.path}: {type(error).__name__}: {error}", file=sys.stderr)
        return "crashed"
    return "ok"


def _train(
    plan: Plan, job: TrainingJob, stop: threading.Event, folder: Path | None = None
) -> str | None:
    """Status of one training; None: it was stopped, by the budget say. It goes on from its last saved state then."""
    if plan.left_s() <= 0 or stop.is_set():
        return None
    folder = folder or plan.results / job.path
    try:
        end = supervise(job, _data(plan.grid, job.dataset), folder, 1, plan.left_s())
        stopped = end == "timeout" or stop.is_set()
        reason = None if stopped else _not_its_own(folder)
        if stopped or reason:
            discard(folder)
    except UserError as error:  # one training's fault, not the others'
        print(f"{job.path}: {error}", file=sys.stderr)
        return "refused"
    except Exception as error:  # so is what nobody expected
        print(f"{job.path}: {type(error).__name__}: {error}", file=sys.stderr)
        return "crashed"
    if reason:
        print(f"{job.path}: {reason}", file=sys.stderr)
    return None if stopped else "crashed" if reason else end


def _not_its_own(folder: Path) -> str | None:
    """Why a record says nothing about its training, but something about how the GPU was shared; None: it does."""
    record = read_record(folder)
    if record["environment"]["device_kind"] != device_kind():
        return "found no GPU, though there is one; does the Multi-Process Service run? Try SHARE=1"
    if record["status"] == "oom" and SHARE in os.environ:
        return "out of memory beside the others: lower SHARE"
    return None


@contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM an exception for the length of a block, so that it ends what it started: the service outlives a parent."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _shared_gpu(share: int) -> Iterator[None]:
    """Lease the machine and one GPU for all trainings at once; without a GPU they share nothing but the processors."""
    with lease(SHARED) as leased, _service(share) as service:
        said = f"{share} at once, {'MPS' if service else 'in turns'}"
        shared = {SHARE: said} if share > 1 and gpu_devices() else {}
        with variables({**leased, **service, **shared}):
            yield


@contextmanager
def _service(share: int) -> Iterator[dict[str, str]]:
    """CUDA's Multi-Process Service for the length of a block: kernels of different processes run side by side.

    Yields what its clients need in their environment; nothing where it is not installed or does not start, and processes
    take turns then.
    """
    control = shutil.which(CONTROL)
    if share < 2 or control is None or not gpu_devices():
        yield {}
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        found = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        # It counts the GPUs anew among those it sees itself, so it must see all of them.
        seen = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"} | found
        if subprocess.run([control, "-d"], env=seen).returncode:
            print(f"{CONTROL} does not start: trainings take turns", file=sys.stderr)
            yield {}
            return
        try:
            yield found
        finally:
            with suppress(subprocess.SubprocessError):
                subprocess.run([control], input="quit\n", text=True, env=seen, timeout=20)
