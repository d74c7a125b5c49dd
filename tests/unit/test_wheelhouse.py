"""What is taken to a machine without network: without what that machine has, and refused in one line where it does not fit."""

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "envs" / "wheelhouse.py"


@pytest.fixture
def wheelhouse():
    spec = importlib.util.spec_from_file_location("wheelhouse", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(pins):
    return {pin.partition("==")[0].lower() for pin in pins}


def test_every_package_is_packed_or_left_out_by_name(wheelhouse):
    base = names(wheelhouse.pins("base")) | {"torch"}
    packed = names(wheelhouse.packed_pins())
    left = {*wheelhouse.USED_AS_THEY_ARE, *wheelhouse.LEFT_OUT}
    tests = set(wheelhouse.TESTS)
    assert packed - tests | left == base and not packed & left and tests < packed
    assert "snakemake" in packed and set(wheelhouse.BUILT) <= set(wheelhouse.locked())
    every = set(wheelhouse.packed())
    assert packed < every and {"pip", "sqlalchemy", "pluggy"} < every
    assert not every & {*left, *wheelhouse.BUILT}, "what is packed asks for it"


@pytest.fixture
def pip(wheelhouse, monkeypatch):
    """The calls of pip; what it would download lies in the folder."""
    calls = []

    def run(command, check=False):
        calls.append([str(word) for word in command])
        if "--dest" in calls[-1]:
            folder = Path(calls[-1][calls[-1].index("--dest") + 1])
            (folder / "snakemake-9.27.1-py3-none-any.whl").write_bytes(b"12345")
            asked = Path(calls[-1][calls[-1].index("--requirement") + 1]).read_text()
            assert "snakemake==" in asked and "numpy==" not in asked and "--hash=sha256:" in asked
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(wheelhouse.subprocess, "run", run)
    return calls


def test_wheels_are_those_of_the_other_machine_held_against_the_lock(wheelhouse, pip, tmp_path):
    assert wheelhouse.pack(tmp_path / "w", "3.12", "aarch64") == 5
    words = " ".join(pip[-1])
    assert "--python-version 3.12" in words and "--abi cp312" in words and "_aarch64" in words
    assert all({"--no-deps", "--require-hashes"} <= set(command) for command in pip)


def known(wheelhouse, monkeypatch, content=b""):
    """The lock holds a file of this content."""
    monkeypatch.setattr(wheelhouse, "locked", lambda: {"pip": hashlib.sha256(content).hexdigest()})


@pytest.mark.parametrize("lacks", ["torch", "pip", "lock", "wheels"])
def test_what_cannot_be_installed_is_said_with_what_to_do(
    wheelhouse, pip, tmp_path, monkeypatch, lacks
):
    if lacks == "torch":
        monkeypatch.setattr(wheelhouse, "USED_AS_THEY_ARE", ("torch_of_nobody",))
    if lacks in ("lock", "wheels"):
        (tmp_path / "pip-26.3-py3-none-any.whl").touch()
        (tmp_path / "connection_pool-0.0.3-py3-none-any.whl").write_bytes(b"was built")
    if lacks == "wheels":
        known(wheelhouse, monkeypatch)
    with pytest.raises(SystemExit) as ended:
        wheelhouse.install(tmp_path, tmp_path / "made")
    said = {"torch": "has no torch_of_nobody; name", "pip": "holds no wheel of pip", "lock": "pip-26.3-py3-none-any.whl is not the file that envs/lock.txt holds", "wheels": "make wheelhouse FOR="}  # fmt: skip
    assert str(ended.value).startswith("error: ") and said[lacks] in str(ended.value)
    assert "\n" not in str(ended.value)


def test_the_packages_of_an_environment_are_seen_from_the_one_on_top(
    wheelhouse, pip, tmp_path, monkeypatch
):
    """These tests run in a virtual environment, or the machine's interpreter has what they need."""
    (tmp_path / "pip-26.3-py3-none-any.whl").touch()
    known(wheelhouse, monkeypatch)
    with pytest.raises(SystemExit):  # nothing is installed, the environment is there
        wheelhouse.install(tmp_path, tmp_path / "made")
    monkeypatch.undo()
    code = "import torch, numpy, sys; print(torch.__file__, sys.prefix)"
    command = [tmp_path / "made/bin/python", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    file, prefix = done.stdout.split()
    assert Path(prefix) == tmp_path / "made" and file == torch.__file__


def test_a_folder_that_is_too_large_is_refused(wheelhouse, pip, tmp_path, monkeypatch):
    monkeypatch.setattr(wheelhouse, "LIMIT_BYTES", 3)
    monkeypatch.setattr(sys, "argv", ["x", "pack", str(tmp_path / "w"), "--for", "3.12-x86_64"])
    with pytest.raises(SystemExit, match="larger than 0 MB; empty it"):
        wheelhouse.main()
