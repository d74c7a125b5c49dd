"""A stand-in for nvidia-ml-py that behaves as the driver does: units, error codes, call order, things that go wrong.

Time is a number that tests move: the energy counter grows with power times it.
"""

import os
import types

import pynvml as real

GIB = 2**30
STRANGER = 2**30  # beyond every process id: never ours nor our parent's, which may be 1


class FakeNvml(types.ModuleType):
    """Module and scenario in one. Functions not defined here do not exist, as in an older release.

    calls: names in order. fail[name] = (n, code): the n-th call of that function (from 1) and all later ones raise.
    lost_from: number of the call, counted over all functions, from which the GPU is lost.
    """

    NVMLError, NVMLError_NotFound = real.NVMLError, real.NVMLError_NotFound
    NVML_ERROR_GPU_IS_LOST = real.NVML_ERROR_GPU_IS_LOST
    NVML_CLOCK_SM, NVML_CLOCK_MEM = real.NVML_CLOCK_SM, real.NVML_CLOCK_MEM
    NVML_TEMPERATURE_GPU = real.NVML_TEMPERATURE_GPU

    def __init__(self, **scenario):
        super().__init__("pynvml")
        self.calls, self.fail, self.lost_from = [], {}, None
        self.now, self.power_mw, self.energy_start_mj, self.energy_bits = (
            0.0,
            300_000,
            5_000_000,
            64,
        )
        self.processes = [process(os.getpid(), 3 * GIB)]
        self.mig_mode, self.slices, self.mask = 0, {}, 0
        self.holes = 0  # indices of slices before the first that is there
        self.names = ["NVIDIA Fake"] * 4
        self.uuids = ["GPU-aaaa-1", "GPU-bbbb-2", "GPU-cccc-3", "GPU-dddd-4"]
        for name, value in scenario.items():
            assert hasattr(self, name), name
            setattr(self, name, value)
        for name in dir(real):
            if name.startswith("nvmlClocksThrottleReason"):
                setattr(self, name, getattr(real, name))

    def _called(self, name, handle=None):
        self.calls.append(name)
        if "nvmlInit" not in self.calls:
            raise real.NVMLError(real.NVML_ERROR_UNINITIALIZED)
        if self.lost_from is not None and len(self.calls) >= self.lost_from:
            raise real.NVMLError(real.NVML_ERROR_GPU_IS_LOST)
        nth, code = self.fail.get(name, (None, None))
        if nth is not None and self.calls.count(name) >= nth:
            raise real.NVMLError(code)
        if handle is not None and handle[0] == "mig" and name in WHOLE_GPU_ONLY:
            raise real.NVMLError(real.NVML_ERROR_NOT_SUPPORTED)

    def nvmlInit(self):
        self._called("nvmlInit")

    def nvmlSystemGetDriverVersion(self):
        self._called("nvmlSystemGetDriverVersion")
        return "580.1"

    def nvmlDeviceGetCount(self):
        self._called("nvmlDeviceGetCount")
        return len(self.uuids)

    def nvmlDeviceGetHandleByIndex(self, index):
        self._called("nvmlDeviceGetHandleByIndex")
        if index >= len(self.uuids):
            raise real.NVMLError(real.NVML_ERROR_INVALID_ARGUMENT)
        return ("gpu", index)

    def nvmlDeviceGetHandleByUUID(self, uuid):
        self._called("nvmlDeviceGetHandleByUUID")
        if uuid in self.slices:
            return ("mig", uuid)
        if uuid in self.uuids:
            return ("gpu", self.uuids.index(uuid))
        raise real.NVMLError(real.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetUUID(self, handle):
        self._called("nvmlDeviceGetUUID", handle)
        return self.uuids[handle[1]] if handle[0] == "gpu" else handle[1]

    def nvmlDeviceGetMigMode(self, handle):
        self._called("nvmlDeviceGetMigMode", handle)
        mode = self.mig_mode if handle == ("gpu", 0) else 0
        return [mode, mode]

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):
        self._called("nvmlDeviceGetMigDeviceHandleByIndex", handle)
        slices = list(self.slices)[index - self.holes :] if index >= self.holes else []
        if not slices:
            raise real.NVMLError(real.NVML_ERROR_NOT_FOUND)
        return ("mig", slices[0])

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        self._called("nvmlDeviceGetMaxMigDeviceCount", handle)
        return 7

    def nvmlDeviceGetName(self, handle):
        self._called("nvmlDeviceGetName", handle)
        return self.names[handle[1]] if handle[0] == "gpu" else "NVIDIA Fake MIG 1g.10gb"

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        self._called("nvmlDeviceGetComputeRunningProcesses", handle)
        return self.processes

    def nvmlDeviceGetMemoryInfo(self, handle):
        self._called("nvmlDeviceGetMemoryInfo", handle)
        return types.SimpleNamespace(total=80 * GIB, used=4 * GIB, free=76 * GIB)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        self._called("nvmlDeviceGetTotalEnergyConsumption", handle)
        return (self.energy_start_mj + round(self.power_mw * self.now)) % 2**self.energy_bits

    def nvmlDeviceGetPowerUsage(self, handle):
        self._called("nvmlDeviceGetPowerUsage", handle)
        return self.power_mw

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        self._called("nvmlDeviceGetEnforcedPowerLimit", handle)
        return 700_000

    def nvmlDeviceGetClockInfo(self, handle, kind):
        self._called("nvmlDeviceGetClockInfo", handle)
        return {self.NVML_CLOCK_SM: 1980, self.NVML_CLOCK_MEM: 2619}[kind]

    def nvmlDeviceGetTemperature(self, handle, sensor):
        self._called("nvmlDeviceGetTemperature", handle)
        assert sensor == self.NVML_TEMPERATURE_GPU
        return 61

    def nvmlDeviceGetUtilizationRates(self, handle):
        self._called("nvmlDeviceGetUtilizationRates", handle)
        return types.SimpleNamespace(gpu=97, memory=40)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        self._called("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        return self.mask


WHOLE_GPU_ONLY = {
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
}


def process(pid, used):
    """A row of NVML's list; used None: WDDM, where nvidia-ml-py turns NVML_VALUE_NOT_AVAILABLE into None."""
    return types.SimpleNamespace(pid=pid, usedGpuMemory=used)
