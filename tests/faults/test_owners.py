"""One owner of a folder of outputs, and one run of the workflow in a folder: both known by locks that end with a process."""

import subprocess
import sys

import pytest
from real_processes import LIMIT_S, said, start, until

from seqbench.core import processes, runs
from seqbench.core.errors import UserError
from seqbench.core.ownership import LOCK, is_owned, owned

OWN = """
import sys, time
from seqbench.core.ownership import owned
with owned(sys.argv[1]):
    open(sys.argv[2], "w").write("owned")
    time.sleep(float(sys.argv[3]))
"""


def test_a_folder_that_another_process_writes_into_is_waited_for_until_it_dies(tmp_path):
    first = start(OWN, tmp_path / "out", tmp_path / "first", 600)
    until(lambda: said(tmp_path / "first"), "the first owns it")
    second = start(OWN, tmp_path / "out", tmp_path / "second", 0)
    line = second.stderr.readline()
    assert f"waits for process {first.pid}, which writes into {tmp_path / 'out'}" in line
    assert not said(tmp_path / "second") and is_owned(tmp_path / "out")
    first.kill()
    first.wait()
    assert second.wait(LIMIT_S) == 0 and said(tmp_path / "second")
    assert not (tmp_path / "out" / LOCK).exists() and not is_owned(tmp_path / "out")


def test_a_worker_of_the_owner_does_not_wait_for_it(tmp_path, monkeypatch):
    with owned(tmp_path) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with owned(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()


def test_what_a_killed_owner_was_writing_is_swept(tmp_path):
    from seqbench.data.store import sweep

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    place = processes.in_name().partition("-")[0]
    for name in (f".record.json.{place}-{ended.pid}.tmp", ".letter.tmp", "record.json"):
        (tmp_path / name).touch()
    with owned(tmp_path):
        found = {file.name for file in tmp_path.iterdir()}
        assert found == {LOCK, ".letter.tmp", "record.json"}, "nobody else's file is swept"
    for name in (".ml-abcd_f12", ".ml-x-abcd_f12", ".ml-kept", "ml"):
        (tmp_path / name).mkdir()
    sweep(tmp_path / "ml")
    left = {file.name for file in tmp_path.iterdir() if file.is_dir()}
    assert left == {".ml-x-abcd_f12", ".ml-kept", "ml"}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written into"), owned(tmp_path / "file/out"):
        pass


RUN = """
import sys, time
from pathlib import Path
from seqbench.core import processes, runs
runs.register(Path(sys.argv[1]))
open(sys.argv[2], "w").write("registered")
time.sleep(float(sys.argv[3]))
"""


def lock(snakemake):
    """As Snakemake writes it, and leaves it when it is killed."""
    file = snakemake / "locks/0.output.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("results/data/x")
    return file


def test_the_lock_of_a_killed_run_goes_and_that_of_a_live_one_stays(tmp_path):
    state = tmp_path / ".snakemake"
    first = start(RUN, state, tmp_path / "first", 600)
    until(lambda: said(tmp_path / "first"), "the first runs")
    file = lock(state)
    second = start(RUN, state, tmp_path / "second", 0)
    second.wait(LIMIT_S)
    assert file.exists() and f"process {first.pid}: wait for it, or end it" in runs.in_use(state)
    first.kill()
    first.wait()
    third = start(RUN, state, tmp_path / "third", 0)
    _, told = third.communicate(timeout=LIMIT_S)
    assert not file.exists() and "its lock is removed" in told
    assert len(list((state / "runs").glob("*-*-*.lock"))) == 1  # files of the dead are gone


def test_a_run_on_another_machine_keeps_its_lock_although_nobody_locks_here(tmp_path, monkeypatch):
    """Not every shared file system passes locks on; without Snakemake's lock its file means nothing."""
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "ffffffff-elsewhere-7.lock").touch()
    file = lock(tmp_path)
    monkeypatch.setattr(runs, "_open", [])
    runs.register(tmp_path)
    told = runs.in_use(tmp_path)
    assert file.exists() and "process 7 on elsewhere" in told and "--unlock" in told
    file.unlink()
    runs.register(tmp_path)
    assert not (folder / "ffffffff-elsewhere-7.lock").exists() and runs.in_use(tmp_path) is None


BEGIN = """
import sys, time
from pathlib import Path
from seqbench.core import processes, runs
runs.register(Path(sys.argv[1]))
runs.begin(Path(sys.argv[1]))
print("computes", flush=True)
time.sleep(600)
"""


def test_of_two_runs_that_both_found_no_lock_one_computes(tmp_path):
    """Snakemake looks for locks before it writes its own."""
    state = tmp_path / ".snakemake"
    first = start(BEGIN, state)
    assert first.stdout.readline() == "computes\n"
    second = start(BEGIN, state)
    _, told = second.communicate(timeout=LIMIT_S)
    assert f"UserError: this folder is in use by process {first.pid}: wait for it" in told
    first.kill()
    first.wait()
    third = start(BEGIN, state)
    assert third.stdout.readline() == "computes\n"
    third.kill()
    third.wait()


# Snakemake's handler takes a lock, which its main thread holds while it selects jobs.
TERM = """
import os, signal, sys, threading
from pathlib import Path
from seqbench.core import processes, runs
lock, ended = threading.Lock(), threading.Event()
def gracefully(*_):
    with lock:
        ended.set()
signal.signal(signal.SIGTERM, gracefully)
runs.begin(Path(sys.argv[1]))
with lock:
    os.kill(os.getpid(), signal.SIGTERM)
ended.wait()
"""


def test_a_run_that_is_ended_while_it_selects_jobs_ends(tmp_path):
    run = start(TERM, tmp_path)
    run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0
