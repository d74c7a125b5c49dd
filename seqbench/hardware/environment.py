"""Facts about the machine and the software that a record stores: an allow-list, without host, user or path.

This module never imports torch: the supervisor describes the machine of a worker that died, too.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from .nvml import Nvml, Reading, said
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
    """The record's ``environment`` for a job on ``device_kind`` ("cpu" or "cuda") with ``threads`` CPU threads.

    Never raises: what cannot be told is null, and ``unknown`` says why.
    """
    unknown: dict[str, str] = {}

    def told(field: str, question: Callable[[], Any]) -> Any:
        """The answer, or None with its reason in ``unknown``."""
        try:
            value = question()
        except Exception as error:
            value = Reading(None, said(error))
        if not isinstance(value, Reading):
            return value
        if value.value is None:
            unknown[field] = value.reason or "not told"
        return value.value

    on_gpu = device_kind == "cuda"
    gpu = Nvml().described() if on_gpu else {}
    device = told("device", lambda: gpu["name"]) if on_gpu else "cpu"
    cpu = told("cpu", _cpu_name)
    n_cpus = told("n_cpus", lambda: os.cpu_count() or Reading(None, "the system does not say"))
    memory = told("memory_bytes", lambda: psutil.virtual_memory().total)
    # Memory in GiB: the last megabytes differ from boot to boot on the same machine.
    identity = f"{cpu}|{n_cpus}|{memory and round(memory / 2**30)}|{device}"
    shared = told("shared_gpu", lambda: gpu["shared"]) if on_gpu else None
    if SHARE in os.environ:
        shared = True
        unknown.pop("shared_gpu", None)
    named = (device or "unnamed gpu") if on_gpu else f"{cpu or 'unnamed cpu'} {n_cpus} cpus"
    return {
        "machine": hashlib.sha256(identity.encode()).hexdigest()[:12],
        "machine_name": _slug(named),
        "device": device,
        "device_kind": device_kind,
        "cpu": cpu,
        "n_cpus": n_cpus,
        "memory_bytes": memory,
        "os": told("os", lambda: f"{platform.system()} {platform.release().split('-')[0]}"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "driver": told("driver", lambda: gpu["driver"]) if on_gpu else None,
        "threads": threads,
        "cpu_capability": cpu_capability,
        "shared_gpu": shared,
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "unknown": unknown,
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except Exception:  # it is not there, or what describes it is damaged
        return None


def _cpu_name() -> str | None:
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
