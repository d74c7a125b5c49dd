"""Two runs at once in two checkouts and on one GPU: who computes when, by what the processes themselves note."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from itertools import combinations

import pytest
from real_processes import LIMIT_S, ROOT, start

from seqbench.core.jobs import FULL_LENGTH, MeasurementJob
from seqbench.core.records import read_record
from seqbench.hardware.leases import EXCLUSIVE, SHARED

# In the place of a checkout's seqbench/__main__.py: it notes from when to when its process computes.
NOTES = """
import importlib, json, os, sys, time
from seqbench import cli
WORK = {
    "prepare": ("seqbench.data", "prepare"), "train": ("seqbench.training.worker", "run"),
    "measure": ("seqbench.measuring.session", "_in_fresh_process"), "collect": ("seqbench.analysis.collect", "collect"),
}
verb = sys.argv[1]

def noted(function):
    def call(*arguments, **options):
        begun = time.monotonic()
        try:
            return function(*arguments, **options)
        finally:
            with open(os.environ["NOTES"], "a") as notes:
                notes.write(json.dumps([verb, os.getpid(), begun, time.monotonic()]) + chr(10))
    return call

if __name__ == "__main__":
    if verb in WORK:
        module, name = WORK[verb]
        module = importlib.import_module(module)
        setattr(module, name, noted(getattr(module, name)))
    raise SystemExit(cli.main())
"""


@pytest.mark.slow
def test_in_two_checkouts_nothing_computes_while_one_of_them_measures(tmp_path, small, job):
    measured = MeasurementJob(
        FULL_LENGTH, "matched", 16, (("sasrec", (("d_model", 16),)),), targets_per_step=64, eval_batch=8, rounds=1,
        steps=2, warmup=1, n_items=30,
    )  # fmt: skip
    synthetic = {"source": "synthetic", "k_core": 1, "synthetic": {"n_users": 60, "n_items": 20, "mean_length": 10}}  # fmt: skip
    arguments = [
        ["run", "--job", job.to_json(), "--dataset", small, "--out", "train"],
        ["measure", "--job", measured.to_json(), "--out", "cost"],
        ["prepare", "--name", "x", "--definition", json.dumps(synthetic), "--data-dir", ".", "--out", "data/x"],
    ]  # fmt: skip
    processes = []
    for name in ("a", "b"):
        for part in ("seqbench", "models", "workflow/schemas"):
            shutil.copytree(ROOT / part, tmp_path / name / part)
        (tmp_path / name / "seqbench/__main__.py").write_text(NOTES)
        for own in arguments:
            command = [sys.executable, "-m", "seqbench", *map(str, own)]
            variables = {**os.environ, "NOTES": str(tmp_path / "notes"), "PYTHONPATH": ""}
            processes.append(subprocess.Popen(command, cwd=tmp_path / name, env=variables))
    assert [process.wait(LIMIT_S) for process in processes] == [0] * len(processes)
    notes = [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]
    who = Counter(verb for verb, _ in {(verb, pid) for verb, pid, *_ in notes})
    assert who == {"measure": 2, "prepare": 2, "train": 2}
    for one, other in combinations(notes, 2):
        if "measure" in (one[0], other[0]) and one[1] != other[1]:
            assert one[3] <= other[2] or other[3] <= one[2], (one, other)
    for name in ("a", "b"):
        load = read_record(tmp_path / name / "cost/sasrec")["load"]
        assert load["own_jobs_beside"] == {"start": 0, "end": 0}


GPU = """
import os, sys, time
from seqbench.hardware import leases
os.environ.pop("CUDA_VISIBLE_DEVICES", None)
leases.gpu_devices = lambda: ["nvidia0"]
with leases.lease(sys.argv[1]) as visible:
    print("holds", visible["CUDA_VISIBLE_DEVICES"], flush=True)
    time.sleep(600)
"""


def test_two_runs_on_one_gpu_take_turns(tmp_path):
    """Each says what it waits for, in one line: the second training for the GPU, the measurement for the machine."""
    first = start(GPU, SHARED)
    assert first.stdout.readline() == "holds 0\n"
    second = start(GPU, SHARED)
    assert second.stderr.readline().startswith("waits for a GPU: each of the 1 is leased")
    measurement = start(GPU, EXCLUSIVE)
    said = measurement.stderr.readline()
    assert said.startswith("waits for the machine") and f"{second.pid} (shared)" in said
    first.kill()
    assert second.stdout.readline() == "holds 0\n"
    second.kill()
    assert measurement.stdout.readline() == "holds 0\n"
    measurement.kill()
    for process in (first, second, measurement):
        process.communicate(timeout=LIMIT_S)
