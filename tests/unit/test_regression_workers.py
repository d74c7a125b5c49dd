"""Processes of both sides on one CPU: what they are asked, what a lost one leaves, their clock, benchmarks. Stubs but for one."""

import json
import os
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from seqbench.code import ROOT
from seqbench.regression import benches, command, workers

STUB = """
import argparse, os, sys, time
from multiprocessing.connection import Connection
sys.path.insert(0, {folder!r})
import benches
parser = argparse.ArgumentParser()
for name in ("root", "data", "bench", "fd"):
    parser.add_argument("--" + name)
a = parser.parse_args()
side, log, connection, made = os.path.basename(a.root), a.data + "/runs", Connection(int(a.fd)), None

def note(what):
    with open(log, "a") as file:
        file.write(what + " " + side + " " + str(sorted(os.sched_getaffinity(0))) + chr(10))

while True:
    try:
        what, *rest = connection.recv()
    except EOFError:
        break
    if what == "names":
        connection.send(["quick", "lacking", "dying", "once", "hanging", "threaded", "last"])
    elif what == "make":
        made = rest[0]
        note("make")
        if made == "lacking" and side == "base":
            connection.send({{"error": "ImportError: not yet"}})
        elif made == "dying" and side == "head":
            sys.exit("Segmentation of everything")
        elif made == "once" and side == "head" and not os.path.exists(log + "-died"):
            open(log + "-died", "w").close()
            os._exit(3)
        else:
            connection.send({{}})
    elif what == "run":
        if made == "hanging" and side == "head":
            time.sleep(60)
        note("run")
        seconds = [0.001, 0.001, 0.004] if side == "base" else [0.0011, 0.0044, 0.0044, 9.0]
        connection.send({{"s": seconds, "elsewhere": 0.3 if made == "threaded" else 0.01}})
    else:
        from pathlib import Path
        benches.serve(connection, Path(a.bench))
"""
SOUND = """
def test_quick(benchmark):
    assert benchmark(lambda: sum(range(1000))) == 499500

def test_slow(benchmark):
    assert benchmark(lambda: sum(range(200_000))) > 0

def test_scoring(benchmark):
    assert benchmark(lambda: 1) == 1
"""


@pytest.fixture
def folder(tmp_path):
    """A folder of benchmarks in place of the project's."""
    path = tmp_path / "bench"
    path.mkdir()
    (path / "test_paths.py").write_text(SOUND)
    return path


@pytest.fixture
def stubs(tmp_path, monkeypatch, folder):
    """Workers of two checkouts named base and head that run no code of the project's but benches.py."""
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        monkeypatch.delenv(name)  # a worker is no worker of xdist
    script = tmp_path / "stub.py"
    script.write_text(STUB.format(folder=str(workers.STAGES.parent)))
    monkeypatch.setattr(workers, "STAGES", script)
    roots = {side: tmp_path / side for side in ("base", "head")}
    for root in roots.values():
        root.mkdir()
    return workers.Workers(roots, tmp_path, dict.fromkeys(roots, sys.executable), folder)


def test_all_four_run_on_one_cpu_and_build_on_any(stubs, tmp_path):
    stubs.block(["quick", "last"])
    lines = [line.split(" ", 2) for line in (tmp_path / "runs").read_text().splitlines()]
    assert Counter(line[0] for line in lines) == {"make": 8, "run": 8}
    assert Counter(line[1] for line in lines) == {"base": 8, "head": 8}
    everywhere = sorted(os.sched_getaffinity(0))
    assert all(json.loads(cpus) == everywhere for what, _, cpus in lines if what == "make")
    (where,) = {cpus for what, _, cpus in lines if what == "run"}
    assert len(json.loads(where)) == 1 and set(json.loads(where)) <= set(everywhere)


def test_what_is_not_timed_may_use_every_cpu():
    class Kept:
        cpus = None

        def keep_on(self, cpus):
            self.cpus = cpus

    kept, place = Kept(), workers.Place(watch_s=0.01)
    with place.one_cpu([kept]):
        assert len(kept.cpus) == 1
    assert set(kept.cpus) == os.sched_getaffinity(0)


def test_a_worker_moves_with_all_its_threads(stubs):
    with stubs._started(("base",)) as (worker,):
        worker.ask("names")
        worker.keep_on([min(os.sched_getaffinity(0))])
        tasks = os.listdir(f"/proc/{worker._process.pid}/task")
        assert tasks and all(len(os.sched_getaffinity(int(task))) == 1 for task in tasks)
        worker._process.kill()
        worker._process.wait()
        worker.keep_on([min(os.sched_getaffinity(0))])  # its answer will say that it ended


