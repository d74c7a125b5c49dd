"""The hot paths in `tests/bench`, timed by pytest-benchmark, one whenever a worker of tier 2 is asked for it; the worker's clock.

The benchmarks are those of the revision that asks, as the stages are; what they import is the checkout's under test. They stay
what they are for everyone else: pytest runs them, pytest-benchmark times them, and its JSON is what is read. Standard library
and pytest only, because it is loaded beside `stages.py` and not from the checkout.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "bench"
PREFIX = "bench/"
WINDOW_S, FEWEST, MOST = 0.15, 5, 3000  # seconds of a benchmark's rounds; their number
PASSED, SKIPPED = "passed", "skipped"
# Not compared: what is a stage already, and one that takes longer than all others.
LEFT_OUT = ("training_step", "scoring", "2048")
PLAIN = ("-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--benchmark-enable", "--benchmark-disable-gc",
         "--benchmark-save-data")  # fmt: skip


def clock() -> float:
    """Seconds, without those in which this thread was ready to run and others had the CPU: what it computes, sleeps and waits for data.

    Several processes can share a CPU, so that the kernel lets them take turns of milliseconds, and each still says what it took.

    Raises:
        OSError: the system does not count that time (``counts``).
    """
    while True:
        before, now = _queued_s(), time.perf_counter()
        if _queued_s() == before:  # else the CPU went to others between the two
            return now - before


def counts() -> bool:
    """Whether the kernel counts the time that a thread waits for the CPU: Linux does, unless it was built without (proc(5))."""
    try:
        return int(_schedstat()[2]) > 0  # how often it got the CPU: at least for this
    except OSError:
        return False


def _queued_s() -> float:
    return int(_schedstat()[1]) / 1e9


def _schedstat() -> list[bytes]:
    return os.pread(_file(threading.get_native_id()), 64, 0).split()


@cache
def _file(thread: int) -> int:
    return os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY)


class OneByOne:
    """A pytest plugin in place of its loop: runs the benchmark that is named next, until none is."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.reached = False
        self.outcome = ""

    def pytest_sessionstart(self, session: Any) -> None:
        """Put the fixture in place once pytest-benchmark's own is, so that this one comes first."""
        session.config.pluginmanager.register(waiting(self.connection))

    def pytest_runtestloop(self, session: Any) -> bool | None:
        """Send the names that were collected, then wait for one; pytest's own loop says what it could not collect."""
        if session.testsfailed:
            return None
        self.reached = True
        items = {stage(i.name): i for i in session.items if "benchmark" in i.fixturenames}
        self.connection.send({"names": [name for name in items if compared(name)]})
        while name := self.connection.recv():
            self.outcome = PASSED
            items[name].ihook.pytest_runtest_protocol(item=items[name], nextitem=None)
            self.connection.send({"done": True, "outcome": self.outcome})
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        """What became of the benchmark: the first of its phases that did not pass says it."""
        if self.outcome == PASSED and not report.passed:
            crash = getattr(report.longrepr, "reprcrash", None)
            said = crash.message if crash else str(report.longrepr)
            self.outcome = SKIPPED if report.skipped else (said.splitlines() or ["it failed"])[0]


def waiting(connection: Any) -> object:
    """A plugin whose fixture `benchmark` says when it is warm, and waits until it may run its rounds."""
    import pytest
    from pytest_benchmark.fixture import BenchmarkFixture

    class Waiting(BenchmarkFixture):
        def __call__(self, function: Callable, *args: object, **kwargs: object) -> object:
            function(*args, **kwargs)
            start = clock()
            function(*args, **kwargs)
            rounds = min(MOST, max(FEWEST, math.ceil(WINDOW_S / (clock() - start))))
            return self.pedantic(function, args, kwargs, rounds=rounds)

        def pedantic(self, *args: Any, **kwargs: Any) -> object:
            connection.send({"done": False})
            connection.recv()
            self._timer = clock
            return super().pedantic(*args, **kwargs)

    class Plugin:
        @pytest.fixture
        def benchmark(self, benchmark: BenchmarkFixture) -> BenchmarkFixture:
            benchmark.__class__ = Waiting  # pytest-benchmark takes nothing but its own kind
            return benchmark

    return Plugin()


def serve(connection: Any, folder: Path) -> None:
    """Answer requests for the benchmarks in ``folder``.

    First {"names": ...} or {"error": why}. Then, for each name, {"done": False} when it is warm, which waits for a word, and
    {"done": True, "outcome": `passed`, `skipped` or why it failed} at the end. For an empty name, {"s": seconds of the rounds by stage}.
    """
    import pytest

    with tempfile.TemporaryDirectory() as out:
        file, loop, said = Path(out) / "bench.json", OneByOne(connection), io.StringIO()
        arguments = [str(folder), *PLAIN, "--rootdir", str(folder), f"--benchmark-json={file}"]
        with contextlib.redirect_stdout(said):
            pytest.main(arguments, plugins=[loop])
        connection.send({"s": read(file)} if loop.reached else {"error": reason(said.getvalue())})


def stage(test: str) -> str:
    """The stage of a test's name."""
    return PREFIX + test.removeprefix("test_")


def compared(name: str) -> bool:
    """Whether a benchmark is a stage of the comparison."""
    test = name.removeprefix(PREFIX)
    return not any(test.startswith(other) or f"-{other}]" in test for other in LEFT_OUT)


def read(file: Path) -> dict[str, list[float]]:
    """Seconds of every round by stage of a file that pytest-benchmark wrote; nothing if there is none."""
    if not file.exists() or not file.stat().st_size:
        return {}
    content = json.loads(file.read_text(encoding="utf-8"))
    return {stage(entry["name"]): entry["stats"]["data"] for entry in content["benchmarks"]}


def reason(said: str) -> str:
    """Why pytest did not get as far as running anything: the first exception it shows, or its last line."""
    shown = re.findall(r"^E\s+(\w*(?:Error|Exception|Exit)\b.*)$", said, flags=re.MULTILINE)
    return shown[0] if shown else (said.strip().splitlines() or ["no message"])[-1]
