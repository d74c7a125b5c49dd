"""What NVML tells about the GPU in use: memory, power, energy, clocks, who else is there. Never imports torch.

Every reading is a value or None with a reason, and asking never raises, whatever NVML, its Python module or its driver
does: no finished work is lost for what was asked beside it. NVML's units (bytes, milliwatts, millijoules, percent) are
converted here, once. A GPU that is lost stays lost: it is not asked again.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

DECIDES = "measurements"

NO_DEVICE = "no NVIDIA device"
NOT_INSTALLED = "nvidia-ml-py is not installed: pip install nvidia-ml-py"
SLICE = "a MIG slice: NVML has it for whole GPUs only"
HIDDEN = "NVML does not show this process (a container can hide process ids)"
WDDM = "NVML does not know it (Windows in WDDM mode)"
ORDER = "CUDA counts different GPUs fastest first and NVML by bus: set CUDA_DEVICE_ORDER=PCI_BUS_ID"
SHORTEST_ENERGY_WINDOW_S = 5.0  # the counter moves every 100 ms or so: shorter windows mean nothing
COUNTER_BITS = 32  # of the millijoules that some drivers keep before they start again at 0
FIRST_NAMESPACE = "pid:[4026531836]"  # Linux: where process ids are those that the driver knows
MOST_POWER = 1.2  # times the limit: power may exceed it for moments, never over seconds
# By bit of the mask. Not here: idle and clocks that somebody has set, neither of which is throttling.
THROTTLING = {
    "SwPowerCap": "power cap",
    "HwSlowdown": "hardware slowdown",
    "SyncBoost": "sync boost",
    "SwThermalSlowdown": "thermal slowdown (software)",
    "HwThermalSlowdown": "thermal slowdown (hardware)",
    "HwPowerBrakeSlowdown": "power brake",
}


Read = Callable[[Any], Any]


@dataclass(frozen=True)
class Reading:
    """A value, or None and why there is none."""

    value: Any
    reason: str | None = None


def said(error: BaseException) -> str:
    """One line on an error that nobody expected."""
    text = " ".join(str(error).split())
    return (
        text if type(error).__name__.startswith("NVMLError") else f"{type(error).__name__}: {text}"
    )


def _text(value: Any) -> str:
    """A name; older releases and other distributions give bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _thousandth(value: float) -> float:
    return value / 1000


def deprecated_distribution() -> str | None:
    """One line on the deprecated distribution ``pynvml`` if it is installed, which can shadow nvidia-ml-py."""
    try:
        version = metadata.version("pynvml")
    except Exception:  # it is not there, or what describes it is damaged
        return None
    return (
        f"the deprecated distribution pynvml {version} is installed and can shadow nvidia-ml-py:"
        " pip uninstall pynvml, then pip install --force-reinstall nvidia-ml-py"
    )


