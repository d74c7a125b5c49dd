"""Where numba keeps what it compiled: once for a user of a machine, not once for a checkout.

A folder is named by a hash of numba's version, of the source and of what it imports from other files here,
since numba itself looks at the function's own file alone; inside, numba tells CPUs and types of arguments
apart. Processes that write there take turns: numba names a file by a number that two may find free at once,
and the index of one would then lead to code of the other. What older sources left is deleted: whoever still
runs them compiles again, as numba takes a file that is gone for one that never was.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numba
from numba import config
from numba.core.caching import CacheImpl, IndexDataCacheFile, _CacheLocator
from numba.misc.appdirs import AppDirs

FOLDER = Path(__file__).parent
DECIDES = "nothing"
KEPT, UNUSED_S = (
    4,
    86400,
)  # folders of a source, those last used first; others stay for a day of no use


def share() -> None:
    """Let numba look here first; NUMBA_CACHE_DIR, where it is set, stays the folder above."""
    known = config.CACHE_LOCATOR_CLASSES or ",".join(c.__name__ for c in CacheImpl._locator_classes)
    config.CACHE_LOCATOR_CLASSES = f"{__name__}.{Shared.__name__},{known}"
    IndexDataCacheFile.save = _in_turn(IndexDataCacheFile.save)


def _in_turn(save: Callable) -> Callable:
    """``save`` by one process at a time; a file system without locks goes without."""

    @functools.wraps(save)
    def saved(file: IndexDataCacheFile, key: tuple, data: tuple) -> None:
        Path(file._cache_path).mkdir(parents=True, exist_ok=True)  # it may have been deleted
        with open(Path(file._cache_path, "lock"), "w") as lock:
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            save(file, key, data)

    return saved


class Shared(_CacheLocator):
    """Finds the folder of a function of this package; other functions are numba's to place."""

    def __init__(self, folder: Path, stamp: str, line: int) -> None:
        self._folder, self._stamp, self._line = folder, stamp, line

    @classmethod
    def from_function(cls, py_func, py_file) -> Shared | None:
        """The locator of a function; None if no folder can be written, then numba looks further."""
        source = Path(py_file).resolve()
        if not source.is_relative_to(FOLDER.resolve()) or not source.is_file():
            return None
        stamp = _stamp(source)
        for folder in (_wanted(), source.with_name("__pycache__")):
            path = folder / f"{source.stem.lstrip('_')}-{stamp[:12]}"
            locator = cls(path, stamp, py_func.__code__.co_firstlineno)
            try:
                locator.ensure_cache_path()
                _used(path)
            except OSError:
                continue
            return locator
        return None

    def get_cache_path(self) -> str:
        """The folder of the function's source."""
        return str(self._folder)

    def get_source_stamp(self) -> str:
        """What must not have changed."""
        return self._stamp

    def get_disambiguator(self) -> str:
        """Tells functions of one name apart."""
        return str(self._line)


@functools.cache
def _used(folder: Path) -> None:
    """Note the time of use, and delete what no process has used for a day but the latest KEPT of the source."""
    os.utime(folder)
    stem = folder.name.rpartition("-")[0]
    with contextlib.suppress(OSError):  # another process may delete the same
        found = folder.parent.glob(f"{stem}-{'[0-9a-f]' * 12}")
        by_use = sorted(((path.stat().st_mtime, path) for path in found), reverse=True)
        for used, path in by_use[KEPT:]:
            if time.time() - used > UNUSED_S:
                shutil.rmtree(path, ignore_errors=True)


def _wanted() -> Path:
    if config.CACHE_DIR:
        return Path(config.CACHE_DIR)
    return Path(AppDirs("seqbench", appauthor=False).user_cache_dir, "numba")


@functools.cache
def _stamp(source: Path) -> str:
    """Hash of a file and of all files here that it imports names from."""
    files, found = [source], {source}
    for file in files:
        for imported in _imported(file) - found:
            found.add(imported)
            files.append(imported)
    parts = [numba.__version__.encode(), *sorted(f.read_bytes() for f in files)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _imported(file: Path) -> set[Path]:
    """Files of ``from models.x import name``, of ``from models import x`` and of ``import models.x``."""
    names = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    places = [
        FOLDER.resolve().joinpath(*name.split(".")[1:])
        for name in names
        if name.startswith("models.")
    ]
    files = (path.with_suffix(".py") for path in places)
    return {path for path in files if path.is_file()}
