"""What pyproject.toml asks for, and what envs/lock.txt makes of it.

    python envs/pins.py written lock    # requirements of a group as written in pyproject.toml, one a line
    python envs/pins.py mark            # writes which lock.txt it is into conda.post-deploy.sh

A group is ``build`` (what builds sources), ``base`` (the dependencies but torch), ``torch`` (what torch needs; itself it is
not locked) or the name of an extra. The lock, by `make lock`, names above each package's hashes the version and below them, as
``# via``, what asked for it. Standard library only.
"""

import hashlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "envs" / "lock.txt"
DEPLOYED = ROOT / "envs" / "conda.post-deploy.sh"
VIA = re.compile(r"^ +#(?: via$| via |   )", re.MULTILINE)


def normalised(name: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(group: str) -> list[str]:
    """Requirements of one group, as written in pyproject.toml; of ``torch`` that of itself."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = content["project"]
    if group == "build":
        return content["build-system"]["requires"]
    if group in ("torch", "base"):
        return [p for p in project["dependencies"] if p.startswith("torch==") == (group == "torch")]
    return {**project["optional-dependencies"], **content["dependency-groups"]}[group]


def versions(lines: list[str]) -> dict[str, str]:
    """Versions by name, of lines ``name==version`` with or without a marker."""
    found = (re.match(r"([\w.-]+)(?:\[.*\])?==([\w.]+)", line) for line in lines)
    return {normalised(match[1]): match[2] for match in found if match}


def locked() -> dict[str, str]:
    """The lock by name: of each package its lines, comments too."""
    blocks = re.split(r"^(?=[\w#])", LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: block for block in blocks for name in versions([block])}


def _asked_by(block: str) -> set[str]:
    return {VIA.sub("", line).strip() for line in block.splitlines() if VIA.match(line)} - {""}


def needed(requirements: list[str]) -> Iterator[str]:
    """Names of what these requirements and all that they need in turn are in the lock, in its order."""
    lock = locked()
    asked_by = {name: _asked_by(block) for name, block in lock.items()}
    found = set(versions(requirements))
    while more := {name for name, by in asked_by.items() if by & found} - found:
        found |= more
    return (name for name in lock if name in found)


def lines(*groups: str, alone: bool = False) -> str:
    """The lock's lines of groups, with all that they need unless ``alone``, for ``pip install --no-deps --require-hashes``."""
    requirements = [pin for group in groups for pin in pins(group)]
    lock = locked()
    for name, version in versions(requirements).items():
        there = versions([lock.get(name, "")]).get(name)
        if name != "torch" and there != version:
            sys.exit(f"error: pyproject.toml asks for {name}=={version}, envs/lock.txt holds {there or 'none'}; run make lock")  # fmt: skip
    names = versions(requirements) if alone else needed(requirements)
    return "".join(lock[name] for name in names)


def marked() -> str:
    """conda.post-deploy.sh with the digest of the lock as it is."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    return re.sub(r"(?m)(?<=sha256: )\w+$", digest, DEPLOYED.read_text(encoding="utf-8"))


if __name__ == "__main__":
    if sys.argv[1] == "mark":
        DEPLOYED.write_text(marked(), encoding="utf-8")
    else:
        print("\n".join(pin for group in sys.argv[2:] for pin in pins(group)))
