"""Versions are pinned in pyproject.toml; the other places that must agree are compared with it."""

import ast
import base64
import hashlib
import importlib.metadata
import re
import runpy
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)(;platform_system=='Linux')?$")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def parse(requirements):
    """Pins as {normalised name: version}; anything but an exact public version is an error.

    One marker is allowed, without spaces: the Makefile passes requirements as words of a shell.
    """
    found = {}
    for requirement in requirements:
        match = PIN.match(requirement)
        assert match, f"{requirement!r} is not an exact pin"
        found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return found


def lock():
    lines = (ROOT / "envs" / "lock.txt").read_text(encoding="utf-8").splitlines()
    return parse(line for line in lines if line and not line.startswith("#"))


def conda(name):
    text = (ROOT / "envs" / f"{name}.yaml").read_text(encoding="utf-8")
    (pip,) = [d["pip"] for d in yaml.safe_load(text)["dependencies"] if isinstance(d, dict)]
    return parse(pip)


def test_lock_holds_every_direct_pin_but_torch():
    extras = PROJECT["optional-dependencies"]
    locked = ("dev", "interpreter", "browser", "slurm")
    direct = parse(sum((extras[name] for name in locked), PROJECT["dependencies"]))
    torch = direct.pop("torch")
    assert torch
    assert direct.items() <= lock().items()


def test_lock_leaves_torch_to_its_own_step():
    assert "torch" not in lock()


@pytest.mark.parametrize(("name", "extras"), [("cpu", []), ("cuda", ["cuda"])])
def test_conda_environments_have_the_same_pins(name, extras):
    wanted = [*PROJECT["dependencies"]]
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    assert conda(name) == parse(wanted)


def test_cuda_pins_do_not_contradict_the_lock():
    locked = lock()
    cuda = parse(PROJECT["optional-dependencies"]["cuda"])
    assert {n: v for n, v in cuda.items() if n in locked} == {
        n: locked[n] for n in cuda if n in locked
    }


def test_pins_script_splits_torch_from_the_rest():
    pins = runpy.run_path(str(ROOT / "envs" / "pins.py"))["pins"]
    assert pins("torch") == [d for d in PROJECT["dependencies"] if d.startswith("torch==")]
    assert len(pins("torch")) == 1
    assert sorted(pins("torch") + pins("base")) == sorted(PROJECT["dependencies"])
    assert pins("kernels") == PROJECT["optional-dependencies"]["kernels"]


def test_the_makefile_can_pass_every_requirement_as_one_word():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    assert [r for group in groups for r in group if re.search(r"[\s*?\[\]]", r)] == []


def test_triton_is_the_one_that_this_torch_requires():
    """Of torch's CUDA builds; a CPU build does not say. To renew with torch: METADATA of a CUDA build."""
    required = {"2.13.0": "3.7.1"}
    assert lock()["triton"] == required[parse(PROJECT["dependencies"])["torch"]]


PEERS = {
    "rectools": ("rectools", "0.19.0"),
    "replay": ("replay-rec", "0.22.0"),
    "recbole": ("recbole", "1.2.1"),
}


@pytest.mark.parametrize("name", PEERS)
def test_a_peers_environment_is_pinned_with_our_torch(name):
    lines = (ROOT / "envs" / "peers" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pinned = parse(line for line in lines if not line.startswith("#"))
    ours = parse(PROJECT["dependencies"])
    assert pinned["torch"] == ours["torch"]
    package, version = PEERS[name]
    assert pinned[package] == version


def test_every_package_is_installed_but_the_tools():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = set(tomllib.loads(text)["tool"]["setuptools"]["packages"])
    there = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for top in ("models", "seqbench", "tools")
        for file in (ROOT / top).rglob("__init__.py")
    }
    assert {name.partition(".")[0] for name in there - listed} == {"tools"}


MODULES = {"pyyaml": "yaml", "nvidia-ml-py": "pynvml"}  # imported under another name
CODE = ("seqbench", "models", "tools", "workflow")


def imported():
    """Modules that the project's own code imports, by the first part of their names."""
    found = set()
    for folder in CODE:
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    found.add(node.module.partition(".")[0])
    return found


def test_what_is_imported_nowhere_is_not_pinned():
    wanted = {MODULES.get(name, name) for name in parse(PROJECT["dependencies"])}
    assert wanted - imported() == {"snakemake"}  # it is run


AUDIT = runpy.run_path(str(ROOT / "envs" / "audit.py"))


def installed(folder, name, version, content=b"x = 1\n", packed=None):
    """A package in a folder, and the SHA-256 of what it was packed with."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(packed or content).digest()).rstrip(b"=")
    (folder / f"{name}.py").write_bytes(content)
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "RECORD").write_text(f"{name}.py,sha256={digest.decode()},6\n{name}-{version}.dist-info/RECORD,,\n")  # fmt: skip


def test_the_audit_names_other_versions_and_changed_files(tmp_path):
    installed(tmp_path, "right", "1.0")
    installed(tmp_path, "older", "0.9")
    installed(tmp_path, "foreign", "1.0")
    installed(tmp_path, "Changed.One", "1.0", packed=b"y = 2\n")
    installed(tmp_path, "gone", "1.0")
    (tmp_path / "gone.py").unlink()
    pins = AUDIT["locked"](["# a comment", "right==1.0", "older==1.0", "changed-one==1.0", "gone==1.0", "linux==1;platform_system=='Linux'"])  # fmt: skip
    assert pins["linux"] == "1"
    found = list(importlib.metadata.distributions(path=[str(tmp_path)]))
    assert len(found) == 5
    said = sorted(AUDIT["other_versions"](found, pins, set()))
    assert [line.partition(",")[0] for line in said] == ["foreign 1.0 is installed", "older 0.9 is installed"]  # fmt: skip
    said = sorted(AUDIT["changed_files"](found))
    assert said == [
        "Changed.One: Changed.One.py was changed; install it again",
        "gone: gone.py is gone; install it again",
    ]


def test_what_runs_the_tests_is_what_is_locked():
    """Versions alone: `make audit` reads the files too."""
    found = [one for one in importlib.metadata.distributions() if AUDIT["normalised"](one.metadata["Name"]) in lock()]  # fmt: skip
    if sys.prefix == sys.base_prefix:
        pytest.skip("the tests run outside a virtual environment, whose packages nobody locked")
    assert list(AUDIT["other_versions"](found, lock(), set())) == []