class Nvml:
    """One GPU as NVML sees it; without a driver every reading is null with its reason."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.mig = False
        try:
            import pynvml
        except ImportError:
            self.reason = deprecated_distribution() or NOT_INSTALLED
            return
        except Exception as error:
            self.reason = f"{NO_DEVICE} (nvidia-ml-py: {said(error)})"
            return
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handle = self._find()
        except Exception as error:
            self.reason = f"{NO_DEVICE} (NVML: {said(error)})"

    # --- who and what

    def facts(self) -> dict[str, Any]:
        """name, driver, mig, power_limit_w and shared (another process is on the GPU), None where it cannot be told."""
        if self.reason:
            return {}
        told = {key: reading.value for key, reading in self.described().items()}
        return {**told, "mig": self.mig, "power_limit_w": self.power_limit_w().value}

    def described(self) -> dict[str, Reading]:
        """name, driver and shared, each with the reason where it cannot be told."""
        return {
            "name": self._ask("nvmlDeviceGetName", read=_text),
            "driver": self._call(lambda: _text(self._nvml.nvmlSystemGetDriverVersion())),
            "shared": self.shared(),
        }

    def shared(self) -> Reading:
        """Whether another process computes on the GPU.

        Where a container hides process ids, one process that we cannot name is presumably this one if it
        has used the GPU, and an empty list says nothing: then it cannot be told.
        """
        found = self._processes()
        if found.value is None:
            return found
        others = {pid for pid, _ in found.value} - {os.getpid(), os.getppid()}
        named = any(pid == os.getpid() for pid, _ in found.value)
        if named:
            return Reading(bool(others))
        if len(others) > 1 or (others and not _uses_gpu()):
            return Reading(True)
        if not others and not _uses_gpu() and _knows_process_ids():
            return Reading(False)
        return Reading(None, HIDDEN)

    def _processes(self) -> Reading:
        """Process ids on the GPU with the bytes that each holds; None where NVML does not know them."""
        return self._ask(
            "nvmlDeviceGetComputeRunningProcesses",
            read=lambda ps: [(p.pid, p.usedGpuMemory) for p in ps],
        )

    # --- memory

    def process_bytes(self) -> Reading:
        """Memory this process holds on the GPU, its context included."""
        found = self._processes()
        if found.value is None:
            return found
        own = [used for pid, used in found.value if pid == os.getpid()]
        if not own:
            return Reading(None, HIDDEN)
        return Reading(None, WDDM) if None in own else Reading(sum(own))

    def device_bytes(self) -> Reading:
        """Memory in use on the GPU by everyone."""
        return self._ask("nvmlDeviceGetMemoryInfo", read=lambda memory: memory.used)

    # --- power and clocks: of whole GPUs only

    def energy_j(self) -> Reading:
        """Energy counter in joules; only differences mean anything: see ``energy_between``."""
        return self._whole("nvmlDeviceGetTotalEnergyConsumption", read=_thousandth)

    def power_w(self) -> Reading:
        """Power now, in watts, as averaged by the driver."""
        return self._whole("nvmlDeviceGetPowerUsage", read=_thousandth)

    def power_limit_w(self) -> Reading:
        """Power that the driver allows, in watts."""
        return self._whole("nvmlDeviceGetEnforcedPowerLimit", read=_thousandth)

    def sm_clock_mhz(self) -> Reading:
        """Clock of the multiprocessors."""
        return self._whole("nvmlDeviceGetClockInfo", "NVML_CLOCK_SM")

    def memory_clock_mhz(self) -> Reading:
        """Clock of the memory."""
        return self._whole("nvmlDeviceGetClockInfo", "NVML_CLOCK_MEM")

    def temperature_c(self) -> Reading:
        """Temperature of the GPU."""
        return self._whole("nvmlDeviceGetTemperature", "NVML_TEMPERATURE_GPU")

    def utilisation(self) -> Reading:
        """Share (0 to 1) of the last moments in which a kernel ran."""
        return self._whole("nvmlDeviceGetUtilizationRates", read=lambda rates: rates.gpu / 100)

    def throttle_reasons(self) -> Reading:
        """What keeps the clocks down now: a list of names, empty if nothing does."""
        return self._whole("nvmlDeviceGetCurrentClocksThrottleReasons", read=self._named)

    def _named(self, mask: int) -> list[str]:
        bits = {
            name: getattr(self._nvml, f"nvmlClocksThrottleReason{key}", 0)
            for key, name in THROTTLING.items()
        }
        return [name for name, bit in bits.items() if mask & bit]

    # --- asking

    def _whole(self, function: str, *constants: str, read: Read | None = None) -> Reading:
        """Ask what exists for whole GPUs only: the parent's answer is not a slice's."""
        if self.mig and not self.reason:
            return Reading(None, SLICE)
        return self._ask(function, *constants, read=read)

    def _ask(self, function: str, *constants: str, read: Read | None = None) -> Reading:
        """Ask a function about the GPU; constants: names of NVML's; read: what of the answer is the value."""

        def question() -> Any:
            arguments = (getattr(self._nvml, name) for name in constants)
            found = getattr(self._nvml, function)(self._handle, *arguments)
            return found if read is None else read(found)

        return self._call(question)

    def _call(self, question: Callable[[], Any]) -> Reading:
        if self.reason:
            return Reading(None, self.reason)
        try:
            return Reading(question())
        except AttributeError as error:  # a release without it, or one that shadows nvidia-ml-py
            return Reading(None, deprecated_distribution() or f"nvidia-ml-py: {error}")
        except Exception as error:
            reason = f"NVML: {said(error)}"
            lost = getattr(self._nvml, "NVML_ERROR_GPU_IS_LOST", object())
            if getattr(error, "value", None) == lost:
                self.reason = reason
            return Reading(None, reason)

    # --- which GPU

    def _find(self) -> Any:
        """The first visible GPU: NVML knows nothing of CUDA_VISIBLE_DEVICES, so index or UUID is looked up here."""
        nvml = self._nvml
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
        if first.startswith(("GPU-", "MIG-")):
            handle = self._by_uuid(first)
        elif first.isdecimal():
            if not self._counts_as_cuda():
                self.reason = ORDER
                return None
            handle = nvml.nvmlDeviceGetHandleByIndex(int(first))
        else:
            self.reason = f"{NO_DEVICE} (CUDA_VISIBLE_DEVICES={first!r} hides every GPU)"
            return None
        self.mig = first.startswith("MIG-")
        if not self.mig and self._is_divided(handle):  # CUDA then takes the first slice
            self.mig = True
            handle = next(self._slices(handle), None)
            if handle is None:
                self.reason = f"{NO_DEVICE} (MIG is on and the GPU has no slice)"
        return handle

    def _counts_as_cuda(self) -> bool:
        """Whether an index means the same GPU to CUDA: its default order is by speed, unknown to NVML."""
        nvml, count = self._nvml, self._nvml.nvmlDeviceGetCount()
        if count < 2 or os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
            return True
        handles = map(nvml.nvmlDeviceGetHandleByIndex, range(count))
        try:
            return len({nvml.nvmlDeviceGetName(handle) for handle in handles}) == 1
        except Exception:  # names that cannot be read may differ
            return False

    def _is_divided(self, handle: Any) -> bool:
        try:
            return self._nvml.nvmlDeviceGetMigMode(handle)[0] == 1
        except Exception:
            return False  # a GPU that knows no MIG, or a release that does not

    def _slices(self, handle: Any) -> Iterator[Any]:
        """Slices of a divided GPU; their indices may have holes."""
        for index in range(self._nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            with contextlib.suppress(self._nvml.NVMLError_NotFound):
                yield self._nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)

    def _by_uuid(self, uuid: str) -> Any:
        """CUDA takes the beginning of a UUID if only one begins so, NVML takes all of it."""
        nvml = self._nvml
        try:
            return nvml.nvmlDeviceGetHandleByUUID(uuid)
        except Exception:
            every = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
            if uuid.startswith("MIG-"):
                every = [
                    part for gpu in every if self._is_divided(gpu) for part in self._slices(gpu)
                ]
            found = [
                handle for handle in every if _text(nvml.nvmlDeviceGetUUID(handle)).startswith(uuid)
            ]
            if len(found) != 1:
                raise
            return found[0]


