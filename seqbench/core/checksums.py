"""SHA-256 of files, remembered as long as a file is the same one."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from .disk import write_atomically
from .errors import UserError

DECIDES = "nothing"
CACHE = Path("results/data/.checksums.json")  # below the working directory


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path, cache: Path = CACHE) -> str:
    """SHA-256 of a file, read again only if inode, size, mtime or ctime (ns) differ from what the cache knows.

    A cache that cannot be read or written costs time, nothing else.
    """
    status = os.stat(path)
    key = f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"
    known: dict[str, str] = {}
    with suppress(OSError, ValueError):
        known = json.loads(cache.read_text(encoding="utf-8"))
    if isinstance(known, dict) and key in known:
        return known[key]
    found = sha256_of(path)
    with suppress(OSError, UserError):
        content = {**(known if isinstance(known, dict) else {}), key: found}
        write_atomically(cache, json.dumps(content, indent=1), flush=False)
    return found
