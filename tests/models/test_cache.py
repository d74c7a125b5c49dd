"""Compiled kernels are kept once for a user of a machine, and are never those of other sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
