"""What every worker shares: its settings, the protocol of JSON lines, the clock of its training steps.

Standard library only: it runs in every library's environment. A worker says one line when it is ready, then answers
each line on its standard input with one line:

    train N   -> {"step_s": [N seconds], "cpu_s": [N seconds], "targets": [N real targets]}
    evaluate  -> {"evaluate_s": seconds, "cpu_s": seconds, "users": ranked users}
    quit      -> {"peak_rss_bytes": bytes}

and {"error": reason} when it fails. No ``train`` after ``evaluate``. Answers have a descriptor of their own: whatever
a library prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol


@dataclass(frozen=True)
class Settings:
    """What a contestant is asked to be; each worker says where it differs."""

    data: str  # folder of the prepared dataset
    model: str = "sasrec"
    batch: int = 128  # sequences, prefixes (RecBole) or real targets (ours) per step
    length: int = 200  # items of history that a position may see
    d_model: int = 64
    n_layers: int = 2  # blocks
    n_heads: int = 2
    d_inner: int = 256  # width inside the feed-forward network
    dropout: float = 0.2
    learning_rate: float = 0.001  # Adam
    eval_batch: int = 256  # users per batch of the evaluation pass
    threads: int = 1
    kernels: str = "auto"  # ours only, as in seqbench.core.jobs.Training, like the next two
    precision: str = "fp32"
    bucket_by_length: bool = True


class Trained(Protocol):
    """A contestant in its worker, data loaded and model built."""

    facts: dict[str, Any]

    def train(self, done: Callable[[int], bool]) -> None:
        """Take training steps; after each call ``done`` with its real targets and stop when it is false."""

    def evaluate(self) -> int:
        """Rank all items for the test item of every user; the number of users."""


@dataclass
class Stages:
    """Seconds of what precedes training: ``import``, ``convert`` (not the library's own work), ``load``."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the seconds of one block to the stage ``name``."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Session:
    """The worker's end of the conversation."""

    def __init__(self, commands: IO[str], answers: IO[str]) -> None:
        self._commands, self._answers = commands, answers

    @classmethod
    def open(cls) -> Session:
        """Keep standard output for answers and send what anyone else writes there to standard error."""
        answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        sys.stdout.reconfigure(line_buffering=True)  # what was said before a sudden end is kept
        return cls(sys.stdin, answers)

    def answer(self, values: dict[str, Any]) -> None:
        """Say one line."""
        self._answers.write(json.dumps(values) + "\n")
        self._answers.flush()

    def command(self) -> tuple[str, int]:
        """Block until asked; the verb and its number (0 without one). A closed input means ``quit``."""
        words = self._commands.readline().split() or ["quit"]
        return words[0], int(words[1]) if len(words) > 1 else 0


class Clock:
    """Counts the steps of a training loop that it interrupts: between two ``train`` commands the loop stands still.

    A step's time is all wall time from one call of ``done`` to the next, so fetching the batch and whatever else the
    library's loop does are in it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._left = 0
        self.pending = ("", 0)  # the command that ended the loop

    def wait(self) -> bool:
        """Block for a command; whether it is to train."""
        self.pending = self._session.command()
        self._left = self.pending[1] if self.pending[0] == "train" else 0
        self._samples: dict[str, list] = {"step_s": [], "cpu_s": [], "targets": []}
        self._mark()
        return self._left > 0

    def done(self, targets: int) -> bool:
        """Note one finished step of ``targets`` real targets; whether to take another."""
        self._samples["step_s"].append(time.perf_counter() - self._wall)
        self._samples["cpu_s"].append(time.process_time() - self._cpu)
        self._samples["targets"].append(int(targets))
        self._left -= 1
        if self._left > 0:
            self._mark()
            return True
        self._session.answer(self._samples)
        return self.wait()

    def _mark(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()


def serve(build: Callable[[Settings], Trained]) -> NoReturn:
    """Be the worker: build from the settings in the first argument, answer until told to quit."""
    session = Session.open()
    try:
        trained = build(Settings(**json.loads(sys.argv[1])))
        session.answer({"ready": True, **trained.facts})
        _obey(session, trained)
    except BaseException as error:
        traceback.print_exc()
        session.answer({"error": reason(error)})
        os._exit(1)
    os._exit(0)  # libraries' threads and exit handlers have nothing left to do


def _obey(session: Session, trained: Trained) -> None:
    clock = Clock(session)
    if clock.wait():
        trained.train(clock.done)
    verb = clock.pending[0]
    while verb == "evaluate":
        wall, cpu = time.perf_counter(), time.process_time()
        users = trained.evaluate()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        session.answer({"evaluate_s": wall, "cpu_s": cpu, "users": users})
        verb = session.command()[0]
    if verb != "quit":
        raise ValueError(f"cannot {verb!r} here")
    session.answer({"peak_rss_bytes": peak_rss_bytes()})


def reason(error: BaseException) -> str:
    """One line that names an error."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}".rstrip(": ")


def peak_rss_bytes() -> int | None:
    """Highest resident memory of this process (VmHWM); None where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of the worker's packages that matter, and of Python."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return {"python": python, **{name: metadata.version(name) for name in packages}}
