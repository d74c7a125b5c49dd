"""Versions are pinned in pyproject.toml; the lock and what installs from it, by pip, conda and in a container, agree with it."""

import ast
import base64
import hashlib
import importlib.metadata
import itertools
import json
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
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


def run(name):
    """A script of envs/, whose neighbours are found as they are when it is started."""
    before = list(sys.path)
    try:
        return runpy.run_path(str(ROOT / "envs" / name))
    finally:
        sys.path[:] = before


PINS = run("pins.py")
EXTRAS = PROJECT["optional-dependencies"]
GROUPS = ("build", "base", "torch", *EXTRAS)


def lock():
    return PINS["versions"](PINS["locked"]().values())


def test_the_lock_holds_every_pin_but_torch():
    direct = parse([*PROJECT["dependencies"], *(pin for pins in EXTRAS.values() for pin in pins)])
    assert lock().items() >= direct.items() - {("torch", direct["torch"])}
    assert "torch" not in lock()


def test_every_package_of_the_lock_has_hashes_and_no_place():
    """Where a file comes from is a matter of pip's configuration."""
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", block) for block in PINS["locked"]().values())  # fmt: skip
    assert "://" not in PINS["LOCK"].read_text(encoding="utf-8")


def test_every_package_of_the_lock_is_asked_for():
    requirements = [pin for group in GROUPS for pin in PINS["pins"](group)]
    assert list(PINS["needed"](requirements)) == list(PINS["locked"]())


def test_torch_needs_what_make_lock_says():
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    said = {one["name"]: one for one in content["tool"]["uv"]["dependency-metadata"]}
    pinned = parse([*PROJECT["dependencies"], *EXTRAS["kernels"]])
    assert all(pinned[name] == one["version"] for name, one in said.items())
    torch = importlib.metadata.distribution("torch")
    if torch.version.partition("+")[0] != pinned["torch"]:
        pytest.skip("another torch than the pinned one is installed")
    needed = {line for line in torch.requires if "extra ==" not in line}
    # Those of a build for CUDA come along with it.
    needed = {line for line in needed if not re.match(r"nvidia|cuda|triton", line)}
    assert set(said["torch"]["requires-dist"]) == needed


@pytest.mark.parametrize(("new", "said"), [
    ('"tqdm==4.0"', "tqdm==4.0, envs/lock.txt holds 4.70.1"),
    ('"tqdm==4.70.1", "nobody==1.0"', "nobody==1.0, envs/lock.txt holds none"),
])  # fmt: skip
def test_a_pin_that_is_not_in_the_lock_is_refused(tmp_path, new, said):
    (tmp_path / "envs").mkdir()
    for name in ("pins.py", "lock.txt"):
        shutil.copy(ROOT / "envs" / name, tmp_path / "envs" / name)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    old = f'"tqdm=={parse(PROJECT["dependencies"])["tqdm"]}"'
    (tmp_path / "pyproject.toml").write_text(text.replace(old, new), encoding="utf-8")
    pins = runpy.run_path(str(tmp_path / "envs" / "pins.py"))
    with pytest.raises(SystemExit) as ended:
        pins["lines"]("base")
    assert str(ended.value) == f"error: pyproject.toml asks for {said}; run make lock"


def test_a_group_brings_what_it_needs_and_nothing_else():
    needed = {name: set(PINS["needed"](PINS["pins"](name))) for name in GROUPS}
    assert needed["interpreter"] == {"triton"}
    assert {"numpy", "pandas", "llvmlite", "connection-pool", "markupsafe"} <= needed["base"]
    assert {"filelock", "sympy", "mpmath"} <= needed["torch"] and "torch" not in needed["torch"]
    assert not needed["base"] & {"pytest", "triton", "playwright", "transformers", "mamba-ssm"}
    assert needed["kernels"] == set(parse(EXTRAS["kernels"])), "they are installed without what they declare"  # fmt: skip
    assert PINS["lines"]("base").startswith("alembic==")


def calls_of_install(monkeypatch, *groups, index=None):
    """Commands of pip that install.py starts, and the requirements that each reads."""
    install, calls = run("install.py"), []

    def start(command, env):
        files = [Path(file).read_text() for option, file in itertools.pairwise(command) if option == "--requirement"]  # fmt: skip
        calls.append((command, set(PINS["versions"](files[0].splitlines())) if files else None))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", start)
    monkeypatch.setattr(sys, "argv", ["install.py", *groups])
    monkeypatch.setenv("TORCH_INDEX", index or "")
    install["main"]()
    return calls


def test_everything_but_torch_is_installed_by_its_hash(monkeypatch):
    build, rest, torch = calls_of_install(monkeypatch, "base", "dev", "torch")
    assert build[1] == {"setuptools"}
    assert {"numpy", "snakemake", "ruff", "sympy", "filelock"} <= rest[1]
    assert not rest[1] & {"torch", "triton", "playwright"}
    for command, _ in (build, rest):
        assert {"--no-deps", "--require-hashes", "--no-build-isolation"} <= set(command)
    assert torch[0][-1].startswith("torch==") and torch[1] is None


