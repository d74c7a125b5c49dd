"""What a worker's environment sets: thread pools and the allocator. It changes what is measured, unlike what a record says of it."""

from __future__ import annotations

import os
import platform
import re

# glibc gives large blocks back to the system at once and takes page faults to get them again, which costs a
# training step on a CPU up to a third of its time. Set for workers unless the user set them.
_UNLIMITED, _OLD_LIMIT = "17179869184", "33554432"


def allocator(libc: tuple[str, str]) -> dict[str, str]:
    """The allocator's settings for a C library (name, version).

    Before 2.35 glibc ignores a threshold above half its heaps' size, and then keeps the smallest one for good.
    """
    name, version = libc
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    old = name == "glibc" and numbers < (2, 35)
    return {
        "MALLOC_MMAP_THRESHOLD_": _OLD_LIMIT if old else _UNLIMITED,
        "MALLOC_TRIM_THRESHOLD_": _UNLIMITED,
        "MALLOC_TOP_PAD_": "268435456",
    }


def _libc() -> tuple[str, str]:
    try:
        return platform.libc_ver()
    except Exception:  # it reads the interpreter's file, which need not be readable
        return "", ""


ALLOCATOR = allocator(_libc())


def worker_environment(threads: int) -> dict[str, str]:
    """Environment variables of a worker process: thread pools of so many threads, and the allocator, whose settings by the user win."""
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    variables = {**ALLOCATOR, **os.environ, **dict.fromkeys(pools, str(threads))}
    if platform.machine() == "x86_64":  # there PyTorch multiplies by MKL; OpenBLAS is called from
        variables["OPENBLAS_NUM_THREADS"] = "1"  # compiled kernels, which have threads of their own
    return variables
