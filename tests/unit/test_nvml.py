"""NVML readings are values in SI units or null with a reason. A fake stands in for the driver's library."""

import os
import sys
import types

import pytest

from seqbench.nvml import Nvml


class FakeError(Exception):
    pass


def fake(**changes):
    """A module that answers like nvidia-ml-py: memory in bytes, energy in millijoules."""
    process = types.SimpleNamespace(pid=os.getpid(), usedGpuMemory=700 * 2**20)
    module = types.SimpleNamespace(
        NVMLError=FakeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: ("index", index),
        nvmlDeviceGetHandleByUUID=lambda uuid: ("uuid", uuid),
        nvmlDeviceGetName=lambda handle: "NVIDIA Fake",
        nvmlSystemGetDriverVersion=lambda: "580.1",
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [process],
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(used=2**30),
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 12_500,
    )
    for name, value in changes.items():
        setattr(module, name, value)
    return module


@pytest.fixture
def install(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(module):
        monkeypatch.setitem(sys.modules, "pynvml", module)
        return Nvml()

    return put


def raises(*_):
    raise FakeError("Not Supported")


def test_units_are_bytes_and_joules(install):
    nvml = install(fake())
    assert nvml.energy_j().value == 12.5
    assert nvml.process_bytes().value == 700 * 2**20
    assert nvml.device_bytes().value == 2**30
    assert nvml.facts() == {"name": "NVIDIA Fake", "driver": "580.1", "shared": False}


def test_without_a_driver_everything_is_null_with_the_reason(install):
    nvml = install(fake(nvmlInit=raises))
    assert nvml.facts() == {}
    for reading in (nvml.energy_j(), nvml.process_bytes(), nvml.device_bytes()):
        assert reading.value is None and "no NVIDIA device" in reading.reason


def test_one_reading_that_is_not_supported_leaves_the_others(install):
    nvml = install(fake(nvmlDeviceGetTotalEnergyConsumption=raises))
    assert nvml.energy_j().value is None and "Not Supported" in nvml.energy_j().reason
    assert nvml.device_bytes().value == 2**30


def test_a_process_that_a_container_hides_is_null_not_zero(install):
    nvml = install(fake(nvmlDeviceGetComputeRunningProcesses=lambda handle: []))
    assert nvml.process_bytes().value is None and "container" in nvml.process_bytes().reason


def test_another_process_on_the_gpu_is_noticed(install):
    other = types.SimpleNamespace(pid=1, usedGpuMemory=1)
    assert install(fake(nvmlDeviceGetComputeRunningProcesses=lambda h: [other])).facts()["shared"]


@pytest.mark.parametrize(
    ("visible", "handle"),
    [("3", ("index", 3)), ("2,0", ("index", 2)), ("GPU-ab", ("uuid", "GPU-ab"))],
)
def test_the_device_is_the_first_visible_one(monkeypatch, install, visible, handle):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setitem(sys.modules, "pynvml", fake())
    assert Nvml()._handle == handle
