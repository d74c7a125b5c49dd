"""The hot paths in `tests/bench`, timed by pytest-benchmark, a round whenever a worker of tier 2 is asked for one.

The benchmarks are those of the revision that asks, as the stages are; what they import is the checkout's under test. They stay
what they are for everyone else: pytest runs them, pytest-benchmark times them, and its JSON is what is read. Standard library
and pytest only, because it is loaded beside `stages.py` and not from the checkout.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "bench"
PREFIX = "bench/"
ROUNDS = 10  # of each benchmark, after a first one that does not count
# Not compared: what is a stage already, and one that takes longer than all others.
LEFT_OUT = ("training_step", "scoring", "2048")
PLAIN = ("-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--benchmark-enable", "--benchmark-disable-gc",
         "--benchmark-save-data")  # fmt: skip


class Turns:
    """A pytest plugin in place of its loop: runs the benchmark that is named next, until none is."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.reached = False

    def pytest_sessionstart(self, session: Any) -> None:
        """Put the fixture in place once pytest-benchmark's own is, so that this one comes first."""
        session.config.pluginmanager.register(waiting(self.connection))

    def pytest_runtestloop(self, session: Any) -> bool | None:
        """Send the names that were collected, then take turns; pytest's own loop says what it could not collect."""
        if session.testsfailed:
            return None
        self.reached = True
        items = {stage(i.name): i for i in session.items if "benchmark" in i.fixturenames}
        self.connection.send({"names": [name for name in items if compared(name)]})
        while name := self.connection.recv():
            items[name].ihook.pytest_runtest_protocol(item=items[name], nextitem=None)
            self.connection.send({"done": True})
        return True


def waiting(connection: Any) -> object:
    """A plugin whose fixture `benchmark` runs one round per turn: it says when it is ready and waits until it may."""
    import pytest
    from pytest_benchmark.fixture import BenchmarkFixture

    def ready() -> None:
        connection.send({"done": False})
        connection.recv()

    class InTurns(BenchmarkFixture):
        def __call__(self, function: Callable, *args: object, **kwargs: object) -> object:
            def run() -> object:
                return function(*args, **kwargs)

            return self.pedantic(run, setup=ready, rounds=ROUNDS, warmup_rounds=1)

    class Waiting:
        @pytest.fixture
        def benchmark(self, benchmark: BenchmarkFixture) -> BenchmarkFixture:
            benchmark.__class__ = InTurns  # pytest-benchmark takes nothing but its own kind
            return benchmark

    return Waiting()


def serve(connection: Any, folder: Path) -> None:
    """Answer requests for the benchmarks in ``folder``.

    First {"names": ...} or {"error": why}. Then, for each name, {"done": False} before every round, which waits for a word, and
    {"done": True} at the end of it. For an empty name, {"s": seconds of the rounds by stage}; one that was skipped or failed has none.
    """
    import pytest

    with tempfile.TemporaryDirectory() as out:
        file, turns, said = Path(out) / "bench.json", Turns(connection), io.StringIO()
        arguments = [str(folder), *PLAIN, "--rootdir", str(folder), f"--benchmark-json={file}"]
        with contextlib.redirect_stdout(said):
            pytest.main(arguments, plugins=[turns])
        connection.send({"s": read(file)} if turns.reached else {"error": reason(said.getvalue())})


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
