"""What NVML tells about the GPU in use: names, memory of process and device, energy. Never imports torch.

Every reading is a value or None with a reason; NVML's units (bytes, millijoules) are converted here, once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

NO_DEVICE = "no NVIDIA device"


@dataclass(frozen=True)
class Reading:
    """A value, or None and why there is none."""

    value: float | list[float] | None
    reason: str | None = None


class Nvml:
    """One GPU as NVML sees it; without a driver every reading is null with its reason."""

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError:
            self._nvml, self.reason = None, "nvidia-ml-py is not installed"
            return
        try:
            pynvml.nvmlInit()
            self._handle = _handle(pynvml)
        except pynvml.NVMLError as error:
            self._nvml, self.reason = None, f"{NO_DEVICE} (NVML: {error})"
            return
        self._nvml, self.reason = pynvml, None

    def facts(self) -> dict[str, Any]:
        """name, driver and whether another process is on the GPU; empty without a device."""
        if self._nvml is None:
            return {}
        nvml = self._nvml
        processes = self._ask(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        others = None if processes.value is None else any(
            p.pid not in (os.getpid(), os.getppid()) for p in processes.value
        )  # fmt: skip
        return {
            "name": nvml.nvmlDeviceGetName(self._handle),
            "driver": nvml.nvmlSystemGetDriverVersion(),
            "shared": others,
        }

    def process_bytes(self) -> Reading:
        """Memory this process holds on the GPU, its context included."""
        nvml = self._nvml
        found = self._ask(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        if found.value is None:
            return found
        own = [p.usedGpuMemory for p in found.value if p.pid == os.getpid()]
        if not own or own[0] is None:
            return Reading(
                None, "NVML does not show this process (a container can hide process ids)"
            )
        return Reading(own[0])

    def device_bytes(self) -> Reading:
        """Memory in use on the GPU by everyone."""
        nvml = self._nvml
        return self._ask(lambda: nvml.nvmlDeviceGetMemoryInfo(self._handle).used)

    def energy_j(self) -> Reading:
        """Energy counter in joules; only differences mean anything."""
        nvml = self._nvml
        found = self._ask(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        return found if found.value is None else Reading(found.value / 1000.0)

    def _ask(self, question: Any) -> Reading:
        if self._nvml is None:
            return Reading(None, self.reason)
        try:
            return Reading(question())
        except self._nvml.NVMLError as error:
            return Reading(None, f"NVML: {error}")


def _handle(nvml: Any) -> Any:
    """The first visible GPU: NVML knows nothing of CUDA_VISIBLE_DEVICES, so index or UUID is looked up here."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if first.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(first)
    return nvml.nvmlDeviceGetHandleByIndex(int(first or 0))
