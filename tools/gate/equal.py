"""A declared change: proof that two revisions give equal numbers, job by job and bit for bit.

`digests.py` runs tiny jobs in both. Where all quantities of a subject (what a model's training, its measuring, or
preparing data yields) agree, the identities of its code are written as a pair, and `provenance.same` takes them for one.
What no job runs on a CPU must have the same meaning. Times are not compared: `make regression BASE=OLD` does that.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from seqbench.core.errors import UserError
from seqbench.core.provenance import EQUIVALENT, ROOT, same
from seqbench.core.records import write_atomically
from seqbench.hardware.environment import environment

from . import revisions
from .golden import PORTABLE, torch_version

PROBE = "tools/gate/digests.py"
HERE = "."  # names the working tree
CODE = ("seqbench", "models", "tools")
Digests = dict[str, dict[str, Any]]


def equal(
    old: str, new: str | None, models: Sequence[str] = (), write: bool = False, file: Path = EQUIVALENT,
) -> int:  # fmt: skip
    """Compare two revisions and print what differs; exit status 0 equal, 1 different.

    new: a revision, ``HERE``, or None for HEAD, which must then be all that this checkout has. write: add the pairs of
    equal subjects to ``file``.

    Raises:
        UserError: no such revision, changes that are not committed, or a revision whose jobs cannot be run.
    """
    names = {"old": revisions.commit(old), "new": _revision(new)}
    with ExitStack() as stack:
        roots = {
            side: ROOT if (side, new) == ("new", HERE) else stack.enter_context(revisions.worktree(str(name)))
            for side, name in names.items()
        }  # fmt: skip
        probes = [_probe(root, roots["new"]) for root in roots.values()]
        with ThreadPoolExecutor(2) as pool:
            before, after = pool.map(
                _run, roots.values(), probes, (old, new or "HEAD"), [models] * 2
            )
    machine = environment("cpu", 1)["machine_name"]
    about = {f"{side}_revision": name for side, name in names.items()}
    about |= {"python": platform.python_version(), "torch": torch_version(), "machine": machine}
    pairs, differing = compare(before, after, about)
    added = add(pairs, file) if write else []
    for subject, lines in differing.items():
        for line in lines:
            print(f"{subject}: {line}")
    for subject in before["jobs"]:
        if subject not in differing:
            print(f"{subject}: equal, {len(before['jobs'][subject])} jobs")
    if write:
        print(f"pairs added to {file.name}: {len(added)}", file=sys.stderr)
    return 1 if differing else 0


def _revision(new: str | None) -> str | None:
    """The commit that is meant; None for a working tree with changes."""
    if new not in (None, HERE):
        return revisions.commit(new)
    changes = revisions.git("status", "--porcelain", "--", *CODE)
    if changes and new is None:
        changed = changes.splitlines()[0][3:]
        raise UserError(f"{changed} is not committed: commit it, or name the working tree: equal OLD {HERE}")  # fmt: skip
    return None if changes else revisions.commit("HEAD")


def _probe(root: Path, new: Path) -> Path:
    """The probe of a revision; that of the new one where it has none."""
    return next(path for path in (root / PROBE, new / PROBE, ROOT / PROBE) if path.exists())


def _run(root: Path, probe: Path, name: str, models: Sequence[str]) -> Digests:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "digests.json"
        command = [sys.executable, "-P", str(probe), "--out", str(out)]
        # numba's kernels differ in their last digits between the process that compiles them and those that load them.
        variables = {**os.environ, **PORTABLE, "PYTHONPATH": str(root), "NUMBA_CACHE_DIR": folder}
        done = subprocess.run(
            [*command, *(["--models", *models] if models else [])],
            cwd=root, capture_output=True, text=True, env=variables,
        )  # fmt: skip
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            whose = (
                "its own" if probe.is_relative_to(root) else "it has none, and the new revision's"
            )
            raise UserError(f"{name}: {PROBE} ({whose}) failed: {said}; name a revision that can run it")  # fmt: skip
        return json.loads(out.read_text(encoding="utf-8"))


def compare(
    before: Digests, after: Digests, about: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Pairs of identities that differ where no number does, and by subject one line per job that differs.

    A model of which anything differs gets no pair. A job or a subject that only ``after`` has is not compared. One
    that only ``before`` has is a difference: a proof does not get thinner in silence.
    """
    pairs, differing = [], {}
    for subject, jobs in before["jobs"].items():
        lines = _differences(jobs, after["jobs"].get(subject, {})) if jobs else ["no job ran"]
        unrun = [side["unrun"].get(subject, {}) for side in (before, after)]
        for digest in sorted(unrun[0].keys() ^ unrun[1].keys()):
            file = unrun[0].get(digest) or unrun[1][digest]
            lines.append(f"{file}: its code differs, and no job here runs it")
        old, new = (side["identities"].get(subject) for side in (before, after))
        if lines:
            differing[subject] = lines
        elif not same(old, new):
            kind, _, model = subject.partition("/")
            proof = {"jobs": len(jobs), "digest": _digest(jobs), **about}
            pairs.append({"old": old, "new": new, "kind": kind, "model": model or None, "proof": proof})  # fmt: skip
    models = {subject.partition("/")[2] for subject in differing}
    return [pair for pair in pairs if (pair["model"] or "") not in models], differing


def _differences(before: Mapping[str, dict], after: Mapping[str, dict]) -> list[str]:
    """One line per job that differs: its first quantity that does, and how many do."""
    lines = []
    for job, quantities in before.items():
        if job not in after:
            lines.append(f"{job}: gone")
            continue
        found = [key for key in quantities if quantities[key] != after[job].get(key)]
        if found:
            values = (_text(side.get(found[0])) for side in (quantities, after[job]))
            lines.append(f"{job}: {found[0]}: {' -> '.join(values)}; {len(found)} of {len(quantities)} quantities")  # fmt: skip
    return lines


def _digest(jobs: Mapping[str, dict]) -> str:
    """SHA-256 over the digests of all jobs."""
    texts = (json.dumps(jobs[job], sort_keys=True) for job in sorted(jobs))
    each = "".join(hashlib.sha256(text.encode()).hexdigest() for text in texts)
    return hashlib.sha256(each.encode()).hexdigest()


def _text(value: Any) -> str:
    return value[:12] if isinstance(value, str) else "none" if value is None else json.dumps(value)


def add(pairs: Sequence[dict[str, Any]], file: Path = EQUIVALENT) -> list[dict[str, Any]]:
    """Append to the file the pairs that it does not have; returns those.

    Raises:
        UserError: the file is damaged.
    """
    try:
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        have = {(pair["old"], pair["new"]) for pair in known}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file}: damaged; restore it with `git checkout`") from None
    new = [pair for pair in pairs if (pair["old"], pair["new"]) not in have]
    if new:
        write_atomically(file, json.dumps([*known, *new], indent=1).encode() + b"\n")
    return new
