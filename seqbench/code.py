"""Which code made a record: a hash over the sources, and the git revision where there is one."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# The sources that training and measuring depend on; text of the report and the command line do not change a number.
STAGE = ("batches", "device", "evaluate", "measure", "metrics", "train")


def sources(model: str) -> list[Path]:
    """Files that decide what a training or a measurement of ``model`` computes, sorted."""
    files = [ROOT / "seqbench" / f"{name}.py" for name in STAGE]
    files += [ROOT / "models" / f"{model}.py", *(ROOT / "models").glob("_*.py")]
    files += (ROOT / "models").glob("_*/*.py")
    return sorted(set(files))


def identity(model: str) -> dict[str, Any]:
    """Hash over the sources of ``model``'s jobs, git revision and whether the checkout differs from it."""
    digest = hashlib.sha256()
    for path in sources(model):
        digest.update(
            path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0"
        )
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
