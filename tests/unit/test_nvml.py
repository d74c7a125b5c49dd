"""NVML readings are values in SI units or null with a reason. A fake stands in for the driver's library."""

import os
import sys
import types
from importlib import metadata

import pynvml
import pytest
from fake_nvml import GIB, STRANGER, FakeNvml, process

from seqbench.hardware import nvml as module
from seqbench.hardware.nvml import NO_DEVICE, Nvml, Reading

WHOLE = ("energy_j", "power_w", "sm_clock_mhz", "memory_clock_mhz", "temperature_c", "utilisation")
EVERYTHING = (*WHOLE, "throttle_reasons", "process_bytes", "device_bytes", "shared")


@pytest.fixture
def install(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(**scenario):
        fake = FakeNvml(**scenario)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return Nvml(), fake

    return put


@pytest.fixture
def on_gpu(monkeypatch):
    """This process has used the GPU, as far as torch says."""
    cuda = types.SimpleNamespace(is_available=lambda: True, is_initialized=lambda: True)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))


def test_the_fake_has_nothing_that_the_library_lacks():
    functions = [name for name in vars(FakeNvml) if name.startswith("nvml")]
    assert len(functions) > 15 and all(callable(getattr(pynvml, name)) for name in functions)


def test_units_are_bytes_joules_watts_megahertz_and_shares(install):
    nvml, fake = install()
    fake.now = 2.0
    assert nvml.energy_j().value == 5600.0  # 5,000 J at the start and 300 W for 2 s
    assert nvml.power_w().value == 300.0
    assert (nvml.sm_clock_mhz().value, nvml.memory_clock_mhz().value) == (1980, 2619)
    assert (nvml.temperature_c().value, nvml.utilisation().value) == (61, 0.97)
    assert (nvml.process_bytes().value, nvml.device_bytes().value) == (3 * GIB, 4 * GIB)
    assert nvml.facts() == {
        "name": "NVIDIA Fake", "driver": "580.1", "mig": False, "power_limit_w": 700.0, "shared": False,
    }  # fmt: skip


def test_the_library_is_started_before_the_device_is_looked_up_and_asked(install):
    nvml, fake = install(uuids=["GPU-aaaa-1"])
    nvml.power_w()
    assert fake.calls == [
        "nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMigMode",
        "nvmlDeviceGetPowerUsage",
    ]  # fmt: skip


def test_without_a_driver_everything_is_null_with_the_reason(install):
    nvml, fake = install(fail={"nvmlInit": (1, pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)})
    assert nvml.facts() == {}
    for name in EVERYTHING:
        reading = getattr(nvml, name)()
        assert reading.value is None and reading.reason.startswith(NO_DEVICE)
        assert "NVML Shared Library Not Found" in reading.reason
    assert fake.calls == ["nvmlInit"]


def test_without_the_package_the_reason_says_which(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Nvml().energy_j() == Reading(None, module.NOT_INSTALLED)


def test_the_deprecated_distribution_is_named(monkeypatch):
    def version(name):
        if name == "pynvml":
            return "11.5.3"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert "pynvml 11.5.3" in module.deprecated_distribution()
    monkeypatch.setitem(sys.modules, "pynvml", None)  # it is broken as well
    assert "pip uninstall pynvml" in Nvml().power_w().reason


def test_without_the_deprecated_distribution_nothing_is_said():
    assert module.deprecated_distribution() is None  # this environment is made without it


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION])
def test_one_reading_that_fails_leaves_the_others(install, code):
    nvml, _ = install(fail={"nvmlDeviceGetTotalEnergyConsumption": (1, code)})
    assert nvml.energy_j().value is None
    assert nvml.energy_j().reason == f"NVML: {pynvml.NVMLError(code)}"
    assert nvml.device_bytes().value == 4 * GIB


def test_a_device_that_disappears_is_not_asked_again(install):
    nvml, fake = install()
    assert nvml.power_w().value == 300.0
    fake.lost_from = len(fake.calls) + 1
    assert nvml.power_w() == Reading(None, "NVML: GPU is lost")
    asked = len(fake.calls)
    for name in EVERYTHING:
        assert getattr(nvml, name)() == Reading(None, "NVML: GPU is lost")
    assert nvml.facts() == {} and len(fake.calls) == asked


def test_a_release_that_lacks_a_function_is_a_reason(install, monkeypatch):
    nvml, _ = install()
    monkeypatch.delattr(FakeNvml, "nvmlDeviceGetCurrentClocksThrottleReasons")
    reading = nvml.throttle_reasons()
    assert reading.value is None and "nvmlDeviceGetCurrentClocksThrottleReasons" in reading.reason
    assert nvml.power_w().value == 300.0


# --- who is there


def test_memory_of_all_contexts_of_this_process_counts(install):
    nvml, _ = install(processes=[process(os.getpid(), GIB), process(os.getpid(), 2 * GIB)])
    assert nvml.process_bytes().value == 3 * GIB


def test_a_process_that_a_container_hides_is_null_not_zero(install):
    nvml, _ = install(processes=[])
    assert nvml.process_bytes() == Reading(None, module.HIDDEN)


def test_wddm_knows_no_memory_of_a_process(install):
    nvml, _ = install(processes=[process(os.getpid(), None)])
    assert nvml.process_bytes() == Reading(None, module.WDDM)


