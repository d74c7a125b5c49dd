"""Which runs of the workflow are alive in a folder: the lock that a killed one left is removed, that of another is not.

Snakemake writes its locks as files, which outlive a process that is killed. So each run keeps a file of its own locked by
the kernel for as long as it lives. Where nobody else does, Snakemake's locks are those of the dead. Between looking for a
lock and writing its own Snakemake lets another in, so whoever begins to compute locks one more file.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import UserError
from .processes import boot

DECIDES = "nothing"

_open: list[int] = []  # locked until this process ends


def register(snakemake: Path) -> bool:
    """Say that this process runs the workflow whose state lies in ``snakemake``; remove locks that nobody holds.

    Returns:
        Whether it is known to be the only one.
    """
    try:
        folder = snakemake / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        gate = os.open(folder / "gate.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        return False  # Snakemake cannot write there either, and says so
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        locks = list((snakemake / "locks").glob("*.lock"))
        others = _others(folder, bool(locks))
        if locks and not others:
            _say("the run before was killed: its lock is removed")
        for lock in () if others else locks:
            lock.unlink(missing_ok=True)
        own = os.open(folder / f"{_own()}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _open.append(own)
        return not others
    except OSError:  # a file system without locks: Snakemake's own are all there is
        return False
    finally:
        os.close(gate)


def begin(snakemake: Path) -> None:
    """Say that this run computes from now on, and make it end by SIGTERM whatever it does then.

    Raises:
        UserError: another one does.
    """
    _unblock(signal.SIGTERM)
    try:
        file = os.open(snakemake / "runs/computes.lock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _open.append(file)
    except BlockingIOError:
        raise UserError(in_use(snakemake) or f"{snakemake}: another run computes here") from None
    except OSError:  # cannot be written, or a file system without locks
        pass


def _unblock(number: int) -> None:
    """Call the handler of a signal in a thread: Snakemake's waits for a lock, for ever where the main thread holds it."""
    handler = signal.getsignal(number)
    if callable(handler):

        def handle(*arguments: Any) -> None:
            threading.Thread(target=handler, args=arguments, daemon=True).start()

        signal.signal(number, handle)


def in_use(snakemake: Path) -> str | None:
    """Which other runs are alive, and what to do; None where none is."""
    others = []
    with suppress(OSError), (snakemake / "runs/gate.lock").open("rb") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        others = _others(snakemake / "runs", True)
    if not others:
        return None
    return (
        f"this folder is in use by {', '.join(others)}: wait for it, or end it and run the same command again;"
        " of a machine that is gone: snakemake --unlock"
    )


def _here() -> str:
    """This machine: the start of its kernel and its name, of which a container and a reboot change one each."""
    return f"{boot()[:8]}-{re.sub('[^A-Za-z0-9.]', '_', platform.node())}"


def _own() -> str:
    return f"{_here()}-{os.getpid()}"


def _others(folder: Path, locked: bool) -> list[str]:
    """Runs that are alive, or may be on another machine; the files of the others are removed. locked: Snakemake's lock is there."""
    alive = []
    for path in folder.glob("*-*-*.lock"):
        start, node, pid = path.stem.split("-")
        here = dict(zip(("start", "node"), _here().split("-"), strict=True))
        near = start == here["start"] or node == here["node"]
        if path.stem == _own():
            continue
        with suppress(FileNotFoundError), path.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                alive.append(f"process {pid}" + ("" if near else f" on {node}"))
                continue
            if near or not locked:
                path.unlink()
            else:  # not every shared file system passes locks on
                alive.append(f"process {pid} on {node}, if it has not ended")
    return alive


def _say(text: str) -> None:
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
