"""One process of tier 2: started, asked, kept on one CPU, ended, replaced; what it runs is `stages.py`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import psutil

from seqbench.core.processes import die_with_parent, prctl
from seqbench.hardware.worker_env import worker_environment

STAGES = Path(__file__).with_name("stages.py")
LIMIT_S = 120.0  # of one request


class Lost(Exception):
    """A worker that ended, or did not answer in time; the text says why, ``side`` whose it was."""

    def __init__(self, side: str, why: str) -> None:
        super().__init__(why)
        self.side = side


class Worker:
    """One process of one side."""

    def __init__(self, side: str, python: str, root: Path, data: Path, bench: Path) -> None:
        self.side, self._arguments = side, (python, root, data, bench)
        self._start()

    def _start(self) -> None:
        python, root, data, bench = self._arguments
        self._connection, theirs = Pipe()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        with theirs:
            command = [python, str(STAGES), "--root", str(root), "--data", str(data)]
            command += ["--bench", str(bench), "--fd", str(theirs.fileno())]
            variables = {**worker_environment(1), "PYTHONPATH": str(root)}
            die = partial(die_with_parent, os.getpid(), prctl())
            self._process = subprocess.Popen(
                command, cwd=data, env=variables, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=self._log, stderr=self._log, preexec_fn=die,
            )  # fmt: skip

    def send(self, *request: Any) -> None:
        """Ask for something; the answer is for ``answer`` to fetch."""
        with contextlib.suppress(BrokenPipeError):  # it has ended: its answer says why
            self._connection.send(request)

    def answer(self) -> Any:
        """What it says to the request before.

        Raises:
            Lost: it ended or took longer than ``LIMIT_S``.
        """
        try:
            if not self._connection.poll(LIMIT_S):
                raise Lost(self.side, f"no answer within {LIMIT_S:g} s")
            return self._connection.recv()
        except (EOFError, OSError):  # closed, or cut within a message
            status = self._status()
            self._log.seek(0)
            lines = self._log.read().decode(errors="replace").strip().splitlines()
            said = lines[-1] if lines and status > 0 else f"signal {-status}" if status < 0 else "no message"  # fmt: skip
            raise Lost(self.side, f"the process ended: {said}") from None

    def _status(self) -> int:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(LIMIT_S)
        self._process.kill()
        return self._process.wait()

    def ask(self, *request: Any) -> Any:
        """Send a request and wait for its answer."""
        self.send(*request)
        return self.answer()

    def word(self, word: str | None) -> None:
        """Within the benchmarks: the name of the next, the same again to run it, or, if empty, the end."""
        with contextlib.suppress(BrokenPipeError):
            self._connection.send(word)

    def keep_on(self, cpus: Sequence[int]) -> None:
        """Let all its threads run on these CPUs only; nothing for a process that has ended."""
        tasks = Path(f"/proc/{self._process.pid}/task")
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in tasks.iterdir():
                os.sched_setaffinity(int(task.name), cpus)

    def close(self) -> None:
        """End the process; nothing of it is left."""
        self._connection.close()
        self._process.kill()
        self._process.wait()
        self._log.close()

    def restart(self) -> None:
        """A fresh process in its place."""
        self.close()
        self._start()


class Place:
    """The CPUs that workers may use: all but while something is timed, then the one that others use least at the start of a block."""

    def __init__(self, watch_s: float = 0.5) -> None:
        self._all = sorted(os.sched_getaffinity(0))
        busy = psutil.cpu_percent(interval=watch_s, percpu=True)
        known = [cpu for cpu in self._all if cpu < len(busy)]  # a CPU that is off is not counted
        self._one = [min(known, key=lambda cpu: busy[cpu])] if known else self._all[:1]

    @contextlib.contextmanager
    def one_cpu(self, workers: Sequence[Worker]) -> Iterator[None]:
        """Keep them on one CPU meanwhile."""
        for worker in workers:
            worker.keep_on(self._one)
        try:
            yield
        finally:
            for worker in workers:
                worker.keep_on(self._all)
