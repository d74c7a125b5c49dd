"""One owner of a folder at a time: whoever writes into it holds a lock there, which ends with its process."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError
from .processes import is_dead

DECIDES = "nothing"

OWNED = "SEQBENCH_OWNED"  # variable: the folder that a parent owns for those whom it starts
LOCK = ".lock"


@contextmanager
def owned(folder: Path) -> Iterator[dict[str, str]]:
    """Own a folder, made if need be, until the block or this process ends; wait for another that does.

    Yields the variable by which those who are started inside know that it is owned for them. The lock is taken before
    any lease of the machine, so that nobody holds a lease and waits here.

    Raises:
        UserError: the folder cannot be written into.
    """
    folder = Path(folder).absolute()
    if os.environ.get(OWNED) == str(folder):
        yield {OWNED: str(folder)}
        return
    file = _locked(folder / LOCK)
    try:
        yield {OWNED: str(folder)}
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(file)


def is_owned(folder: Path) -> bool:
    """Whether a process that lives writes into a folder."""
    with suppress(OSError), (folder / LOCK).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _locked(path: Path) -> int:
    """The lock file, open and locked; closed on exec, so that a child which outlives its parent does not hold it."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(
                f"{path.parent}: cannot be written into ({error.strerror}); name another folder, or change its owner"
            ) from None
        _wait(file, path)
        with suppress(FileNotFoundError):  # the owner before has removed it meanwhile: once more
            if os.fstat(file).st_ino == path.stat().st_ino:
                with suppress(OSError):  # what a killed owner was writing
                    for rest in path.parent.glob(".*.tmp"):
                        if is_dead(rest.name.split(".")[-2]):
                            rest.unlink()
                with suppress(OSError):  # a full disk: the lock holds without a name in it
                    os.truncate(file, 0)
                    os.write(file, str(os.getpid()).encode())
                return file
        os.close(file)


def _wait(file: int, path: Path) -> None:
    with suppress(OSError):  # a file system without locks: nobody can be kept out
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(file, 20, 0).decode(errors="replace") or "unknown"
            print(f"waits for process {who}, which writes into {path.parent}", file=sys.stderr)
            sys.stderr.flush()
            fcntl.flock(file, fcntl.LOCK_EX)
