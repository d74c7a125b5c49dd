"""Install groups of the lock into the interpreter that runs this: ``python envs/install.py GROUP...``; their names: pins.py.

``--into FOLDER`` installs there, and of each group only what it names: what that needs is expected elsewhere.

Every file is held against the lock's hashes, but torch: TORCH_INDEX names the index of packages that its build is taken from.
It comes after what it needs, so that nothing else comes along but CUDA's libraries. Standard library only.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from pins import lines, pins

PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
# The kernels are compiled against the torch that is there, from source (a prebuilt or cached wheel may be for another torch, or
# have no kernels), and without what they declare but do not need.
FROM_SOURCE = ["--no-binary=:all:", "--no-cache-dir"]
FORCED = {"MAMBA_FORCE_BUILD": "TRUE", "CAUSAL_CONV1D_FORCE_BUILD": "TRUE"}


def from_lock(*groups: str, options: Sequence[str] = (), alone: bool = False) -> None:
    """Install groups with their hashes; what is built is built by what is installed, so that this was held against the lock too."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(lines(*groups, alone=alone))
        file.flush()
        command = ["--no-deps", "--require-hashes", "--no-build-isolation", *options]
        _run([*PIP, *command, "--requirement", file.name])


def _run(command: list[str]) -> None:
    """Pip says what failed; a traceback below it would hide that."""
    done = subprocess.run(command, env={**os.environ, **FORCED})
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    """Install what the command line names."""
    groups = sys.argv[1:]
    if groups[0] == "--into":
        return from_lock(*groups[2:], options=["--upgrade", "--target", groups[1]], alone=True)
    from_lock("build")
    from_lock(*(group for group in groups if group != "kernels"))
    if "torch" in groups:
        index = os.getenv("TORCH_INDEX")
        _run([*PIP, *pins("torch"), *(["--index-url", index] if index else [])])
    if "kernels" in groups:
        from_lock("kernels", options=FROM_SOURCE)


if __name__ == "__main__":
    main()
