"""Damaged records and tables are found before a run plans its jobs: set aside, they and nothing else are made anew."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import records
from .checksums import sha256_of
from .disk import write_atomically
from .errors import Damaged, UserError
from .ownership import is_owned
from .store import AGAIN, read_json

DECIDES = "nothing"
RENEWALS = "renewals"
SUMS = "checksums.json"  # SHA-256 of the tables beside it


def set_aside(file: Path) -> None:
    """Give a damaged file another name: what the workflow misses it makes anew."""
    with suppress(OSError):
        file.rename(f"{file}.damaged")
        print(
            f"{file}: set aside as {file.name}.damaged; the workflow makes it anew",
            file=sys.stderr,
        )


def renewals(memory: Path) -> int:
    """How often something was set aside: a parameter of collecting, because a missing record alone makes nothing run."""
    return _remembered(memory).get(RENEWALS, 0)


def look(folders: Iterable[Path], tables: Path, memory: Path) -> None:
    """Compare records in ``folders``, and ``tables``, with their SHA-256; set aside what differs.

    memory: a file that remembers what was found sound, by inode, size and times, so that only what has changed is read.
    """
    known = _remembered(memory)
    sound = {RENEWALS: known.get(RENEWALS, 0)}
    for folder in [*folders, tables]:
        state = _state(folder)
        if not state or is_owned(folder) or is_owned(folder.parent):
            continue  # nothing there, or somebody writes there now
        if known.get(str(folder)) != state and not _is_sound(folder, folder == tables):
            sound[RENEWALS] += 1
            continue
        sound[str(folder)] = state
    with suppress(OSError, UserError):
        write_atomically(memory, json.dumps(sound).encode())


def check_tables(folder: Path) -> None:
    """Compare what is there with what was written, where that is known.

    Raises:
        Damaged: a file differs.
    """
    known = read_json(folder / SUMS, AGAIN) if (folder / SUMS).exists() else {}
    for name, digest in known.items():
        file = folder / name
        if file.exists() and sha256_of(file) != digest:
            raise Damaged(f"{file}: damaged (SHA-256 differs): delete it and {AGAIN}", file)


def _remembered(memory: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(memory.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _is_sound(folder: Path, tables: bool) -> bool:
    try:
        if tables:
            check_tables(folder)
        elif (folder / "record.json").exists():  # what is missing Snakemake sees by itself
            records.check_files(folder, records.read_record(folder))
    except Damaged as error:
        print(error, file=sys.stderr)
        for file in error.files:
            set_aside(file)
        return False
    except UserError:  # told by whoever reads it
        pass
    return True


def _state(folder: Path) -> list:
    """What changes when a file in the folder does."""
    state = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if path.suffix in (".json", ".npz", ".safetensors", ".csv", ".parquet"):
                now = path.stat()
                state.append([path.name, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns])
    return state