def test_an_index_is_asked_for_torch_alone(monkeypatch):
    *others, torch = calls_of_install(monkeypatch, "base", "torch", index="https://x/cpu")
    assert torch[0][-2:] == ["--index-url", "https://x/cpu"]
    assert not any("--index-url" in command for command, _ in others)


def test_kernels_are_compiled_after_what_compiles_them(monkeypatch):
    calls = calls_of_install(monkeypatch, "cuda", "kernels")
    assert "ninja" in calls[1][1] and not calls[1][1] & calls[2][1]
    assert calls[2][1] == {"mamba-ssm", "causal-conv1d"}
    assert {"--no-binary=:all:", "--no-cache-dir", "--require-hashes"} <= set(calls[2][0])


# --- conda, containers --------------------------------------------------------------------------------------------


def test_a_conda_environment_takes_its_packages_from_the_lock():
    """No version of a package but Python's stands in it; it is made anew when the lock changes."""
    content = yaml.safe_load((ROOT / "envs" / "conda.yaml").read_text(encoding="utf-8"))
    python, pip = content["dependencies"]
    assert (
        pip == "pip"
        and f">={python.removeprefix('python=')}" == PROJECT["requires-python"].split(",")[0]
    )
    assert PINS["marked"]() == PINS["DEPLOYED"].read_text(encoding="utf-8"), "run make lock"
    rules = (ROOT / "workflow" / "rules" / "common.smk").read_text(encoding="utf-8")
    assert "/envs/conda.yaml" in rules and "SEQBENCH_CHECKOUT=" in rules


@pytest.mark.parametrize(("compiler", "cuda"), [(False, True), (True, False), (True, True)])
def test_what_conda_runs_installs_the_groups(tmp_path, compiler, cuda):
    """The kernels only where nvcc and a torch for it are there: else they do not build, and the environment would be none."""
    for name in ("python", *(["nvcc"] if compiler else [])):
        said = f'[ "$1" = -c ] && exit {int(not cuda)}; echo "$@"'
        (tmp_path / name).write_text(f"#!{shutil.which('sh')}\n{said}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": str(tmp_path), "SEQBENCH_CHECKOUT": "/a b"}
    command = [shutil.which("sh"), PINS["DEPLOYED"]]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    wanted = ["/a b/envs/install.py base torch", "/a b/envs/install.py cuda kernels"]
    assert done.stdout.splitlines() == wanted[: 1 + (compiler and cuda)]


def container():
    """Instructions of the Containerfile, by image."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    lines = [ln for ln in text.replace("\\\n", " ").splitlines() if ln and not ln.startswith("#")]
    images = {}
    for line in lines:
        if line.startswith("FROM"):
            instructions = images[line.rpartition(" AS ")[2]] = []
        elif images:
            instructions.append(line.split(None, 1))
    return images


def test_images_are_made_and_run_by_targets_of_make():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    images = container()
    assert set(images) == {"cpu", "cuda"}
    for name, instructions in images.items():
        made = [text.split()[1:] for word, text in instructions if word == "RUN" and text.startswith("make ")]  # fmt: skip
        assert made[0][0] == "setup" and made[0][1].startswith("TORCH_INDEX=")
        assert (["setup", "CUDA=1"] in made) == (name == "cuda")
        (entry,) = [json.loads(text) for word, text in instructions if word == "ENTRYPOINT"]
        (default,) = [json.loads(text) for word, text in instructions if word == "CMD"]
        assert entry == ["make"] and {words[0] for words in made} | set(default) <= targets
        assert not any("pip" in text.split() for _, text in instructions)
        for word, text in instructions:
            if word == "COPY":
                assert all((ROOT / source).exists() for source in text.split()[:-1])


def test_an_image_holds_nothing_that_a_checkout_ignores():
    read = [(ROOT / name).read_text(encoding="utf-8").split() for name in (".gitignore", ".dockerignore")]  # fmt: skip
    ignored, left_out = ({line.strip("/").removeprefix("**/") for line in lines} for lines in read)
    kept = {line for line in ignored if line.startswith(("!", ".venv-", "results/reference/"))}
    assert ignored - kept <= left_out


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


AUDIT = run("audit.py")


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
    pins = PINS["versions"](["# a comment", "right==1.0", "older==1.0 \\", "changed-one==1.0", "gone==1.0", "linux==1 ; sys_platform == 'linux' \\"])  # fmt: skip
    assert pins["linux"] == "1" and len(pins) == 5
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
    # Not all of sys.path: setuptools, once imported, adds the copies of packages that it carries.
    installed_here = importlib.metadata.distributions(path=[sysconfig.get_path("purelib")])
    found = [one for one in installed_here if AUDIT["normalised"](one.metadata["Name"]) in lock()]
    if sys.prefix == sys.base_prefix:
        pytest.skip("the tests run outside a virtual environment, whose packages nobody locked")
    assert found
    assert list(AUDIT["other_versions"](found, lock(), set())) == []
