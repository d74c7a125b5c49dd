"""Clocks and memory of the device that computes, the same calls on a CPU and on a GPU. Knows no model."""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from .nvml import NO_DEVICE, Reading

# Messages of torch's CPU allocator when the system refuses memory: it raises a plain RuntimeError.
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_CPU_OOM = ("can't allocate memory", "not enough memory", "DefaultCPUAllocator")


def pick() -> torch.device:
    """The GPU that is visible, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Stopwatch:
    """Seconds of the blocks it timed, the device synchronised at both ends.

    clock: of wall time, or ``time.process_time``, which other work on the same core does not move.
    """

    def __init__(
        self, device: torch.device, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.device, self._clock = device, clock
        self.seconds: list[float] = []

    @contextmanager
    def time(self) -> Iterator[None]:
        """Time one block and append its seconds."""
        synchronise(self.device)
        start = self._clock()
        yield
        synchronise(self.device)
        self.seconds.append(self._clock() - start)


class EventClock:
    """Device seconds of the blocks it timed, between two CUDA events each; the host never waits inside.

    On a CPU it times nothing and ``seconds`` is empty.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def time(self) -> Iterator[None]:
        """Time one block on the device."""
        if self.device.type != "cuda":
            yield
            return
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        yield
        end.record()
        self._pairs.append((start, end))

    def seconds(self) -> list[float]:
        """Seconds of every block, after the device has finished (events count milliseconds)."""
        synchronise(self.device)
        return [start.elapsed_time(end) / 1000.0 for start, end in self._pairs]


def process_age_s() -> float | None:
    """Seconds since this process was started, interpreter and imports included; None where the system does not say."""
    try:
        if sys.platform != "linux":
            return time.time() - psutil.Process().create_time()
        # psutil counts from the boot in whole seconds; the kernel counts clock ticks.
        started = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
        ticks = int(started.rsplit(")", 1)[1].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except Exception:  # no finished work is lost for this
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that a GPU or the host ran out of memory."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _CPU_OOM)


def requested_bytes(error: BaseException) -> int | None:
    """Size of the allocation that failed, as an out-of-memory error of torch says it; None if it does not."""
    found = re.search(r"[Tt]ried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)", str(error))
    if not found:
        return None
    return round(float(found[1]) * _UNITS[found[2]])


def describe_out_of_memory(error: BaseException) -> str:
    """The first line of the error without the source location that CPU messages begin with."""
    first = str(error).partition("\n")[0] or type(error).__name__
    return re.sub(r"^\[enforce fail at [^]]*\][^.]*\. ", "", first)


def peak_rss_bytes() -> int:
    """Highest resident memory of this process since its start (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peaks(device: torch.device) -> None:
    """Start a new measuring phase of GPU memory; the peak of the host cannot be reset."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def memory(device: torch.device) -> dict[str, Reading]:
    """Peaks of the phase that torch and the system know, by metric name, each a value or null with its reason.

    On a GPU two numbers that answer different questions: live tensors, and the allocator's pool. What the driver
    sees of the process and of the whole device is the sampler's to say (seqbench/hardware/sampler.py).
    """
    rss = {"peak_rss_bytes": Reading(peak_rss_bytes())}
    if device.type != "cuda":
        names = ("peak_allocated_bytes", "peak_reserved_bytes")
        return {**rss, **dict.fromkeys(names, Reading(None, NO_DEVICE))}
    return {
        **rss,
        "peak_allocated_bytes": Reading(torch.cuda.max_memory_allocated(device)),
        "peak_reserved_bytes": Reading(torch.cuda.max_memory_reserved(device)),
    }
