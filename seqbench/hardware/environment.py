"""Facts about the machine and the software that a record stores: an allow-list, without host, user or path.

This module never imports torch: the supervisor describes the machine of a worker that died, too.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from .nvml import Nvml
from .worker_env import ALLOCATOR

DECIDES = "nothing"

PACKAGES = ("torch", "numpy", "numba", "triton", "mamba-ssm", "causal-conv1d", "nvidia-ml-py")
SHARE = "SEQBENCH_GPU_SHARE"  # set where several trainings are meant to use one GPU at once: how many, and how
SETTINGS = (
    *ALLOCATOR,
    SHARE,
    "ATEN_CPU_CAPABILITY",
    "MKL_CBWR",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
)


def environment(
    device_kind: str, threads: int | None, cpu_capability: str | None = None
) -> dict[str, Any]:
    """The record's ``environment`` for a job on ``device_kind`` ("cpu" or "cuda") with ``threads`` CPU threads."""
    gpu = Nvml().facts() if device_kind == "cuda" else {}
    cpu, memory = _cpu_name(), psutil.virtual_memory().total
    device = gpu.get("name") or "cpu"
    # Memory in GiB: the last megabytes differ from boot to boot on the same machine.
    identity = f"{cpu}|{os.cpu_count()}|{round(memory / 2**30)}|{device}"
    return {
        "machine": hashlib.sha256(identity.encode()).hexdigest()[:12],
        "machine_name": _slug(device if device != "cpu" else f"{cpu} {os.cpu_count()} cpus"),
        "device": device,
        "device_kind": device_kind,
        "cpu": cpu,
        "n_cpus": os.cpu_count(),
        "memory_bytes": memory,
        "os": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "driver": gpu.get("driver"),
        "threads": threads,
        "cpu_capability": cpu_capability,
        "shared_gpu": True if SHARE in os.environ else gpu.get("shared"),
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
