"""Benchmarks in the comparison: pytest-benchmark's own JSON in, seconds by stage out; failures named and not fatal."""

import json
import os
import subprocess
import sys

import pytest

from seqbench.code import ROOT
from seqbench.regression import benches, pairs

SOUND = """
def test_quick(benchmark):
    assert benchmark(lambda: sum(range(1000))) == 499500

def test_slow(benchmark):
    assert benchmark(lambda: sum(range(200_000))) > 0

def test_scoring(benchmark):
    assert benchmark(lambda: 1) == 1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of benchmarks in place of the project's."""
    path = tmp_path / "bench"
    path.mkdir()
    (path / "test_paths.py").write_text(SOUND)
    monkeypatch.setattr(benches, "FOLDER", path)
    return path


def run(tmp_path, only=None):
    """What one process of a side says of the benchmarks, without the stages proper."""
    stages = ["none of the stages"] if only is None else only
    out, timed = tmp_path / "out.json", tmp_path / "bench.json"
    command = [
        sys.executable,
        pairs.STAGES,
        "--root",
        ROOT,
        "--data",
        tmp_path,
        "--out",
        out,
        "--only",
        *stages,
    ]
    command += ["--bench", json.dumps(benches.arguments(timed, only))]
    outside = {
        k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")
    }  # no worker of xdist
    subprocess.run(command, check=True, capture_output=True, env={**outside, "PYTHONPATH": str(ROOT)})  # fmt: skip
    return json.loads(out.read_text()) | benches.read(timed)


def test_every_benchmark_is_a_stage_but_those_that_are_stages_already(folder, tmp_path):
    found = run(tmp_path)
    assert set(found) == {"bench/quick", "bench/slow"}
    assert 0 < found["bench/quick"]["s"] < found["bench/slow"]["s"] < 1


def test_only_those_that_are_asked_for_run_again(folder, tmp_path):
    assert set(run(tmp_path, ["no such stage", "bench/slow"])) == {"bench/slow"}
    assert set(run(tmp_path, ["bench/slow[numba-64-50]"])) == {"bench/slow"}


def test_without_any_of_them_nothing_starts(folder, tmp_path):
    (folder / "test_paths.py").write_text("raise SystemExit('must not be read')")
    assert run(tmp_path, ["no such stage"]) == {}


def test_what_one_revision_lacks_is_named_and_the_rest_is_kept(folder, tmp_path):
    (folder / "test_more.py").write_text(
        "def test_new(benchmark):\n    from seqbench import nothing_of_that_name\n"
    )
    found = run(tmp_path)
    assert set(found) == {"bench/quick", "bench/slow", "bench"}
    assert "nothing_of_that_name" in found["bench"]["error"]


def test_a_failure_on_one_side_ends_as_not_comparable_and_not_as_a_crash():
    def fake(side, only):
        both = {"prepare": {"s": 1.0}, "bench/quick": {"s": 0.1}}
        return both | ({"bench": {"error": "ImportError: gone"}} if side == "base" else {})

    clock = iter(range(10_000))
    found = pairs.compare(fake, 100, lambda: next(clock))
    verdicts = {v.stage: v for v in found.verdicts()}
    assert verdicts["bench"].verdict == "not comparable"
    assert verdicts["bench"].reason == "base: ImportError: gone"
    assert {"prepare", "bench/quick"} <= set(found.base)


def test_the_project_s_own_benchmarks_cover_what_the_gate_promises():
    text = "".join(file.read_text() for file in benches.FOLDER.glob("test_*.py"))
    for path in ("k_core", "training_windows", "Gatherer", "rank_target", "per_user", "resampled_user_means", "selective_scan"):  # fmt: skip
        assert path in text
