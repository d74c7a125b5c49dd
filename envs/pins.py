"""Print the pinned requirements of pyproject.toml: ``python envs/pins.py GROUP...``, one requirement a line.

A group is ``torch`` (installed first and alone), ``base`` (the other dependencies) or the name of an extra. It
exists because pip cannot install a project's dependencies without the project. Standard library only.
"""

import sys
import tomllib
from pathlib import Path


def pins(group: str) -> list[str]:
    """Requirements of one group, as written in pyproject.toml."""
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    if group in ("torch", "base"):
        return [p for p in project["dependencies"] if p.startswith("torch==") == (group == "torch")]
    return project["optional-dependencies"][group]


if __name__ == "__main__":
    print("\n".join(pin for group in sys.argv[1:] for pin in pins(group)))
