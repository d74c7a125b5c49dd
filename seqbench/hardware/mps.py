"""CUDA's Multi-Process Service: with it kernels of processes that share a GPU run side by side, without it in turns.

One control daemon per user of a machine. The first that shares a GPU starts it, the last one ends it; both are called
where only one process can be at a time. Torch-free.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

DECIDES = "nothing"

CONTROL = "nvidia-cuda-mps-control"
TIMEOUT_S = 20.0
# A daemon that kept the pipe to the log of the job that started it would keep that job from ending.
QUIET = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)


def start(folder: Path) -> bool:
    """Start the service with its pipes in ``folder``; False where it is not installed or does not start."""
    control = shutil.which(CONTROL)
    if control is None:
        return False
    stop(folder)  # one that outlived those who shared
    folder.mkdir(mode=0o700, exist_ok=True)
    # It counts the GPUs anew among those that it sees itself, so it must see all of them.
    seen = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    seen |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **clients(folder)}
    if subprocess.run([control, "-d"], env=seen, **QUIET).returncode == 0:
        return True
    print(f"{CONTROL} does not start: trainings take turns", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    return False


def clients(folder: Path) -> dict[str, str]:
    """What its clients need in their environment; empty where it was not started."""
    if not folder.is_dir():
        return {}
    return {"CUDA_MPS_PIPE_DIRECTORY": str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}


def stop(folder: Path) -> None:
    """End the service; nothing where it was not started."""
    control = shutil.which(CONTROL)
    if control is None or not folder.is_dir():
        return
    with suppress(subprocess.SubprocessError):
        subprocess.run([control], input="quit\n", text=True, env={**os.environ, **clients(folder)}, timeout=TIMEOUT_S)  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
