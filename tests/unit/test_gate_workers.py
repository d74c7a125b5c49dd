"""Processes of both sides on one CPU: what they are asked, what a lost one leaves, their clock. Stubs but for one."""

import json
import os
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from seqbench.core.provenance import ROOT
from tools.gate import benches, command, process, workers


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

    kept, place = Kept(), process.Place(watch_s=0.01)
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
    """Two processes on one CPU: each counts what it computed and slept, however little of the wall that was."""
    script = (
        "import os, sys, time; sys.path.insert(0, sys.argv[1]); import benches\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "print(flush=True); sys.stdin.readline()\n"
        "used, own = time.process_time(), benches.clock()\n"
        "while time.process_time() - used < 0.3: pass\n"
        "print(benches.clock() - own - (time.process_time() - used), flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(process.STAGES.parent)]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for one in both:
        one.stdout.readline()
    for one in both:
        one.stdin.write("\n")
        one.stdin.flush()
    beyond = [float(one.communicate(timeout=600)[0]) for one in both]
    assert all(abs(s) < 0.05 for s in beyond), "0.6 s on the wall each, at least"
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
    """The limit is short for the request that hangs only: a busy machine may be slow with the others."""
    send, answer = process.Worker.send, process.Worker.answer

    def send_with_limit(self, *request):
        if request[0] == "make":
            self.made = request[1]
        hangs = request == ("run",) and (self.made, self.side) == ("hanging", "head")
        self.limit_s = 0.5 if hangs else 600.0
        send(self, *request)

    def answer_within_limit(self):
        monkeypatch.setattr(process, "LIMIT_S", self.limit_s)
        return answer(self)

    monkeypatch.setattr(process.Worker, "send", send_with_limit)
    monkeypatch.setattr(process.Worker, "answer", answer_within_limit)
    found = stubs.block(["hanging", "last"])
    assert found["hanging"] == {"error": "no answer within 0.5 s", "side": "head"}
    assert "change" in found["last"]


def test_no_process_is_left(stubs):
    with stubs._started(("base", "head")) as started:
        running = [worker._process for worker in started]
        assert all(one.poll() is None for one in running)
    assert all(one.poll() is not None for one in running)


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
