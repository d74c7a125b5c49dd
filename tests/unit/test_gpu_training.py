"""The part `quality` of gpu-check on CPUs: a grid's trainings side by side, what the budget leaves, and what is published."""

import json
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from gpu_grid import done_once, plan, resealed

from seqbench.core.errors import UserError
from seqbench.hardware import leases
from seqbench.hardware.environment import SHARE
from seqbench.training import supervisor
from tools.gpu import command, training
from tools.gpu.__main__ import main
from tools.gpu.bundle import unpack
from tools.gpu.plan import Plan


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("{", "is no grid.json"),
        ('{"trainings": [1]}', "is no grid.json"),
        ('{"trainings": [{"dataset": "absent", "model": "m", "track": "t", "seq_len": 8, "seed": 0}]}', "prepare"),
    ],
)  # fmt: skip
def test_a_bad_grid_is_one_line(tmp_path, capsys, content, said):
    file = tmp_path / "grid.json"
    if content is not None:
        file.write_text(content)
    options = ["--parts", "quality", "--allow-cpu", "--grid", str(file)]
    assert main(["check", "--out", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert said in error and str(tmp_path) in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_a_grid_the_part_says_what_it_needs(tmp_path, capsys):
    assert main(["check", "--out", str(tmp_path / "out"), "--parts", "quality"]) == 2
    assert "needs --grid" in capsys.readouterr().err


def test_a_pattern_that_matches_no_job_is_one_line(tmp_path, capsys):
    options = ["--parts", "cost", "--allow-cpu", "--tiny", "--only", "absent/*"]
    assert main(["check", "--out", str(tmp_path / "out"), *options]) == 2
    assert "only = 'absent/*': matches no job" in capsys.readouterr().err


@pytest.mark.slow
def test_trainings_side_by_side_are_done_once_and_published(tmp_path, grid):
    out = tmp_path / "check"
    done_once(out, "quality", grid, 3)
    folder = unpack(next(out.glob("*.tar.gz")), tmp_path / "results")
    records = [json.loads(p.read_text()) for p in folder.rglob("record.json")]
    assert {r["status"] for r in records} == {"ok"} and len(records) == 3
    assert "ndcg@10" in (folder / "effectiveness.csv").read_text()


@pytest.mark.slow
def test_what_is_published_of_this_machine_is_not_trained_again(tmp_path, grid):
    out = tmp_path / "check"
    command.gpu_check(out, "quality", 3600, None, True, True, False, grid, 2)
    folder = unpack(next(out.glob("*.tar.gz")), tmp_path / "results")
    elsewhere = replace(plan(tmp_path / "new", grid), published=folder.parent)
    jobs = training.of_grid(grid)
    assert all(training.is_done(elsewhere, job) for job in jobs)
    assert not any(training.is_done(plan(tmp_path / "new", grid), job) for job in jobs)
    record = folder / jobs[0].path / "record.json"
    environment = json.loads(record.read_text())["environment"]
    resealed(record, environment=environment | {"machine": "another"})
    assert not training.is_done(elsewhere, jobs[0])


def test_what_the_budget_cut_leaves_no_record_and_goes_on(tmp_path, grid, monkeypatch):
    chosen = plan(tmp_path / "out", grid)
    first = training.of_grid(grid)[0]
    folder = chosen.results / first.path
    limits = []

    def supervise(job, dataset, out, threads, limit_s):
        out.mkdir(parents=True)
        for name in ("record.json", "samples.npz", "resume-0.pt"):
            (out / name).touch()
        limits.append(limit_s)
        return "timeout"

    monkeypatch.setattr(training, "supervise", supervise)
    ends = iter((5.0, -1.0))  # what is left before the training and behind it
    monkeypatch.setattr(Plan, "left_s", lambda _: next(ends, -1.0))
    assert training.train_all(replace(chosen, share=1)) == (3, 0)
    assert len(limits) == 1 and [p.name for p in folder.iterdir()] == ["resume-0.pt"]


def test_a_training_that_crashes_or_refuses_leaves_the_others_their_turn(
    tmp_path, grid, monkeypatch
):
    def supervise(job, *_):
        if job.model == "popularity":
            raise UserError("the worker refused its input")
        return "crashed" if job.seed else "ok"

    monkeypatch.setattr(training, "supervise", supervise)
    monkeypatch.setattr(training, "_not_its_own", lambda _: None)
    assert training.train_all(plan(tmp_path / "out", grid)) == (0, 2)


@pytest.mark.parametrize("where", ["supervise", "_not_its_own"])
def test_what_nobody_expected_of_one_training_leaves_the_others_their_turn(
    tmp_path, grid, monkeypatch, capsys, where
):
    """A full disk while the record is written, say, or a record that cannot be read."""
    calls = iter(range(3))

    def break_once(*_):
        if next(calls) == 0:
            raise OSError("No space left on device")
        return "ok" if where == "supervise" else None

    monkeypatch.setattr(training, "supervise", lambda *_: "ok")
    monkeypatch.setattr(training, "_not_its_own", lambda _: None)
    monkeypatch.setattr(training, where, break_once)
    assert training.train_all(plan(tmp_path / "out", grid)) == (0, 1)
    assert "OSError: No space left on device" in capsys.readouterr().err


def test_a_worker_that_starts_after_the_stop_is_killed_too(tmp_path, grid, monkeypatch):
    """The first thread's exit stops all while the second one is between its last look at the stop and its start."""
    stopped, workers, children_of = threading.Event(), [], psutil.Process.children

    def supervise(job, *_):
        if job.seed == 0:
            raise SystemExit(143)
        assert stopped.wait(300)
        workers.append(subprocess.Popen(["sleep", "600"]))
        workers[0].wait()
        return "oom"

    def children(self):
        found = children_of(self)
        stopped.set()  # behind the first look for workers: there was none yet
        return found

    monkeypatch.setattr(psutil.Process, "children", children)
    monkeypatch.setattr(training, "supervise", supervise)
    with pytest.raises(SystemExit):
        training.train_all(plan(tmp_path / "out", grid))
    assert workers[0].returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "kind", "share", "said"),
    [
        ("ok", "cpu", None, None),
        ("oom", "cpu", None, None),
        ("oom", "cpu", "4 at once, MPS", "lower SHARE"),
        ("ok", "cuda", "4 at once, MPS", "no GPU"),
    ],
)
def test_what_sharing_did_is_no_result_of_a_training(
    tmp_path, grid, monkeypatch, capsys, status, kind, share, said
):
    """kind: where the supervisor knows a device; every record here was made on the CPU."""
    job = training.of_grid(grid)[0]
    chosen = replace(plan(tmp_path / "out", grid), share=1)
    folder = chosen.results / job.path

    def supervise(*_):
        supervisor.supervise(job, grid.parent / "data" / job.dataset, folder, 1, 1200.0)
        file = folder / "record.json"
        resealed(file, status=status)
        return "ok"  # the worker's own end, whatever it wrote

    monkeypatch.setattr(training, "supervise", supervise)
    monkeypatch.setattr(training, "device_kind", lambda: kind)
    if share:
        monkeypatch.setenv(SHARE, share)
    end = training._train(chosen, job, threading.Event())
    assert end == ("crashed" if said else "ok")
    assert (folder / "record.json").exists() == (said is None)
    assert said is None or said in capsys.readouterr().err


