"""Compiled kernels are kept once for a user of a machine, and are never those of other sources."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from numba.core.caching import IndexDataCacheFile

from models import _cache, _compiled

MODELS = Path(__file__).parents[2] / "models"
PROGRAM = """
import torch
from models._kernels import elementwise
elementwise.gelu(torch.ones(2, 16), 0.0)
import models
from models._compiled import COMPILING
print(COMPILING.done, elementwise._gelu.stats.cache_path)
"""


def checkout(folder):
    """A copy of the models in a folder of its own."""
    shutil.copytree(MODELS, folder / "models", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def compiles(where, **variables):
    """Whether a process in a checkout compiles a kernel, and where it keeps it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=where, env={**kept, **variables}, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    compiled, place = ran.stdout.split()
    return compiled == "True", Path(place)


@pytest.mark.slow
def test_a_second_checkout_compiles_nothing_until_its_sources_differ(tmp_path):
    first, second = checkout(tmp_path / "a"), checkout(tmp_path / "b")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert compiles(first, **cache)[0]
    compiled, place = compiles(second, **cache)
    assert not compiled and place.is_relative_to(tmp_path / "cache")
    shared = second / "models" / "_compiled.py"  # whose functions are inlined into the kernel
    shared.write_text(shared.read_text().replace("HALF * p * density", "HALF * (p * density)"))
    compiled, other = compiles(second, **cache)
    assert compiled and other != place


@pytest.mark.slow
def test_the_users_folder_wins_and_one_that_cannot_be_written_is_left_out(tmp_path):
    where = checkout(tmp_path / "a")
    compiled, place = compiles(where, NUMBA_CACHE_DIR=str(tmp_path / "mine"))
    assert compiled and place.is_relative_to(tmp_path / "mine")
    (tmp_path / "file").touch()  # below which no folder can be made
    compiled, place = compiles(where, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert compiled and place.is_relative_to(where / "models" / "_kernels" / "__pycache__")
    assert not compiles(where, XDG_CACHE_HOME=str(tmp_path / "file"))[0]


def test_what_two_save_at_once_is_found_under_its_own_key(tmp_path, monkeypatch):
    assert _compiled.COMPILING  # whose import lets savers take turns
    read = IndexDataCacheFile._load_index

    def slow(file):
        overloads = read(file)
        time.sleep(0.05)  # both would find the same number free
        return overloads

    monkeypatch.setattr(IndexDataCacheFile, "_load_index", slow)
    kinds = ("float32", "bfloat16")
    with ThreadPoolExecutor(2) as pool:
        files = [IndexDataCacheFile(str(tmp_path), "kernel", "stamp") for _ in kinds]
        list(pool.map(IndexDataCacheFile.save, files, kinds, kinds))
    assert [files[0].load(kind) for kind in kinds] == list(kinds)


@pytest.mark.parametrize(
    "line",
    ["from models._tiles import multiply", "from models import _tiles", "import models._tiles"],
)
def test_every_way_to_import_a_file_counts_for_what_is_compiled(tmp_path, line):
    source = tmp_path / "kernel.py"
    source.write_text(f"import numpy\n{line}\n")
    assert _cache._imported(source) == {MODELS / "_tiles.py"}


def test_old_folders_of_a_source_are_deleted_but_the_latest_and_those_of_today(tmp_path):
    def folder(name, days):
        path = tmp_path / name
        path.mkdir()
        (path / "kernel.nbi").touch()
        os.utime(path, (time.time() - days * _cache.UNUSED_S,) * 2)
        return path

    kept = [folder(f"kernel-{i:012x}", 5 + i) for i in range(_cache.KEPT - 1)]
    old = [folder(f"kernel-{i:012x}", 50 + i) for i in range(100, 103)]
    kept += [folder("kernel_two-00000000000a", 90), folder("kernel-of-a-user", 90)]
    current = folder("kernel-ffffffffffff", 99)  # used from now on
    _cache._used(current)
    assert current.exists() and all(path.exists() for path in kept)
    assert not any(path.exists() for path in old)
    for i in range(_cache.KEPT + 2):
        folder(f"kernel-{i:011x}e", 0)
    _cache._used(folder("kernel-eeeeeeeeeeee", 0))
    assert len(list(tmp_path.glob("kernel-*e"))) == _cache.KEPT + 3
