"""Which code makes a record: the sources it depends on, a hash over them, and the git revision if there is one.

The workflow declares the same sources as inputs, so a record is made again exactly when its hash would change.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .imports import closure

ROOT = Path(__file__).resolve().parent.parent

# Imported by the worker, but unable to change a number: editing them reruns nothing.
PLUMBING = frozenset(
    f"seqbench/{name}.py"
    for name in (
        "code",
        "data/download",
        "data/pipeline",
        "environment",
        "errors",
        "imports",
        "progress",
        "record",
        "run",
    )
)


def training_sources(model: str) -> list[str]:
    """Files of the checkout that decide what a training of ``model`` yields, as relative paths.

    `worker.py`, which starts it, is not among them: it may set threads and choose the device, and nothing else.
    """
    return closure(ROOT, "seqbench/train.py", f"models/{model}.py", without=PLUMBING)


def measuring_sources(*models: str) -> list[str]:
    """Files of the checkout that decide what measuring ``models`` yields, as relative paths."""
    files = [f"models/{model}.py" for model in models]
    return closure(ROOT, "seqbench/interleave.py", "seqbench/measure.py", *files, without=PLUMBING)


def begun(sources: Iterable[str]) -> Callable[[], dict[str, Any]]:
    """To be called before ``sources`` run: returns what gives their identity afterwards, as they were when they began.

    A file may be edited while a process runs what it held before. Then the record keeps the hash of what ran and is
    marked as made with local changes.
    """
    names = list(sources)
    first = identity(names)

    def then() -> dict[str, Any]:
        if identity(names)["hash"] == first["hash"]:
            return first
        print(
            f"sources were edited while they ran (one of {', '.join(names[:3])}, ...): the record names the code that"
            " ran; delete it to have it made by the new one",
            file=sys.stderr,
        )
        return first | {"dirty": True}

    return then


def identity(sources: Iterable[str]) -> dict[str, Any]:
    """Hash over ``sources``, git revision, and whether tracked files of the checkout differ from it."""
    digest = hashlib.sha256()
    for name in sources:
        digest.update(name.encode() + b"\0" + (ROOT / name).read_bytes() + b"\0")
    revision = _git("rev-parse", "HEAD")
    dirty = bool(_git("status", "--porcelain", "--untracked-files=no")) if revision else None
    return {"hash": digest.hexdigest()[:16], "revision": revision, "dirty": dirty}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None  # not a checkout, or no git: the hash of the sources still identifies the code
    return done.stdout.strip()
