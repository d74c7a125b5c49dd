"""What a machine without network lacks to run the workflow, in one folder: ``python envs/wheelhouse.py pack|install FOLDER``.

pack, where there is network: wheels of Snakemake and of the small packages, and pip's own, held against the lock's hashes. Not
packed is what a machine that trains has, and what only the page needs; of each that it has, its version is used and recorded.
install, there: .venv on top of the interpreter that runs this, a virtual environment or not, from the folder alone, whose
wheels are held against the lock's hashes again.

Standard library only.
"""

import argparse
import hashlib
import importlib.util
import platform
import site
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from pins import locked, needed, pins

USED_AS_THEY_ARE = ("torch", "numpy")  # there, or nothing trains
# Large, and not needed to train or measure on a GPU: kernels of CPUs, real data that are no text, tables and the page.
LEFT_OUT = ("numba", "pandas", "scipy", "matplotlib", "pyarrow", "ruptures")
TESTS = ("pytest", "pytest-benchmark", "hypothesis")  # so that those that need a GPU run there
BUILT = ("connection-pool",)  # has no wheel, and is pure Python
LIMIT_BYTES = 60 * 10**6
MANYLINUX = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014", "manylinux_2_12",
             "manylinux2010", "manylinux_2_5", "manylinux1")  # fmt: skip


def packed_pins() -> list[str]:
    """Pinned requirements that are packed."""
    base = [
        pin for pin in pins("base") if pin.partition("==")[0] not in USED_AS_THEY_ARE + LEFT_OUT
    ]
    return [*base, *(pin for pin in pins("dev") if pin.partition("==")[0] in TESTS)]


def packed() -> list[str]:
    """Names of what is packed, with what it needs, but for what is built."""
    names = needed([*packed_pins(), *pins("offline")])
    return [name for name in names if name not in USED_AS_THEY_ARE + BUILT]


def pack(folder: Path, python: str, machine: str) -> int:
    """Fill the folder with wheels for CPython ``python`` (as 3.12) on Linux, ``machine`` as ``uname -m`` has it; its size in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    target = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    for abi in (f"cp{python.replace('.', '')}", "abi3", "none"):
        target += ["--abi", abi]
    for kind in MANYLINUX:
        target += ["--platform", f"{kind}_{machine}"]
    for verb, names in (["wheel", "--wheel-dir", folder], BUILT), (["download", *target, "--dest", folder], packed()):  # fmt: skip
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("".join(locked()[name] for name in names))
            file.flush()
            command = [*pip, *verb, "--no-deps", "--require-hashes", "--requirement", file.name]
            subprocess.run(command, check=True)
    return sum(file.stat().st_size for file in folder.iterdir())


def strangers(folder: Path) -> list[str]:
    """Wheels whose content is not in the lock; one that was built has no hash there."""
    lock = "".join(locked().values())
    built = tuple(name.replace("-", "_") for name in BUILT)
    return [
        wheel.name for wheel in sorted(folder.glob("*.whl"))
        if hashlib.sha256(wheel.read_bytes()).hexdigest() not in lock and not wheel.name.startswith(built)
    ]  # fmt: skip


def install(folder: Path, target: Path) -> None:
    """Make the environment ``target`` on top of this interpreter, from the folder alone."""
    missing = [name for name in USED_AS_THEY_ARE if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"error: {sys.executable} has no {' and no '.join(missing)}; name the machine's own interpreter with PYTHON=")  # fmt: skip
    wheels = sorted(folder.glob("pip-*.whl"))
    if not wheels:
        sys.exit(f"error: {folder}: holds no wheel of pip; `make wheelhouse` fills such a folder where there is network")  # fmt: skip
    if unknown := strangers(folder):
        sys.exit(f"error: {folder}: {unknown[0]} is not the file that envs/lock.txt holds; pack the folder again, with make wheelhouse of this checkout")  # fmt: skip
    inside = (
        sys.prefix != sys.base_prefix
    )  # of an environment, whose packages are not those of the system
    venv.create(target, system_site_packages=not inside)
    python = target / "bin" / "python"
    if inside:
        below = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        paths = [path for path in site.getsitepackages() if Path(path).is_dir()]
        (target / below / "interpreter.pth").write_text("\n".join(paths) + "\n", encoding="utf-8")
    done = subprocess.run(
        [python, wheels[-1] / "pip", "--isolated", "--quiet", "--disable-pip-version-check", "install",
         "--no-warn-conflicts", "--no-index", "--find-links", folder, *packed_pins()],
    )  # fmt: skip
    if done.returncode:
        here = f"{sys.version_info.major}.{sys.version_info.minor}, {platform.machine()}"
        sys.exit(f"error: {folder}: holds not all wheels for this interpreter ({here}); pack them with make wheelhouse FOR={here.replace(', ', '-')}")  # fmt: skip


def main() -> None:
    """Run one verb."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}-{platform.machine()}"
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("verb", choices=["pack", "install"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--for", dest="target", default=here, help=f"Python and machine, as 3.12-x86_64 (default: {here})")  # fmt: skip
    parser.add_argument("--into", type=Path, default=Path(".venv"))
    a = parser.parse_args()
    if a.verb == "install":
        return install(a.folder, a.into)
    size = pack(a.folder, *a.target.split("-", 1))
    print(f"wheelhouse: {a.folder}, {size / 1e6:.1f} MB, for {a.target}")
    if size > LIMIT_BYTES:
        sys.exit(f"error: {a.folder}: larger than {LIMIT_BYTES / 1e6:.0f} MB; empty it, and pack it again")  # fmt: skip
    return None


if __name__ == "__main__":
    main()