def test_a_ratio_is_that_of_runs_at_the_same_time(stubs):
    """Whatever the machine does to a run of base it does to head's, a tenth slower; one process came to more runs."""
    machine = np.array([1.0, 1.0, 4.0])
    found = workers.result([machine, 1.1 * machine, 1.1 * machine, [*machine, 2.0, 2.0]])
    assert found["change"] == pytest.approx([np.log(1.1)] * 2)
    assert found["own"] == pytest.approx([0, 0])
    assert found["base"] == [1.0, 1.0] and found["head"] == pytest.approx([1.1, 1.1])
    moved = stubs.block(["quick"])["quick"]  # ratios 1.1, 4.4, 1.1, ratio of the medians 4.4
    assert moved["change"] == pytest.approx([np.log(1.1)] * 2)


def test_a_run_of_no_length_is_nobody_s_fault_and_no_figure():
    found = workers.result([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    assert found["side"] == workers.BOTH and "no time" in found["error"]


def test_work_that_the_clock_does_not_see_is_said(stubs):
    found = stubs.block(["threaded", "last"])
    assert found["threaded"]["side"] == workers.BOTH and "used 30% of" in found["threaded"]["error"]
    assert "change" in found["last"]


def test_the_clock_stands_still_while_others_have_the_cpu():
    """Two processes on one CPU: each sees about half of the wall pass. It does not stand still while a process sleeps."""
    script = (
        "import os, sys, time; sys.path.insert(0, sys.argv[1]); import benches\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "print(flush=True); sys.stdin.readline()\n"
        "wall, own = time.perf_counter(), benches.clock()\n"
        "while time.perf_counter() - wall < 1: pass\n"
        "time.sleep(0.2)\n"
        "print(benches.clock() - own, flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(workers.STAGES.parent)]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        process.stdout.readline()
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    own = [float(process.communicate(timeout=60)[0]) for process in both]
    assert all(0.2 < s < 1.1 for s in own) and sum(own) < 1.9, "1.2 s on the wall each"
    start = benches.clock()
    time.sleep(0.2)
    assert benches.clock() - start > 0.19


def test_without_that_clock_nothing_is_compared(monkeypatch, tmp_path):
    def none(thread):
        raise FileNotFoundError(thread)

    assert benches.counts()
    monkeypatch.setattr(benches, "_file", none)
    assert not benches.counts()
    found, reason = command.against(ROOT, ROOT, 10.0, tmp_path)
    assert found is None and "does not count how long a thread waits" in reason


def test_what_one_side_lacks_is_an_error_of_that_side(stubs):
    found = stubs.block(["lacking", "last"])
    assert found["lacking"] == {"error": "ImportError: not yet", "side": "base"}
    assert "change" in found["last"]


def test_a_process_that_dies_takes_one_stage_with_it(stubs):
    found = stubs.block(["dying", "last"])
    assert found["dying"] == {
        "error": "the process ended: Segmentation of everything",
        "side": "head",
    }
    assert "change" in found["last"], "a fresh one went on"


def test_a_process_that_dies_once_is_an_accident(stubs):
    found = stubs.block(["once"])
    assert "change" in found["once"]


def test_a_process_that_hangs_is_given_up(stubs, monkeypatch):
    monkeypatch.setattr(workers, "LIMIT_S", 8.0)
    found = stubs.block(["hanging", "last"])
    assert found["hanging"] == {"error": "no answer within 8 s", "side": "head"}
    assert "change" in found["last"]


def test_no_process_is_left(stubs):
    with stubs._started(("base", "head")) as started:
        processes = [worker._process for worker in started]
        assert all(process.poll() is None for process in processes)
    assert all(process.poll() is not None for process in processes)


def test_every_benchmark_is_a_stage_but_those_that_are_stages_already(stubs):
    found = stubs.block(["bench/quick", "bench/slow", "bench/scoring"])
    assert list(found) == ["bench/quick", "bench/slow"]
    quick, slow = (min(found[name]["base"] + found[name]["head"]) for name in found)
    assert 0 < quick < slow < 1


def test_only_the_benchmarks_that_are_asked_for_run(stubs, folder):
    (folder / "test_more.py").write_text("def test_never(benchmark):\n    raise SystemExit(3)\n")
    assert list(stubs.block(["bench/slow"])) == ["bench/slow"]


def test_a_short_benchmark_runs_many_rounds_by_the_clock_of_the_stages(stubs, folder, tmp_path):
    (folder / "test_paths.py").write_text(
        "import os\n\n"
        "def note():\n    open('rounds', 'a').write(os.path.basename(os.environ['PYTHONPATH']) + chr(10))\n\n"
        "def test_noting(benchmark):\n    benchmark(note)\n    assert benchmark._timer.__name__ == 'clock'\n"
    )
    found = stubs.block(["bench/noting"])
    counted = Counter((tmp_path / "rounds").read_text().split())
    assert list(found) == ["bench/noting"]
    for side in ("base", "head"):
        assert 2 * (2 + benches.FEWEST) < counted[side] <= 2 * (2 + benches.MOST)


def test_a_benchmark_that_fails_under_one_side_or_is_skipped_on_both(stubs, folder):
    (folder / "test_more.py").write_text(
        "import os, pytest\n\n"
        "def test_here(benchmark):\n    assert 'base' not in os.environ['PYTHONPATH'].split('/')\n    benchmark(int)\n\n"
        "def test_nowhere(benchmark):\n    pytest.skip('needs a GPU')\n"
    )
    found = stubs.block(["bench/here", "bench/nowhere", "bench/quick"])
    here = found.pop("bench/here")
    assert here["side"] == "base" and here["error"].startswith("AssertionError")
    assert list(found) == ["bench/quick"], "what both skip is not for this machine"


def test_a_benchmark_that_fails_on_both_sides_or_only_after_it_was_timed(stubs, folder):
    (folder / "test_more.py").write_text(
        "import os\n\n"
        "def test_both(benchmark):\n    benchmark(lambda: 1 / 0)\n\n"
        "def test_wrong(benchmark):\n    assert benchmark(lambda: 'head' not in os.environ['PYTHONPATH'].split('/'))\n"
    )
    found = stubs.block(["bench/both", "bench/wrong"])
    assert found["bench/both"] == {"error": "ZeroDivisionError: division by zero", "side": "head"}
    assert found["bench/wrong"]["side"] == "head"


def test_a_worker_that_ends_within_a_benchmark_is_blamed_on_its_own_side(stubs, folder):
    (folder / "test_more.py").write_text(
        "import os\n\n"
        "def test_ending(benchmark):\n    benchmark(lambda: 'base' in os.environ['PYTHONPATH'].split('/') and os._exit(3))\n"
    )
    found = stubs.block(["bench/ending"])
    assert found == {"bench": {"error": "the process ended: no message", "side": "base"}}


def test_a_pedantic_benchmark_waits_as_well(stubs, folder):
    (folder / "test_more.py").write_text(
        "def test_pedantic(benchmark):\n    benchmark.pedantic(lambda: sum(range(10_000)), rounds=7)\n"
        "    assert benchmark._timer.__name__ == 'clock'\n"
    )
    assert "change" in stubs.block(["bench/pedantic"])["bench/pedantic"]


def test_benchmarks_that_cannot_be_collected_are_named_and_not_lost_silently(stubs, folder):
    (folder / "test_more.py").write_text("import nothing_of_that_name\n")
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


@pytest.mark.slow
def test_real_workers_time_this_checkout_and_say_what_another_lacks(tmp_path):
    """Head is an empty folder: every stage fails there, whose stages they are."""
    pythons = dict.fromkeys(("base", "head"), sys.executable)
    empty = tmp_path / "nothing"
    empty.mkdir()
    found = workers.Workers({"base": ROOT, "head": empty}, tmp_path, pythons).block(["train/sasrec/L50", "report"])  # fmt: skip
    assert list(found) == ["train/sasrec/L50", "report"]
    assert all(result["side"] == "head" and "No module" in result["error"] for result in found.values())  # fmt: skip
    both = workers.Workers({"base": ROOT, "head": ROOT}, tmp_path, pythons).block(["inference/gru4rec/L200", "evaluate"])  # fmt: skip
    times = both["inference/gru4rec/L200"]
    assert all(s > 0 for s in times["base"] + times["head"])
    assert abs(np.mean(times["change"])) < 1, "a sign or a unit is wrong"
    assert both["evaluate"]["side"] == "head" and "dataset" in both["evaluate"]["error"], "no data was made for it"  # fmt: skip
