"""Room on a disk, and the one line on what a full, lost or read-only one refuses."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from .errors import FULL, MachineError

DECIDES = "nothing"
MIB = 2**20


def unwritten(path: Path, needed_bytes: int, error: OSError) -> MachineError:
    """The error for a file of so many bytes that could not be written: where, how much it needs, how much there is."""
    if error.errno in FULL:
        return _full(path, needed_bytes)
    return MachineError(f"{path}: cannot be written ({error.strerror}); check this folder")


def require_room(folder: Path, needed_bytes: int) -> None:
    """Refuse work whose result would find no room.

    Raises:
        MachineError: fewer bytes are free in ``folder``.
    """
    with suppress(OSError):  # what cannot be told is found when it is written
        if shutil.disk_usage(folder).free < needed_bytes:
            raise _full(folder, needed_bytes)


def _full(path: Path, needed_bytes: int) -> MachineError:
    free = "free space unknown"
    with suppress(OSError):
        folder = path if path.is_dir() else path.parent
        free = f"{shutil.disk_usage(folder).free / MIB:,.1f} MiB free"
    return MachineError(
        f"disk full: {path} needs {needed_bytes / MIB:,.1f} MiB, {free}; make room and run the same command again"
    )
