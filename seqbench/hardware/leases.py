"""Who may use which device: device files, leases of GPUs, and what a process is shown of them."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import IO

from ..core.errors import UserError
from .environment import environment

DECIDES = "nothing"


_PR_SET_PDEATHSIG = 1


def machines() -> set[str]:
    """Fingerprints of what a worker may be given here: one for every kind of GPU, or that of the processor."""
    found = set()
    for visible in _leases() or [{}]:
        with variables(visible):
            found.add(environment(device_kind(), None)["machine"])
    return found


@contextmanager
def variables(changes: Mapping[str, str]) -> Iterator[None]:
    """Environment of this process and of those to come for a while; then as before, or the next lease would find a device chosen."""
    if not changes:
        yield
        return
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, so that a killed supervisor leaves no orphan."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def device_lease() -> Iterator[dict[str, str]]:
    """Environment that shows a worker one free GPU, locked for the duration across all runs on this machine.

    Nothing to lease without a GPU, or where CUDA_VISIBLE_DEVICES is set already (a cluster sets it).
    """
    leases = _leases()
    if not leases:
        yield {}
        return
    while True:
        for index, visible in enumerate(leases):
            with _lock_file(index) as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield visible
                return
        time.sleep(0.2)


def _leases() -> list[dict[str, str]]:
    """What shows a worker each GPU of this machine; none where there is no choice to make."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return []
    # Counted by bus, as NVML does: CUDA's own order is by speed.
    return [
        {"CUDA_VISIBLE_DEVICES": str(index), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        for index in range(len(gpu_devices()))
    ]


def _lock_file(index: int) -> IO[str]:
    """The file that is locked for a GPU, opened to read: whoever came first owns it, and a lock needs no more."""
    path = Path(tempfile.gettempdir()) / f"seqbench-gpu{index}.lock"
    with suppress(FileExistsError):
        path.touch(exist_ok=False)
        path.chmod(0o644)  # the next user reads it, whatever the umask of this one
    try:
        return path.open(encoding="utf-8")
    except PermissionError:
        raise UserError(
            f"{path}: cannot be read, so GPU {index} cannot be shared with its owner: ask for `chmod 644 {path}`,"
            " or choose a GPU with CUDA_VISIBLE_DEVICES"
        ) from None


def gpu_devices() -> list[Path]:
    """NVIDIA device files of this machine."""
    return sorted(Path("/dev").glob("nvidia[0-9]*"))


def device_kind() -> str:
    """Where a worker computes, as far as can be told without torch: a GPU that is hidden, or that PyTorch was not built for, is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    shown = visible.isdigit() or visible.startswith(("GPU-", "MIG-"))  # CUDA sees nothing else
    built = "+cpu" not in metadata.version("torch")
    return "cuda" if gpu_devices() and built and shown else "cpu"


def check_precision(precision: str) -> None:
    """Refuse what the device does not have.

    Raises:
        UserError: tf32 without an NVIDIA GPU.
    """
    if precision == "tf32" and device_kind() != "cuda":
        raise UserError("precision tf32: exists on NVIDIA GPUs only; use fp32 or bf16 here")
