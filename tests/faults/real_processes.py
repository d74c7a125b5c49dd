"""Real processes for the tests of faults, and how to wait for what they do: by events, with a limit that ends a hang."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT_S = 1200  # ends a hang; no outcome depends on it


def start(code, *arguments, **variables):
    """A Python process of its own that runs ``code``."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **variables},
    )  # fmt: skip


def until(condition, what):
    """The first true value of ``condition``."""
    ends = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < ends, f"never came: {what}"
        time.sleep(0.02)
    return found


def said(file):
    """What a file holds, nothing while it is not there."""
    return file.read_text() if file.exists() else ""


def is_gone(pid):
    """Whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True
