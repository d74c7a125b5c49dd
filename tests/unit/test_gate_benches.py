"""Benchmarks as stages: pytest-benchmark in all four processes, one at a time; what fails or cannot be collected is said."""

import json
from collections import Counter

import pytest

from tools.gate import benches


def test_every_benchmark_is_a_stage_but_those_that_are_stages_already(stubs):
    found = stubs.block(["bench/quick", "bench/slow", "bench/scoring"])
    assert list(found) == ["bench/quick", "bench/slow"]
    quick, slow = (min(found[name]["base"] + found[name]["head"]) for name in found)
    assert 0 < quick < slow < 1


@pytest.mark.slow
def test_only_the_benchmarks_that_are_asked_for_run(stubs, bench_folder):
    (bench_folder / "test_more.py").write_text(
        "def test_never(benchmark):\n    raise SystemExit(3)\n"
    )
    assert list(stubs.block(["bench/slow"])) == ["bench/slow"]


@pytest.mark.slow
def test_a_short_benchmark_runs_many_rounds_by_the_clock_of_the_stages(
    stubs, bench_folder, tmp_path
):
    (bench_folder / "test_paths.py").write_text(
        "import os\n\n"
        "def note():\n    open('rounds', 'a').write(os.path.basename(os.environ['PYTHONPATH']) + chr(10))\n\n"
        "def test_noting(benchmark):\n    benchmark(note)\n    assert benchmark._timer.__name__ == 'clock'\n"
    )
    found = stubs.block(["bench/noting"])
    counted = Counter((tmp_path / "rounds").read_text().split())
    assert list(found) == ["bench/noting"]
    for side in ("base", "head"):
        assert 2 * (2 + benches.FEWEST) < counted[side] <= 2 * (2 + benches.MOST)


@pytest.mark.slow
def test_a_benchmark_that_fails_under_one_side_or_is_skipped_on_both(stubs, bench_folder):
    (bench_folder / "test_more.py").write_text(
        "import os, pytest\n\n"
        "def test_here(benchmark):\n    assert 'base' not in os.environ['PYTHONPATH'].split('/')\n    benchmark(int)\n\n"
        "def test_nowhere(benchmark):\n    pytest.skip('needs a GPU')\n"
    )
    found = stubs.block(["bench/here", "bench/nowhere", "bench/quick"])
    here = found.pop("bench/here")
    assert here["side"] == "base" and here["error"].startswith("AssertionError")
    assert list(found) == ["bench/quick"], "what both skip is not for this machine"


@pytest.mark.slow
def test_a_benchmark_that_fails_on_both_sides_or_only_after_it_was_timed(stubs, bench_folder):
    (bench_folder / "test_more.py").write_text(
        "import os\n\n"
        "def test_both(benchmark):\n    benchmark(lambda: 1 / 0)\n\n"
        "def test_wrong(benchmark):\n    assert benchmark(lambda: 'head' not in os.environ['PYTHONPATH'].split('/'))\n"
    )
    found = stubs.block(["bench/both", "bench/wrong"])
    assert found["bench/both"] == {"error": "ZeroDivisionError: division by zero", "side": "head"}
    assert found["bench/wrong"]["side"] == "head"


@pytest.mark.slow
def test_a_worker_that_ends_within_a_benchmark_is_blamed_on_its_own_side(stubs, bench_folder):
    (bench_folder / "test_more.py").write_text(
        "import os\n\n"
        "def test_ending(benchmark):\n    benchmark(lambda: 'base' in os.environ['PYTHONPATH'].split('/') and os._exit(3))\n"
    )
    found = stubs.block(["bench/ending"])
    assert found == {"bench": {"error": "the process ended: no message", "side": "base"}}


@pytest.mark.slow
def test_a_pedantic_benchmark_waits_as_well(stubs, bench_folder):
    (bench_folder / "test_more.py").write_text(
        "def test_pedantic(benchmark):\n    benchmark.pedantic(lambda: sum(range(10_000)), rounds=7)\n"
        "    assert benchmark._timer.__name__ == 'clock'\n"
    )
    assert "change" in stubs.block(["bench/pedantic"])["bench/pedantic"]


@pytest.mark.slow
def test_benchmarks_that_cannot_be_collected_are_named_and_not_lost_silently(stubs, bench_folder):
    (bench_folder / "test_more.py").write_text("import nothing_of_that_name\n")
    found = stubs.block(["bench/quick", "last"])
    assert set(found) == {"bench", "last"}
    assert "nothing_of_that_name" in found["bench"]["error"] and found["bench"]["side"] == "head"


def test_pytest_s_own_json_is_what_is_read(tmp_path):
    file = tmp_path / "bench.json"
    assert benches.read(file) == {}
    made = [
        {"name": name, "stats": {"data": rounds}}
        for name, rounds in (("test_a", [0.2, 0.1]), ("test_b[x-1]", [0.3]))
    ]
    file.write_text(json.dumps({"benchmarks": made}))
    assert benches.read(file) == {"bench/a": [0.2, 0.1], "bench/b[x-1]": [0.3]}


def test_the_project_s_own_benchmarks_cover_what_the_gate_promises():
    text = "".join(file.read_text() for file in benches.FOLDER.glob("test_*.py"))
    for path in ("k_core", "training_windows", "Gatherer", "rank_target", "per_user", "resampled_user_means", "selective_scan"):  # fmt: skip
        assert path in text
    assert not benches.compared("bench/training_step[sasrec]") and not benches.compared("bench/scan[numba-8-2048]")  # fmt: skip
    assert benches.compared("bench/scan[numba-64-50]")
