"""Errors that a user can act on, and the one line that a command ends with for them."""

from __future__ import annotations

import errno
import re
from pathlib import Path

DECIDES = "nothing"


SEE_ABOVE = "(see above)"  # ends the line of a process whose worker has printed what is to mend


class UserError(Exception):
    """Bad input: one line that names the file, key or value and says what to do.

    The command line prints it as ``error: <message>`` and exits with ``status``, without a traceback.
    """

    status = 2

    def __str__(self) -> str:
        """One line that any terminal can show, whatever stands in a file's name or values."""
        return shown(super().__str__())


def shown(text: str) -> str:
    """A text without line breaks and what terminals take for orders: such characters as Python writes them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class Damaged(UserError):
    """A file that is not what was written; ``files`` are to go so that the workflow makes them, and nothing else, anew."""

    def __init__(self, message: str, *files: Path) -> None:
        super().__init__(message)
        self.files = files


class MachineError(UserError):
    """What the machine lacks here and now: room on a disk, a GPU. It says nothing about a job, so no record is made of it."""

    status = 75  # sysexits.h: try again


# What says that a place is full, gone or read-only, not that a job went wrong.
_OF_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE}
)  # fmt: skip
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_of_machine(error: BaseException) -> bool:
    """Whether an error of the system says that a disk is full, gone or read-only, or that files run out."""
    return isinstance(error, OSError) and error.errno in _OF_MACHINE


def words(error: Exception) -> str:
    """One line on an error of the user's or of the system's (a path, a permission, a file that is no text)."""
    if isinstance(error, UserError):
        return _forced(_published(str(error)))
    if isinstance(error, UnicodeDecodeError):
        return f"a file that should be text is no UTF-8 ({error})"
    if isinstance(error, OSError) and error.errno in FULL:
        where = f"{error.filename}: " if error.filename else ""
        return f"disk full: {where}{error.strerror}; make room and run the same command again"
    if isinstance(error, OSError) and error.filename is not None:
        return shown(f"{error.filename}: {error.strerror}; check this path")
    return " ".join(str(error).split()) or type(error).__name__


def _published(message: str) -> str:
    """Where a published file lies: what is published is changed in a copy of its folder, which is gone after an error."""
    return re.sub(r"\.publish-[^/\s]+/", "reference/", message)


def _forced(message: str) -> str:
    """How data are prepared anew even if dataset.json is there; data/store.py says less, and its hash is in every record."""
    command = "prepare it with: snakemake --cores 1 "
    return message.replace(command, f"{command}--force ")
