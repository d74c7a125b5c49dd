"""gpu-check as far as a CPU goes: the same code on a tiny plan, interrupted, resumed, and without what it may lack."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gpu_grid import plan_with
from import_graph import closure

from seqbench.core.errors import UserError
from tools.gpu import command, training
from tools.gpu import plan as planning
from tools.gpu.__main__ import main
from tools.gpu.bundle import unpack

ROOT = Path(__file__).parents[2]
ABSENT = (
    *("numba", "llvmlite", "pandas", "matplotlib", "snakemake", "jinja2", "pyarrow", "pytest"),
    *("scipy", "requests", "ruptures"),
)


# --- refusals


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parts", "tests costs"], "parts = 'costs': unknown; allowed: tests, scan, cost, train"),
        (["--allow-cpu", "--data", "nowhere"], "nowhere: holds no dataset.json"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, arguments, said):
    assert main(["check", "--out", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="there is a GPU")
def test_without_a_gpu_it_says_who_knows_more(tmp_path, capsys):
    assert main(["check", "--out", str(tmp_path)]) == 2
    assert "seqbench doctor" in capsys.readouterr().err


def test_all_missing_packages_are_named_at_once(monkeypatch):
    monkeypatch.setattr(
        command, "NEEDED", {"no_such_a": "a-dist", "torch": "torch", "no_such_b": "b-dist"}
    )
    with pytest.raises(
        UserError,
        match=r"missing packages: a-dist, b-dist; .*pip install a-dist b-dist.*PYTHONPATH",
    ):
        command._check_packages()


def test_every_package_that_it_reaches_is_named_or_may_be_absent():
    """`tqdm` was not: all trainings and measurements would have crashed without it."""
    files = [
        "tools/gpu/command.py",
        *(f"seqbench/{n}.py" for n in ("training/worker", "measuring/phases", "measuring/session")),
    ]
    models = [f"models/{name}.py" for name in ("mamba4rec", "sasrec", "bert4rec", "gru4rec")]
    kernels = {"triton", "mamba_ssm", "causal_conv1d"}  # a scan without them says so
    outside = packages_of(closure(ROOT, *files, *models)) - {
        "seqbench",
        "tools",
        "models",
        *kernels,
    }
    by_part = {name for needed in command.NEEDED_BY.values() for name in needed}
    assert outside - set(ABSENT) <= {*command.NEEDED, *by_part}


def packages_of(files):
    nodes = [n for file in files for n in ast.walk(ast.parse((ROOT / file).read_text()))]
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level}
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("damage", ["no JSON", "cut"])
def test_data_that_are_damaged_are_one_line(tmp_path, tiny, capsys, damage):
    copy = tmp_path / "data"
    shutil.copytree(tiny, copy)
    file = "dataset.json" if damage == "no JSON" else "items.npy"
    (copy / file).write_bytes(b"nope" if damage == "no JSON" else (copy / file).read_bytes()[:-9])
    options = ["--out", str(tmp_path / "out"), "--allow-cpu", "--data", str(copy)]
    assert main(["check", *options]) == 2
    error = capsys.readouterr().err
    assert file in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_make_hands_its_variables_on():
    command = ["make", "-n", "gpu-check", "PYTHON=python9", "ALLOW_CPU=1", "PARTS=scan cost"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "python9 -m tools.gpu check" in said and "--parts 'scan cost'" in said
    assert "--allow-cpu --tiny" in said


# --- parts that fail


def run(tmp_path, parts):
    return command.gpu_check(tmp_path / "out", parts, 3600, None, allow_cpu=True, tiny=True)


def test_a_job_that_crashed_is_a_failure_and_is_tried_again_last(tmp_path, monkeypatch):
    paths = [job.path for job in planning.jobs(plan_with(tmp_path, tiny=True))]
    order = []

    def measure(job, *_):
        order.append(job.path)
        return {"sasrec": "crashed" if job.path == paths[0] else "ok"}

    monkeypatch.setattr("seqbench.measuring.session.measure", measure)
    (tmp_path / "out/results" / paths[0]).mkdir(parents=True)  # it crashed in an earlier call
    assert run(tmp_path, "cost") == command.FAILED
    assert order == [*paths[1:], paths[0]]


def test_a_job_that_the_time_cut_is_not_done_though_it_left_a_record(tmp_path, monkeypatch):
    monkeypatch.setattr("seqbench.measuring.session.measure", lambda *_: {"sasrec": "ok"})
    monkeypatch.setattr(command, "is_done", lambda *_: False)  # of fewer rounds than asked for
    assert run(tmp_path, "cost") == command.UNFINISHED


def test_a_training_that_passed_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setitem(planning.TINY["measure"], "models", ["sasrec", "gru4rec"])
    started, results = [], {"sasrec": "ok", "gru4rec": "crashed"}
    monkeypatch.setattr("tools.gpu.training.supervise", lambda job, *_: started.append(job.model))
    monkeypatch.setattr(
        training,
        "_learned",
        lambda folder: {"status": results[folder.name], "first": 0.1, "last": 0.2},
    )
    assert run(tmp_path, "train") == command.FAILED
    results["gru4rec"] = "ok"
    assert run(tmp_path, "train") == command.DONE
    assert run(tmp_path, "train") == command.DONE
    assert started == ["sasrec", "gru4rec", "gru4rec"]
    monkeypatch.setattr(training, "identity", lambda *_: "other")
    assert run(tmp_path, "train") == command.DONE and len(started) == 5


# --- running


def check(out, *options, packages=None):
    """Run the command in a process; packages: names that cannot be imported in it or in what it starts."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    if packages:
        site = out.parent / "site"
        site.mkdir(exist_ok=True)
        lines = "\n".join(f"sys.modules[{name!r}] = None" for name in packages)
        (site / "sitecustomize.py").write_text(f"import sys\n{lines}\n")
        variables["PYTHONPATH"] = f"{site}{os.pathsep}{ROOT}"
    command = [
        sys.executable,
        "-m",
        "tools.gpu",
        "check",
        "--out",
        str(out),
        "--allow-cpu",
        "--tiny",
        *options,
    ]
    return subprocess.run(command, capture_output=True, text=True, env=variables, cwd=ROOT)


