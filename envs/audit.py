"""Is what is installed what was locked, as it was packed, and free of known faults? ``python envs/audit.py`` (`make audit`).

Versions are held against envs/lock.txt, torch's against pyproject.toml, files against the SHA-256 that each package brings (RECORD). Known
faults are asked of pip-audit, which needs the network: without it that part is skipped, and the last line says why.
Exit status 1 if anything differs. Standard library only.
"""

import base64
import hashlib
import importlib.metadata as metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from pins import LOCK, locked, normalised, pins, versions

UNPINNED = {"pip", "setuptools", "wheel"}  # that a virtual environment brings
CHUNK_BYTES = 2**20


def other_versions(
    found: Iterable[metadata.Distribution], wanted: dict[str, str], torchs: set[str]
) -> Iterator[str]:
    """What is installed in another version than the lock says, or is not in it; torchs: names that come with torch."""
    for one in found:
        name, version = normalised(one.metadata["Name"]), one.version.partition("+")[0]
        if name in UNPINNED | torchs - wanted.keys():
            continue
        if name not in wanted:
            yield f"{name} {version} is installed, and is not in the lock; take it out, or lock it"
        elif wanted[name] != version:
            yield f"{name} {version} is installed, the lock says {wanted[name]}; run make setup"


def changed_files(found: Iterable[metadata.Distribution]) -> Iterator[str]:
    """Files whose content is not the one that their package was packed with."""
    for one in found:
        for file in one.files or ():
            if file.hash is None:
                continue
            path = Path(str(one.locate_file(file)))
            if not path.is_file():
                yield f"{one.metadata['Name']}: {file} is gone; install it again"
            elif _digest(path, file.hash.mode) != file.hash.value:
                yield f"{one.metadata['Name']}: {file} was changed; install it again"


def _digest(path: Path, kind: str) -> str:
    digest = hashlib.new(kind)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()


def _known_faults() -> tuple[str, bool]:
    """What pip-audit says of the lock in a line, and whether it found something."""
    if importlib.util.find_spec("pip_audit") is None:
        return "known faults: skipped, pip-audit is not installed (pip install pip-audit)", False
    command = ["-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    done = subprocess.run(
        [sys.executable, *command, "--requirement", str(LOCK)],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode and "Found " not in done.stderr:
        said = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        return f"known faults: skipped, the database of faults cannot be asked ({said})", False
    return f"known faults: {done.stderr.strip()}\n{done.stdout.strip()}", bool(done.returncode)


def main() -> int:
    """Print what differs; 1 if anything does, else 0."""
    wanted = versions([*locked().values(), *pins("torch")])
    found = list(metadata.distributions())
    torch = [one for one in found if normalised(one.metadata["Name"]) == "torch"]
    # What only torch asks for, as CUDA's libraries, comes in the versions that torch pins itself.
    torchs = {normalised(re.match(r"[\w.-]+", r)[0]) for one in torch for r in one.requires or ()}
    torchs |= {normalised(one.metadata["Name"]) for one in found if one.metadata["Name"].startswith("nvidia")}  # fmt: skip
    problems = [*other_versions(found, wanted, torchs), *changed_files(found)]
    said, faulty = _known_faults()
    print("\n".join([*problems, f"audit: {len(found)} packages, {len(problems)} differ from the lock or from what was packed", said]))  # fmt: skip
    return int(bool(problems) or faulty)


if __name__ == "__main__":
    sys.exit(main())
