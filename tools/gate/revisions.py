"""Two revisions side by side: a worktree of the other one, and whether one environment serves both."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seqbench.core.errors import UserError
from seqbench.core.provenance import ROOT

TOOLS = ("bandit", "ruff", "snakefmt", "pytest-xdist")  # nothing of them is timed


@contextmanager
def worktree(revision: str) -> Iterator[Path]:
    """A checkout of a revision in a temporary folder, gone afterwards.

    Raises:
        UserError: not a git checkout, or no such revision.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkout"
        git("worktree", "add", "--detach", str(path), commit(revision))
        try:
            yield path
        finally:
            subprocess.run(
                ["git", "-C", str(ROOT), "worktree", "remove", "--force", str(path)],
                capture_output=True,
            )


def commit(revision: str) -> str:
    """The full name of a revision.

    Raises:
        UserError: this is no git checkout, or it has no such revision.
    """
    return git("rev-parse", "--verify", f"{revision}^{{commit}}").strip()


def git(*arguments: str) -> str:
    """What git prints.

    Raises:
        UserError: there is no git, it refuses this folder, or it does not know what it is asked for.
    """
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise UserError(
            f"git cannot be run ({error.strerror}): install it, or compare nothing (make regression without BASE)"
        ) from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith(("fatal:", "error:"))), (lines or ["failed"])[-1])  # fmt: skip
        trust = next((line for line in lines if "--add safe.directory" in line), None)
        remedy = (
            f"`{trust}` trusts it"
            if trust
            else "name a revision that this checkout has with --base"
        )
        raise UserError(f"git {arguments[0]}: {said}; {remedy}")
    return done.stdout


def pins(root: Path) -> list[str]:
    """Pinned requirements of what a comparison runs, sorted: if they are equal, one environment serves both revisions.

    Raises:
        UserError: the checkout has no readable pyproject.toml.
    """
    file = root / "pyproject.toml"
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise UserError(
            f"{file.name} of the other revision: {error}; compare with a later one"
        ) from None
    needed = [*project.get("dependencies", []), *project.get("optional-dependencies", {}).get("dev", [])]  # fmt: skip
    return sorted(pin for pin in needed if not pin.startswith(TOOLS))


def interpreter(root: Path) -> str:
    """An interpreter with the pins of another checkout: its own `make setup` makes it there. Minutes, and a download.

    Raises:
        UserError: it could not be made.
    """
    done = subprocess.run(
        ["make", "-C", str(root), "setup", f"PYTHON={sys.executable}"], capture_output=True, text=True
    )  # fmt: skip
    python = root / ".venv" / "bin" / "python"
    if done.returncode or not python.exists():
        lines = [ln for ln in done.stderr.strip().splitlines() if not ln.startswith("make")]
        said = (lines or ["no message"])[-1]
        raise UserError(f"its pins differ, and its own environment could not be made: {said}")
    return str(python)
