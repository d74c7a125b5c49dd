"""A run that is killed leaves nothing that computes: each process ends with the one that asked for its work."""

import shlex
import signal
import sys

import psutil
import pytest
from real_processes import LIMIT_S, is_gone, said, start, until

from seqbench.hardware import leases

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Stands in for Snakemake: a shell with a pipe runs the command, and the variable says who asked.
ASKER = """
import os, subprocess, sys
from seqbench.core import processes
os.environ[processes.ASKED_BY] = processes.identity(os.getpid())
subprocess.run(["bash", "-c", "set -euo pipefail; " + sys.argv[1]])
"""
# Stands in for a command that takes long: it writes its id when it watches.
LONG = """
import os, sys, time
from seqbench.core import processes
processes.end_with_who_asked()
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(600)
"""


def test_a_killed_run_takes_shell_supervisor_and_what_it_waits_for_along(
    tmp_path, small, job, monkeypatch
):
    """The command itself, which waits for the machine here: nothing of it is there a moment later."""
    monkeypatch.setenv(leases.FOLDER, str(tmp_path))
    command = [sys.executable, "-m", "seqbench", "run", "--job", job.to_json(), "--dataset", small]
    command += ["--out", tmp_path / "out"]
    text = f"{shlex.join(map(str, command))} 2>&1 | tee {tmp_path / 'log'}"
    with leases.machine_lease(leases.EXCLUSIVE):
        asker = start(ASKER, text)
        until(lambda: "waits for the machine" in said(tmp_path / "log"), "the command waits")
        started = psutil.Process(asker.pid).children(recursive=True)
        assert len(started) >= 3  # shell, command, tee
        asker.kill()
        asker.wait()
        for process in started:
            until(lambda process=process: is_gone(process.pid), f"the end of {process}")
    assert not (tmp_path / "out/record.json").exists()


@pytest.mark.parametrize("killed", ["who asked", "the shell"])
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGHUP])
def test_a_command_ends_with_who_asked_and_with_its_shell(tmp_path, killed, by):
    file = tmp_path / "pid"
    asker = start(ASKER, f"{sys.executable} -c {shlex.quote(LONG)} {file} | cat")
    pid = int(until(lambda: said(file), "the command runs"))
    shell = psutil.Process(pid).parent()
    victim = shell if killed == "the shell" else psutil.Process(asker.pid)
    assert victim.pid != pid
    victim.send_signal(by)
    until(lambda: is_gone(pid), "the end of the command")
    asker.wait(LIMIT_S)


def test_what_nobody_asked_for_outlives_the_shell_that_started_it(tmp_path):
    """As under nohup: a command by hand ends when it is done."""
    file = tmp_path / "pid"
    text = f"{sys.executable} -c {shlex.quote(LONG)} {file}; true"
    shell = start("import subprocess, sys; subprocess.run(['bash', '-c', sys.argv[1]])", text)
    pid = int(until(lambda: said(file), "the command runs"))
    parent = psutil.Process(pid).parent()
    for process in (shell, parent):
        process.kill()
        process.wait()
    until(lambda: psutil.Process(pid).ppid() != parent.pid, "it has another parent")
    assert not is_gone(pid)
    psutil.Process(pid).kill()


def test_an_id_that_means_another_process_elsewhere_ends_nothing(monkeypatch):
    from seqbench.core import processes

    started = []
    monkeypatch.setattr(processes.threading.Thread, "start", lambda self: started.append(self))
    for text in ("", "nonsense", "other-kernel/pid:[1] 1 1"):
        monkeypatch.setenv(processes.ASKED_BY, text)
        processes.end_with_who_asked()
    assert started == []
    monkeypatch.setenv(processes.ASKED_BY, processes.identity(1))
    processes.end_with_who_asked()
    assert len(started) == 1
