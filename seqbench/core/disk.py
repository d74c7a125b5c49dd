"""Files that are written whole, room on a disk, and the one line on what a full, lost or read-only one refuses."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from glob import escape
from pathlib import Path

from .errors import FULL, MachineError, is_of_machine
from .processes import in_name, is_dead

DECIDES = "nothing"
MIB = 2**20


def write_atomically(path: Path, content: str | bytes | memoryview, flush: bool = True) -> None:
    """Write through a temporary file in the same folder, made if need be, then renamed over ``path``.

    Text is written as UTF-8. flush: to the disk first, so that it outlasts a loss of power. What a process that was killed
    here left of the same file is removed.

    Raises:
        MachineError: the disk is full, gone or read-only; the message names the folder and the room that is needed.
    """
    content = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{in_name()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{escape(path.name)}.*.tmp"):
            if is_dead(left.name.split(".")[-2]):
                left.unlink(missing_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if not is_of_machine(error):
            raise
        raise unwritten(path, len(content), error) from None
    finally:
        with suppress(OSError):  # a read-only folder refuses this, too
            temporary.unlink(missing_ok=True)


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