@pytest.mark.slow
def test_it_goes_on_where_it_was_stopped_and_its_archive_is_published(tmp_path):
    out = tmp_path / "check"
    first = check(out, "--parts", "cost", "--budget-s", "1")
    assert first.returncode == command.UNFINISHED, first.stderr
    assert "cost: not finished" in first.stdout and "goes on" in first.stdout
    rest = check(out)
    assert rest.returncode == 0, rest.stdout + rest.stderr
    assert len(list(out.rglob("results/**/record.json"))) == 5
    assert {p.stem for p in (out / "checks").glob("*.json")} == {"tests", "scan", "train"}
    trained = json.loads((out / "checks/train.json").read_text())["models"]["sasrec"]
    assert trained["status"] == "ok" and trained["last"] > trained["first"]
    made = {p: p.stat().st_mtime_ns for p in out.rglob("results/**/record.json")}
    lost = max(made)
    lost.unlink()  # as if it had been interrupted there
    again = check(out)
    assert again.returncode == 0 and again.stderr.count("gpu-check: cost") == 1
    assert {p for p, t in made.items() if p.stat().st_mtime_ns != t} == {lost}
    archive = next(out.glob("gpu-check-*.tar.gz"))
    assert f"packed: {archive}" in again.stdout
    folder = unpack(archive, tmp_path / "results")
    published = ("README.md", "scaling.csv", "gpu-check/scan.json")
    assert all((folder / name).exists() for name in published)


@pytest.mark.slow
def test_it_needs_no_more_packages_than_it_names(tmp_path):
    """Nor numba, whose kernels are for CPUs: what replaces them runs, and the records say so."""
    out = tmp_path / "check"
    found = check(out, packages=ABSENT)
    assert found.returncode == 0, found.stdout + found.stderr
    assert not set(ABSENT) & set(command.NEEDED)
    reasons = {
        json.loads(p.read_text())["values"]["backend"]["kernels"]["used"]
        for p in out.rglob("results/**/record.json")
    }
    assert reasons == {"torch"}
    tests = json.loads((out / "checks/tests.json").read_text())
    assert tests == {"status": "not run", "reason": "pytest is not installed"}


def test_a_part_that_breaks_leaves_the_others_their_turn(tmp_path, monkeypatch):
    def broken(_):
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(command, "_RUN", {"scan": broken, "cost": lambda _: command.DONE})
    monkeypatch.setattr(command, "_check_device", lambda _: None)
    assert command.gpu_check(tmp_path, "scan cost", 3600.0, None) == command.FAILED
    assert json.loads((tmp_path / "checks/scan.json").read_text()) == {
        "status": "failed", "reason": "RuntimeError: no kernel image",
    }  # fmt: skip
    assert list(tmp_path.glob("gpu-check-*.tar.gz"))


def test_a_scan_of_another_size_is_another_result(tmp_path, monkeypatch):
    """A tiny try in the same folder must not stand for the paper's size."""
    asked = []
    monkeypatch.setattr(command, "_once", lambda plan, part, made_by, run: asked.append(made_by))
    for small in (True, False, True):
        command._scan(plan_with(tmp_path, tiny=small))
    assert asked[0] == asked[2] != asked[1] and asked[1].endswith("cpu 2048 x 200 x 128")