def test_other_data_of_the_same_name_are_trained_on_again(tmp_path, grid):
    job = training.of_grid(grid)[2]
    chosen = plan(tmp_path / "out", grid)
    supervisor.supervise(
        job, grid.parent / "data" / job.dataset, chosen.results / job.path, 1, 1200.0
    )
    assert training.is_done(chosen, job)
    facts = grid.parent / "data" / job.dataset / "dataset.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"hash": "0" * 64}))
    assert not training.is_done(chosen, job)


@pytest.mark.slow
def test_a_scheduler_that_ends_it_leaves_nothing_behind(tmp_path, grid):
    """Trainings that would run for minutes: none is left, no record is, and the status says who ended it."""
    listed = json.loads(grid.read_text())["trainings"][:2]
    for job in listed:
        job["training"] |= {"max_steps": 10**6, "patience_steps": 10**6}
    grid.write_text(json.dumps({"trainings": listed}))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tools.gpu", "check", "--out", str(out), "--allow-cpu"]
    command += ["--tiny", "--parts", "quality", "--grid", str(grid), "--share", "2"]
    process = psutil.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "valid ndcg@10" in line:
            break
    workers = process.children()
    process.terminate()
    process.stderr.read()
    assert process.wait(600) == 128 + signal.SIGTERM
    assert len(workers) == 2 and not any(worker.is_running() for worker in workers)
    assert not list(out.rglob("record.json"))


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A GPU as far as device files go, and what was asked of the service's control."""
    asked = []

    def control(command, env, input=None, **_):
        asked.append((command[1:], input, env))
        return subprocess.CompletedProcess(command, 0)

    for module in (leases, training):
        monkeypatch.setattr(module, "gpu_devices", lambda: [Path("/dev/nvidia0")])
    monkeypatch.setattr(training.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(training.subprocess, "run", control)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv(leases.FOLDER, str(tmp_path))
    return asked


def test_sharing_is_by_the_service_is_said_and_ends(gpu, monkeypatch):
    import os

    before = dict(os.environ)
    with training._shared_gpu(4):
        assert os.environ[SHARE] == "4 at once, MPS"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"  # leased once: workers lease nothing
        with leases.device_lease() as visible:
            assert visible == {}
        assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == gpu[0][2]["CUDA_MPS_PIPE_DIRECTORY"]
    assert dict(os.environ) == before
    assert [(arguments, text) for arguments, text, _ in gpu] == [(["-d"], None), ([], "quit\n")]
    assert not any("CUDA_VISIBLE_DEVICES" in env for *_, env in gpu)


def test_one_training_at_a_time_shares_nothing(gpu):
    import os

    with training._shared_gpu(1):
        assert SHARE not in os.environ and os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert not gpu


def test_without_the_service_they_take_turns(gpu, monkeypatch):
    import os

    monkeypatch.setattr(training.shutil, "which", lambda _: None)
    with training._shared_gpu(3):
        assert os.environ[SHARE] == "3 at once, in turns"
    assert not gpu