def test_another_process_on_the_gpu_is_noticed(install):
    nvml, fake = install()
    assert nvml.shared().value is False
    fake.processes.append(process(STRANGER, GIB))
    assert nvml.shared().value is True and nvml.facts()["shared"] is True


def test_where_process_ids_are_hidden_one_may_be_ours_and_two_are_not(install, on_gpu):
    nvml, fake = install(processes=[process(STRANGER, GIB)])
    assert nvml.shared() == Reading(None, module.HIDDEN)
    fake.processes.append(process(STRANGER + 1, GIB))
    assert nvml.shared().value is True
    fake.processes = []
    assert nvml.shared() == Reading(None, module.HIDDEN)


def test_who_has_not_used_the_gpu_knows_that_others_have(install, monkeypatch):
    monkeypatch.setattr(module, "_knows_process_ids", lambda: True)
    nvml, fake = install(processes=[process(STRANGER, GIB)])
    assert nvml.shared().value is True
    fake.processes = []
    assert nvml.shared().value is False


def test_an_empty_list_in_a_container_does_not_mean_alone(install, monkeypatch):
    """As the parent of the measuring processes sees it, which has not used the GPU itself."""
    monkeypatch.setattr(module, "_knows_process_ids", lambda: False)
    nvml, fake = install(processes=[])
    assert nvml.shared() == Reading(None, module.HIDDEN) and nvml.facts()["shared"] is None
    fake.processes = [process(STRANGER, GIB)]
    assert nvml.shared().value is True


@pytest.mark.parametrize(
    ("namespace", "known"), [("pid:[4026531836]", True), ("pid:[4026532570]", False), (None, False)]
)
def test_process_ids_are_the_drivers_in_the_first_namespace_only(monkeypatch, namespace, known):
    def readlink(_):
        if namespace is None:
            raise PermissionError
        return namespace

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "readlink", readlink)
    assert module._knows_process_ids() is known


# --- which device


@pytest.mark.parametrize(
    ("visible", "handle"),
    [
        ("3", ("gpu", 3)), ("2,0", ("gpu", 2)), ("GPU-bbbb-2", ("gpu", 1)), ("GPU-cc", ("gpu", 2)),
        ("MIG-x", ("mig", "MIG-x")), ("MIG-y", ("mig", "MIG-yy-1")),
    ],
)  # fmt: skip
def test_the_device_is_the_first_visible_one(monkeypatch, install, visible, handle):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    fake = FakeNvml(slices={"MIG-x": None, "MIG-yy-1": None}, mig_mode=visible.startswith("MIG"))
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert Nvml()._handle == handle


@pytest.mark.parametrize("holes", [0, 2])
def test_a_divided_gpu_means_its_first_slice(install, holes):
    nvml, _ = install(mig_mode=1, slices={"MIG-x": None}, holes=holes)
    assert nvml._handle == ("mig", "MIG-x") and nvml.mig


def test_a_divided_gpu_without_a_slice_is_no_device(install):
    nvml, _ = install(mig_mode=1)
    assert nvml.power_w().reason == f"{NO_DEVICE} (MIG is on and the GPU has no slice)"


def test_a_driver_that_knows_no_mig_is_a_driver(install):
    nvml, _ = install(fail={"nvmlDeviceGetMigMode": (1, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)})
    assert nvml.power_w().value == 300.0 and not nvml.mig


def test_different_gpus_are_not_counted_as_cuda_counts_them(install, monkeypatch):
    names = ["NVIDIA Small", "NVIDIA Large", "NVIDIA Large", "NVIDIA Large"]
    assert install(names=names)[0].energy_j() == Reading(None, module.ORDER)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert install(names=names)[0].facts()["name"] == "NVIDIA Small"


@pytest.mark.parametrize(
    ("visible", "reason"),
    [("", "hides every GPU"), ("-1", "hides every GPU"), ("9", "Invalid Argument"), ("GPU-zz", "Not Found"),
     ("GPU-", "Not Found"), ("MIG-", "Not Found")],
)  # fmt: skip
def test_a_device_that_is_not_there_is_a_reason(monkeypatch, install, visible, reason):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    reading = Nvml().device_bytes()
    assert reading.value is None and reason in reading.reason


@pytest.mark.parametrize("visible", ["MIG-x", "0"])
def test_a_slice_has_memory_but_no_power_of_its_own(monkeypatch, visible):
    """By the slice's UUID, or by CUDA's index on a GPU that is divided: the whole GPU is never read instead."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    fake = FakeNvml(slices={"MIG-x": None}, mig_mode=1)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    nvml = Nvml()
    assert nvml.mig and nvml.facts()["mig"] and nvml.facts()["power_limit_w"] is None
    for name in (*WHOLE, "throttle_reasons"):
        assert getattr(nvml, name)() == Reading(None, module.SLICE)
    assert nvml.device_bytes().value == 4 * GIB and nvml.process_bytes().value == 3 * GIB
    assert "nvmlDeviceGetTotalEnergyConsumption" not in fake.calls


def test_throttling_is_named_and_idling_is_not(install):
    nvml, fake = install(mask=pynvml.nvmlClocksThrottleReasonGpuIdle)
    assert nvml.throttle_reasons().value == []
    fake.mask |= pynvml.nvmlClocksThrottleReasonSwPowerCap
    fake.mask |= pynvml.nvmlClocksThrottleReasonHwThermalSlowdown
    assert nvml.throttle_reasons().value == ["power cap", "thermal slowdown (hardware)"]
