"""Tier 1: counts and metrics of tiny trainings against the committed `results/reference/golden.json`. Torch-free.

A value carries its tolerance: zero where it is the same under every instruction set that a machine can be held to, else the
spread that was measured between them when it was accepted, the largest of its kind over the models. Values are kept by version of torch, whose kernels they are of.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from seqbench.core.errors import UserError
from seqbench.core.provenance import ROOT
from seqbench.core.records import write_atomically
from seqbench.hardware.leases import device_kind

FILE = ROOT / "results" / "reference" / "golden.json"
ACCEPT = "python -m tools.gate --accept"
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
# Instructions that every x86-64 machine has, for each library that would choose its own.
PORTABLE = {
    **ONE_THREAD,
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "PRESCOTT",
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_CPU_FEATURES": "",
    "CUDA_VISIBLE_DEVICES": "",
}
# What values are held against when they are accepted, each with other last digits: the machine's own instructions in every
# library, and an older set in all of them.
OTHERS: tuple[dict[str, str], ...] = (
    {**ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""},
    {
        **PORTABLE,
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "HASWELL",
    },
)
AMPLE = 4
Values = dict[str, float]
Run = Callable[[Mapping[str, str]], Values]


@dataclass(frozen=True)
class Change:
    """One value that is not what it was. before or after is None where there was or is none; former: its tolerance before."""

    name: str
    before: float | None
    after: float | None
    tolerance: float = 0.0
    former: float | None = None

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.name}: new, {_text(self.after)}"
        if self.after is None:
            return f"{self.name}: gone, was {_text(self.before)}"
        share = f" ({100 * (self.after / self.before - 1):+.2f} %)" if self.before else ""
        allowed = f", tolerance {self.tolerance:.2g}" if self.tolerance else ""
        if self.former not in (None, self.tolerance):
            allowed = f", tolerance {self.former:.2g} -> {self.tolerance:.2g}"
        return f"{self.name}: {_text(self.before)} -> {_text(self.after)}{share}{allowed}"


def run_probe(settings: Mapping[str, str], gpu: bool = False, root: Path = ROOT) -> Values:
    """The values of a checkout in a process of its own with these variables; gpu: only what the GPU allocates.

    Raises:
        UserError: the process failed; its last line says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "golden.json"
        done = subprocess.run(
            [sys.executable, "-m", "tools.gate", "golden", "--out", str(out), *(["--gpu"] if gpu else [])],
            cwd=root, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root), **settings},
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(
                f"the golden run failed: {last}; run `python -m tools.gate golden --out golden.json` to see all"
            )
        return json.loads(out.read_text(encoding="utf-8"))


def measured(run: Run = run_probe) -> Values:
    """All values of this checkout: portable ones, and what a GPU allocates if there is one."""
    values = run(PORTABLE)
    if run is run_probe and device_kind() == "cuda":
        values |= run_probe(ONE_THREAD, gpu=True)
    return values


def check(file: Path = FILE, run: Run = run_probe) -> list[Change]:
    """What differs from the accepted values by more than their tolerance.

    Raises:
        UserError: no values for the installed torch; the message names the command that makes them.
    """
    known, torch = _read(file), torch_version()
    if torch not in known:
        have = ", ".join(sorted(known)) or "none"
        raise UserError(
            f"{file}: no values for torch {torch} (there are: {have}); accept those of a commit you trust: {ACCEPT}"
        )
    return compare(known[torch], measured(run))


def compare(golden: Mapping[str, Mapping[str, float]], values: Values) -> list[Change]:
    """Changes beyond their tolerance, new and missing values, in the order of the names; GPUs only where both have them."""
    gpus = [{_gpu(name) for name in names} for names in (golden, values)]
    names = [n for n in sorted(golden.keys() | values.keys()) if _gpu(n) in gpus[0] & gpus[1]]
    changes = []
    for name in names:
        before, after = golden.get(name, {}).get("value"), values.get(name)
        tolerance = golden.get(name, {}).get("tolerance", 0.0)
        if before is None or after is None or abs(after - before) > tolerance:
            changes.append(Change(name, before, after, tolerance))
    return changes


def _kind(name: str) -> str:
    """What shares a spread: losses, each metric over all models; a count stands alone and is exact or not."""
    quantity = name.partition("/")[2]
    if quantity.startswith("training/loss"):
        return "loss"
    return quantity if quantity.startswith("test/") else name


def _gpu(name: str) -> str | None:
    return name.split("/")[1] if name.startswith("gpu/") else None


def accept(file: Path = FILE, run: Run = run_probe) -> list[Change]:
    """Write this checkout's values with their measured spread, and return everything that changes by it, tolerances and what lies
    within them included; other GPUs' values stay.
    """
    known, torch = _read(file), torch_version()
    values = measured(run)
    spread: dict[str, float] = {}
    for settings in OTHERS:
        other = run(settings)
        for name, value in values.items():
            kind = _kind(name)
            spread[kind] = max(spread.get(kind, 0.0), abs(other.get(name, value) - value))
    old = known.get(torch, {})
    here = {_gpu(n) for n in values}
    kept = {n: v for n, v in old.items() if _gpu(n) not in here}
    new = {n: {"value": v, "tolerance": _up(spread[_kind(n)])} for n, v in values.items()}
    known[torch] = {**kept, **new}
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"schema": 1, "by_torch": known}, indent=1, sort_keys=True)
    write_atomically(file, text.encode() + b"\n")
    return [
        Change(name, *((v.get(name) or {}).get("value") for v in (old, new)), new.get(name, {}).get("tolerance", 0.0),
               old.get(name, {}).get("tolerance"))
        for name in sorted((old.keys() | new.keys()) - kept.keys())
        if old.get(name) != new.get(name)
    ]  # fmt: skip


def torch_version() -> str:
    """Version of the installed torch without its build (+cpu, +cu130)."""
    return metadata.version("torch").split("+")[0]


def _up(spread: float) -> float:
    """A tolerance of two digits, ``AMPLE`` times the spread: only one machine's instruction sets were seen."""
    if spread == 0:
        return 0.0
    spread *= AMPLE
    rounded = float(f"{spread:.1e}")
    return rounded if rounded >= spread else float(f"{spread * 1.06:.1e}")


def _read(file: Path) -> dict[str, dict[str, dict[str, float]]]:
    if not file.exists():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))["by_torch"]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{file}: damaged; restore it with `git checkout`, or make it anew: {ACCEPT}"
        ) from None


def _text(value: float | None) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
