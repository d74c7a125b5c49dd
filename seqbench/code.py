"""Which code makes a record: the sources it depends on, a hash over them, and the git revision if there is one.

The workflow declares the same sources as inputs, so a record is made again exactly when its hash would change.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable
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
    """Files of the checkout that decide what a training of ``model`` yields, as relative paths."""
    return closure(ROOT, "seqbench/train.py", f"models/{model}.py", without=PLUMBING)


def measuring_sources(*models: str) -> list[str]:
    """Files of the checkout that decide what measuring ``models`` yields, as relative paths."""
    files = [f"models/{model}.py" for model in models]
    return closure(ROOT, "seqbench/interleave.py", "seqbench/measure.py", *files, without=PLUMBING)


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