def _uses_gpu() -> bool:
    """Whether this process holds a context, which puts it on NVML's list; torch is asked, not imported."""
    torch = sys.modules.get("torch")
    return bool(torch and torch.cuda.is_available() and torch.cuda.is_initialized())


def _knows_process_ids() -> bool:
    """Whether ids here are those on NVML's list: not so inside most containers."""
    if sys.platform != "linux":
        return True
    try:
        return os.readlink("/proc/self/ns/pid") == FIRST_NAMESPACE
    except OSError:
        return False


def energy_between(
    before: Reading, after: Reading, seconds: float, power_limit_w: float | None
) -> Reading:
    """Joules used between two readings of the counter.

    Null: a reading was, the window is shorter than SHORTEST_ENERGY_WINDOW_S, the counter stood still or ran
    ahead of what the power limit allows, or it went back and a wrap at 32 bits of millijoules would not
    explain it (the driver sets it to 0 when it is loaded again).
    """
    if before.value is None or after.value is None:
        return Reading(None, before.reason or after.reason)
    if seconds < SHORTEST_ENERGY_WINDOW_S:
        return Reading(None, f"window of {seconds:.1f} s is too short for the energy counter")
    used = after.value - before.value
    most = MOST_POWER * power_limit_w * seconds if power_limit_w else None
    if used == 0:
        return Reading(None, f"the energy counter stood still for {seconds:.1f} s")
    if used > 0 and most and used > most:
        return Reading(None, "the energy counter ran ahead of the power limit")
    if used > 0:
        return Reading(used)
    wrapped = used + 2**COUNTER_BITS / 1000
    if most and 0 < wrapped <= most:
        return Reading(wrapped)
    return Reading(None, "the energy counter went back: it was set to 0 while measuring")
