"""The orchestrator's end of a conversation with one worker process. Every way it can fail is one line of text."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from seqbench.core.processes import die_with_parent

ROOT = Path(__file__).resolve().parents[2]


class Failed(Exception):
    """A contestant is out; the message says why in one line."""


class Worker:
    """A running worker; what it prints besides its answers goes to ``log``."""

    def __init__(self, command: list[str], variables: dict[str, str], log: Path) -> None:
        self._log = log
        try:
            with open(log, "w", encoding="utf-8") as errors:
                self._process = subprocess.Popen(
                    command, env=variables, cwd=ROOT, text=True, start_new_session=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                    preexec_fn=die_with_parent,
                )  # fmt: skip
        except OSError as error:
            raise Failed(f"cannot be started: {error.strerror}") from None
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._relay, daemon=True).start()

    def receive(self, limit_s: float) -> dict[str, Any]:
        """The next answer.

        Raises:
            Failed: an error was answered, the process ended, or nothing came within ``limit_s`` seconds.
        """
        try:
            line = self._answers.get(timeout=limit_s)
        except queue.Empty:
            raise Failed(f"no answer within {limit_s:g} s") from None
        if line is None:
            raise Failed(self._end())
        try:
            answer = json.loads(line)
        except ValueError:
            raise Failed(f"answered no JSON: {line.strip()[:80]}") from None
        if "error" in answer:
            raise Failed(without_paths(answer["error"]))
        return answer

    def ask(self, line: str, limit_s: float) -> dict[str, Any]:
        """Send one command and wait for its answer; raises as ``receive`` does."""
        with suppress(BrokenPipeError):  # it has ended: receiving says how
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        return self.receive(limit_s)

    def close(self) -> None:
        """End the process and whatever it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def _relay(self) -> None:
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def _end(self) -> str:
        status = self._process.wait()
        if status == -signal.SIGKILL:
            return "killed by SIGKILL, as the system does when memory is exhausted"
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return without_paths(f"{how}: {said[-1]}" if said else how)


def without_paths(text: str) -> str:
    """The text with absolute paths cut to their last part: results tell nothing about where they were made."""
    return re.sub(r"(?<![\w.])/(?:[^\s/'\":]+/)+", "", text)
