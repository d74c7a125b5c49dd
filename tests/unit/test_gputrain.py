"""The parts `tune` and `quality` of gpu-check on CPUs: a grid's studies and trainings side by side, what the budget leaves,
and what is published."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from seqbench import config, gpucheck, gputrain, run
from seqbench.__main__ import main
from seqbench.accept import accept
from seqbench.bundle import pack, unpack
from seqbench.environment import SHARE
from seqbench.errors import UserError
from seqbench.experiment import Experiment, Training
from seqbench.gpuplan import Plan
from seqbench.study import Study

TRAINING = Training(max_steps=20, eval_every=10, batch_targets=64)
SMALL = (("d_model", 16),)


@pytest.fixture
def grid(tmp_path, tiny):
    """A results folder as the workflow leaves it behind `prepare`: grid.json with three trainings, and the data."""
    folder = tmp_path / "from-workflow"
    name = json.loads((tiny / "dataset.json").read_text())["name"]
    shutil.copytree(tiny, folder / "data" / name)
    jobs = [Experiment(name, "sasrec", "matched", 8, seed, SMALL, TRAINING) for seed in (0, 1)]
    jobs.append(Experiment(name, "popularity", "matched", 8, 0))
    listed = [{**job.to_dict(), "path": job.path} for job in jobs]
    (folder / "grid.json").write_text(json.dumps({"trainings": listed}))
    return folder / "grid.json"


def plan(out, grid, seconds=120.0, share=2):
    return Plan(out, ("quality",), None, time.monotonic() + seconds, grid=grid, share=share)


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
    assert main(["gpu-check", "--out", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert said in error and str(tmp_path) in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_a_grid_the_part_says_what_it_needs(tmp_path, capsys):
    assert main(["gpu-check", "--out", str(tmp_path / "out"), "--parts", "quality"]) == 2
    assert "needs --grid" in capsys.readouterr().err


def test_a_pattern_that_matches_no_job_is_one_line(tmp_path, capsys):
    options = ["--parts", "cost", "--allow-cpu", "--tiny", "--only", "absent/*"]
    assert main(["gpu-check", "--out", str(tmp_path / "out"), *options]) == 2
    assert "only = 'absent/*': matches no job" in capsys.readouterr().err


def test_trainings_side_by_side_are_done_once_and_published(tmp_path, grid):
    out = tmp_path / "check"
    run = lambda: gpucheck.gpu_check(out, "quality", 120, None, True, True, False, grid, 2)  # noqa: E731
    assert run() == gpucheck.DONE
    made = {p: p.stat().st_mtime_ns for p in out.rglob("record.json")}
    assert len(made) == 3
    assert run() == gpucheck.DONE
    assert {p: p.stat().st_mtime_ns for p in made} == made
    folder = unpack(next(out.glob("*.tar.gz")), tmp_path / "results")
    records = [json.loads(p.read_text()) for p in folder.rglob("record.json")]
    assert {r["status"] for r in records} == {"ok"} and len(records) == 3
    assert "NDCG@10" in (folder / "README.md").read_text()


@pytest.fixture
def search(grid):
    """The grid with a study of two trials beside its trainings."""
    content = json.loads(grid.read_text())
    space = (("d_model", (("choices", (8, 16)),)),)
    study = Study(content["trainings"][0]["dataset"], "sasrec", 8, 2, space, 0, SMALL, TRAINING)
    grid.write_text(json.dumps(content | {"studies": [json.loads(study.to_json())]}))
    return study


def test_studies_and_trainings_side_by_side_until_their_winners_are_accepted(
    tmp_path, grid, search
):
    out, results = tmp_path / "check", tmp_path / "results"
    run = lambda: gpucheck.gpu_check(out, "tune quality", 120, None, True, True, False, grid, 2)  # noqa: E731
    assert run() == gpucheck.DONE
    made = {p: p.stat().st_mtime_ns for p in out.rglob("record.json")}
    assert len(made) == 5
    assert run() == gpucheck.DONE
    assert {p: p.stat().st_mtime_ns for p in made} == made
    folder = unpack(next(out.glob("*.tar.gz")), results)
    assert len(list(folder.rglob("record.json"))) == 3, "trials are published when accepted"
    start = config.validate({**gputrain_config(search.dataset)})
    said = accept(results, tmp_path / "tuned.yaml", start)
    assert len(said) == 1 and said[0].startswith(f"{search.dataset} sasrec: d_model ")
    assert len(list((folder / search.path).rglob("record.json"))) == 2


def gputrain_config(dataset):
    block = {"source": "synthetic", "seq_lens": [8], "synthetic": {"n_users": 20, "n_items": 20}}
    return {
        "datasets": {dataset: block},
        "tracks": {"matched": {}},
        "run": {"datasets": [dataset], "tracks": ["matched"], "models": ["sasrec"], "seeds": [0]},
        "tune": {"datasets": [dataset], "track": "matched", "trials": 2, "space": {"d_model": {"choices": [8, 16]}}},
    }  # fmt: skip


def test_a_study_that_the_budget_cut_goes_on_with_its_trials(tmp_path, grid, search, monkeypatch):
    chosen = replace(plan(tmp_path / "out", grid), parts=("tune",))
    supervise, trained = gputrain.supervise, []

    def one(job, *rest):
        trained.append(job)
        return supervise(job, *rest) if len(trained) == 1 else "timeout"

    monkeypatch.setattr(gputrain, "supervise", one)
    assert gputrain.search_all(chosen) == (1, 0)
    assert not gputrain.is_searched(chosen, search) and len(trained) == 2
    monkeypatch.setattr(gputrain, "supervise", lambda *a: trained.append(a[0]) or supervise(*a))
    assert gputrain.search_all(chosen) == (0, 0)
    assert gputrain.is_searched(chosen, search)
    assert len(trained) == 3 and trained[1] == trained[2], "the first trial was not made again"
    other = replace(search, trials=3)
    assert not gputrain.is_searched(chosen, other)


def test_a_trial_without_a_record_ends_its_study_and_not_the_trainings(
    tmp_path, grid, search, monkeypatch
):
    ran = []

    def end(job, *_):
        ran.append(job.track)
        return "crashed" if job.track == "tune" else "ok"

    monkeypatch.setattr(gputrain, "supervise", end)
    monkeypatch.setattr(gputrain, "_not_its_own", lambda _: None)
    chosen = replace(plan(tmp_path / "out", grid), parts=("tune", "quality"))
    assert gputrain.search_all(chosen) == (0, 1)
    assert sorted(ran) == ["matched"] * 3 + ["tune"]


def test_a_trial_that_crashes_counts_as_failed(tmp_path, grid, search, monkeypatch):
    supervise = gputrain.supervise

    def end(job, dataset, folder, *rest):
        status = supervise(job, dataset, folder, *rest)
        if folder.name == "trial-001":
            file = folder / "record.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "crashed"}))
            return "crashed"
        return status

    monkeypatch.setattr(gputrain, "supervise", end)
    chosen = replace(plan(tmp_path / "out", grid), parts=("tune",))
    assert gputrain.search_all(chosen) == (0, 0)
    content = json.loads((chosen.results / search.path / "study.json").read_text())
    assert [t["value"] is None for t in content["trials"]] == [False, True]


def test_a_study_that_breaks_leaves_the_trainings_alone(
    tmp_path, grid, search, monkeypatch, capsys
):
    ran = []
    monkeypatch.setattr(gputrain, "_train", lambda _, job, *__: ran.append(job) or "ok")
    monkeypatch.setattr(gputrain.tune, "tune", lambda *_: 1 / 0)
    chosen = replace(plan(tmp_path / "out", grid), parts=("tune", "quality"))
    assert gputrain.search_all(chosen) == (0, 1) and len(ran) == 3
    assert f"{search.path}: ZeroDivisionError" in capsys.readouterr().err


def test_without_a_study_left_nothing_is_begun(tmp_path, grid, search, monkeypatch):
    monkeypatch.setattr(gputrain, "is_searched", lambda *_: True)
    monkeypatch.setattr(gputrain, "_side_by_side", lambda *_: pytest.fail("something was begun"))
    chosen = replace(plan(tmp_path / "out", grid), parts=("tune", "quality"))
    assert gputrain.search_all(chosen) == (0, 0)


def test_a_study_that_is_published_of_this_machine_and_these_data_is_not_searched_again(
    tmp_path, grid, search
):
    out, results = tmp_path / "check", tmp_path / "results"
    gpucheck.gpu_check(out, "tune", 120, None, True, True, False, grid, 2)
    unpack(next(out.glob("*.tar.gz")), results)
    accept(results, tmp_path / "tuned.yaml", config.validate(gputrain_config(search.dataset)))
    elsewhere = replace(plan(tmp_path / "new", grid), published=results / "reference")
    assert gputrain.is_searched(elsewhere, search)
    assert not gputrain.is_searched(replace(elsewhere, published=tmp_path / "none"), search)
    facts = grid.parent / "data" / search.dataset / "dataset.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"hash": "0" * 64}))
    assert not gputrain.is_searched(elsewhere, search)


@pytest.fixture
def tuned(tmp_path, grid, search):
    """The folder of a check that searched, and the results folder that its archive was unpacked into."""
    out, results = tmp_path / "check", tmp_path / "results"
    gpucheck.gpu_check(out, "tune", 120, None, True, True, False, grid, 2)
    unpack(next(out.glob("*.tar.gz")), results)
    return out, results


def changed(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_unpacking_the_same_trials_again_changes_nothing(tuned):
    out, results = tuned
    before = {p: p.read_bytes() for p in results.rglob("*.json")}
    unpack(next(out.glob("*.tar.gz")), results)
    assert {p: p.read_bytes() for p in results.rglob("*.json")} == before


def test_trials_of_another_machine_are_not_replaced(tuned, search):
    out, results = tuned
    file = results / search.trial_path(1) / "record.json"
    there = json.loads(file.read_text())["environment"] | {"machine": "f" * 12}
    changed(file, environment=there)
    before = file.read_bytes()
    with pytest.raises(UserError, match="trial-001: another trial stands here"):
        unpack(next(out.glob("*.tar.gz")), results)
    assert file.read_bytes() == before


def test_a_study_that_its_trials_contradict_is_refused(tuned, search, tmp_path):
    out, _ = tuned
    file = out / "results" / search.path / "study.json"
    content = json.loads(file.read_text())
    content["trials"][1]["value"] = 0.9
    file.write_text(json.dumps(content))
    pack(out, tmp_path / "bad.tar.gz")
    with pytest.raises(UserError, match="trial 1 is not the one that the study names"):
        unpack(tmp_path / "bad.tar.gz", tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / "tune").exists()


def test_another_study_in_its_place_is_not_replaced(tmp_path, grid, search):
    out, results = tmp_path / "check", tmp_path / "results"
    gpucheck.gpu_check(out, "tune", 120, None, True, True, False, grid, 2)
    archive = next(out.glob("*.tar.gz"))
    unpack(archive, results)
    file = results / search.path / "study.json"
    content = json.loads(file.read_text())
    content["study"]["trials"] = 9
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="another study stands here"):
        unpack(archive, results)


def test_what_is_published_of_this_machine_is_not_trained_again(tmp_path, grid):
    out = tmp_path / "check"
    gpucheck.gpu_check(out, "quality", 120, None, True, True, False, grid, 2)
    folder = unpack(next(out.glob("*.tar.gz")), tmp_path / "results")
    elsewhere = replace(plan(tmp_path / "new", grid), published=folder.parent)
    jobs = gputrain.of_grid(grid)
    assert all(gputrain.is_done(elsewhere, job) for job in jobs)
    assert not any(gputrain.is_done(plan(tmp_path / "new", grid), job) for job in jobs)
    record = folder / jobs[0].path / "record.json"
    content = json.loads(record.read_text())
    content["environment"]["machine"] = "another"
    record.write_text(json.dumps(content))
    assert not gputrain.is_done(elsewhere, jobs[0])


def test_what_the_budget_cut_leaves_no_record_and_goes_on(tmp_path, grid, monkeypatch):
    chosen = plan(tmp_path / "out", grid)
    first = gputrain.of_grid(grid)[0]
    folder = chosen.results / first.path
    limits = []

    def supervise(job, dataset, out, threads, limit_s):
        out.mkdir(parents=True)
        for name in ("record.json", "samples.npz", "resume-0.pt"):
            (out / name).touch()
        limits.append(limit_s)
        return "timeout"

    monkeypatch.setattr(gputrain, "supervise", supervise)
    ends = iter((5.0, -1.0))  # what is left before the training and behind it
    monkeypatch.setattr(Plan, "left_s", lambda _: next(ends, -1.0))
    assert gputrain.train_all(replace(chosen, share=1)) == (3, 0)
    assert len(limits) == 1 and [p.name for p in folder.iterdir()] == ["resume-0.pt"]


def test_a_training_that_crashes_or_refuses_leaves_the_others_their_turn(
    tmp_path, grid, monkeypatch
):
    def supervise(job, *_):
        if job.model == "popularity":
            raise UserError("the worker refused its input")
        return "crashed" if job.seed else "ok"

    monkeypatch.setattr(gputrain, "supervise", supervise)
    monkeypatch.setattr(gputrain, "_not_its_own", lambda _: None)
    assert gputrain.train_all(plan(tmp_path / "out", grid)) == (0, 2)


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
    job = gputrain.of_grid(grid)[0]
    chosen = replace(plan(tmp_path / "out", grid), share=1)
    folder = chosen.results / job.path

    def supervise(*_):
        run.supervise(job, grid.parent / "data" / job.dataset, folder, 1, 100.0)
        file = folder / "record.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"status": status}))
        return "ok"  # the worker's own end, whatever it wrote

    monkeypatch.setattr(gputrain, "supervise", supervise)
    monkeypatch.setattr(gputrain, "device_kind", lambda: kind)
    if share:
        monkeypatch.setenv(SHARE, share)
    end = gputrain._train(chosen, job, threading.Event())
    assert end == ("crashed" if said else "ok")
    assert (folder / "record.json").exists() == (said is None)
    assert said is None or said in capsys.readouterr().err


def test_other_data_of_the_same_name_are_trained_on_again(tmp_path, grid):
    job = gputrain.of_grid(grid)[2]
    chosen = plan(tmp_path / "out", grid)
    run.supervise(job, grid.parent / "data" / job.dataset, chosen.results / job.path, 1, 100.0)
    assert gputrain.is_done(chosen, job)
    facts = grid.parent / "data" / job.dataset / "dataset.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"hash": "0" * 64}))
    assert not gputrain.is_done(chosen, job)


def test_a_scheduler_that_ends_it_leaves_nothing_behind(tmp_path, grid):
    """Trainings that would run for minutes: none is left, no record is, and the status says who ended it."""
    listed = json.loads(grid.read_text())["trainings"][:2]
    for job in listed:
        job["training"] |= {"max_steps": 10**6, "patience_steps": 10**6}
    grid.write_text(json.dumps({"trainings": listed}))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "seqbench", "gpu-check", "--out", str(out), "--allow-cpu"]
    command += ["--tiny", "--parts", "quality", "--grid", str(grid), "--share", "2"]
    process = psutil.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "valid ndcg@10" in line:
            break
    workers = process.children()
    process.terminate()
    process.stderr.read()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert len(workers) == 2 and not any(worker.is_running() for worker in workers)
    assert not list(out.rglob("record.json"))


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A GPU as far as device files go, and what was asked of the service's control."""
    asked = []

    def control(command, env, input=None, **_):
        asked.append((command[1:], input, env))
        return subprocess.CompletedProcess(command, 0)

    for module in (run, gputrain):
        monkeypatch.setattr(module, "gpu_devices", lambda: [Path("/dev/nvidia0")])
    monkeypatch.setattr(gputrain.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(gputrain.subprocess, "run", control)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(run.tempfile, "gettempdir", lambda: str(tmp_path))
    return asked


def test_sharing_is_by_the_service_is_said_and_ends(gpu, monkeypatch):
    import os

    before = dict(os.environ)
    with gputrain._shared_gpu(4):
        assert os.environ[SHARE] == "4 at once, MPS"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"  # leased once: workers lease nothing
        with run.device_lease() as visible:
            assert visible == {}
        assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == gpu[0][2]["CUDA_MPS_PIPE_DIRECTORY"]
    assert dict(os.environ) == before
    assert [(arguments, text) for arguments, text, _ in gpu] == [(["-d"], None), ([], "quit\n")]
    assert not any("CUDA_VISIBLE_DEVICES" in env for *_, env in gpu)


def test_one_training_at_a_time_shares_nothing(gpu):
    import os

    with gputrain._shared_gpu(1):
        assert SHARE not in os.environ and os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert not gpu


def test_without_the_service_they_take_turns(gpu, monkeypatch):
    import os

    monkeypatch.setattr(gputrain.shutil, "which", lambda _: None)
    with gputrain._shared_gpu(3):
        assert os.environ[SHARE] == "3 at once, in turns"
    assert not gpu
