"""The sampling thread: what it sees, what it costs, and that nothing goes wrong with what it watches."""

import json
import os
import sys
import threading
import time

import pynvml
import pytest
from fake_nvml import GIB, STRANGER, FakeNvml, process

from seqbench.hardware.nvml import NO_DEVICE, Nvml, Reading
from seqbench.hardware.sampler import SUMMARY, Sampler


@pytest.fixture
def sampled(monkeypatch):
    """Sample until the fake was asked for its processes' memory ``asked`` times, then run ``then``."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def run(asked=4, then=lambda fake: None, **scenario):
        fake = FakeNvml(**scenario)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        with Sampler(Nvml(), interval_s=0.001) as sampler:
            _until(lambda: sampler.facts["samples"] >= asked)
            fake.sampler = sampler
            then(fake)
        assert not sampler._thread.is_alive()
        return sampler, fake

    return run


def _until(condition):
    """Wait for it, for as long as a busy machine may need."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "the sampler does not sample"
        time.sleep(0.001)


def test_peaks_means_and_medians_in_the_units_of_their_names(sampled):
    sampler, fake = sampled()
    values = {name: reading.value for name, reading in sampler.readings.items()}
    assert values == pytest.approx({
        "nvml_process_bytes": 3 * GIB, "nvml_device_bytes": 4 * GIB, "power_w": 300.0, "sm_clock_mhz": 1980,
        "memory_clock_mhz": 2619, "temperature_c": 61, "utilisation": 0.97,
    })  # fmt: skip
    assert fake.calls[0] == "nvmlInit"


def test_memory_is_the_peak_and_the_last_moment_counts(sampled):
    def grow(fake):
        fake.processes = [process(os.getpid(), 7 * GIB)]

    sampler, _ = sampled(then=grow)  # what happened between the last tick and the end is still seen
    assert sampler.readings["nvml_process_bytes"].value == 7 * GIB


def test_start_up_is_forgotten_by_means_and_kept_by_peaks(sampled):
    """Before the work is steady: less power, and the most memory."""
    settled = []

    def work(fake):
        fake.processes = [process(os.getpid(), 1 * GIB)]
        fake.power_mw = 500_000
        asked = fake.sampler.facts["samples"]
        _until(lambda: fake.sampler.facts["samples"] >= asked + 2)  # none is half of each
        fake.sampler.settle()
        settled.append(True)

    sampler, _ = sampled(then=work)
    assert settled and sampler.readings["power_w"].value == pytest.approx(500.0)
    assert sampler.readings["nvml_process_bytes"].value == 3 * GIB


def test_its_own_cost_is_measured_and_everything_fits_into_a_record(sampled):
    sampler, _ = sampled()
    facts = json.loads(json.dumps(sampler.facts))
    assert facts["samples"] >= 5 and facts["failed"] == 0 and facts["interval_s"] == 0.001
    assert facts["seconds_per_sample"] > 0 and 0 < facts["overhead_share"] < 1
    assert (facts["throttle_reasons"], facts["shared"], facts["lost"]) == ([], False, None)


def test_a_process_that_comes_later_is_remembered(sampled):
    def visit(fake):
        fake.processes.append(process(STRANGER, GIB))
        before = fake.calls.count("nvmlDeviceGetMemoryInfo")
        _until(lambda: fake.calls.count("nvmlDeviceGetMemoryInfo") > before + 2)
        fake.processes.pop()

    sampler, _ = sampled(then=visit)
    assert sampler.facts["shared"] is True


def test_throttling_that_passes_is_remembered(sampled):
    def heat(fake):
        fake.mask = pynvml.nvmlClocksThrottleReasonSwPowerCap
        before = fake.calls.count("nvmlDeviceGetMemoryInfo")
        _until(lambda: fake.calls.count("nvmlDeviceGetMemoryInfo") > before + 2)
        fake.mask = 0

    sampler, _ = sampled(then=heat)
    assert sampler.facts["throttle_reasons"] == ["power cap"]


def test_where_throttling_cannot_be_told_it_is_not_said_to_be_absent(sampled):
    sampler, _ = sampled(mig_mode=1, slices={"MIG-x": None})
    assert "throttle_reasons" not in sampler.facts
    assert sampler.readings["nvml_device_bytes"].value == 4 * GIB


def test_errors_in_the_middle_keep_what_was_seen_before(sampled):
    code = pynvml.NVML_ERROR_UNKNOWN
    sampler, _ = sampled(fail={"nvmlDeviceGetPowerUsage": (3, code)})
    assert sampler.readings["power_w"].value == pytest.approx(300.0)
    assert sampler.facts["failed"] == sampler.facts["samples"] - 2


def test_what_never_answers_is_null_with_its_reason(sampled):
    sampler, _ = sampled(fail={"nvmlDeviceGetTemperature": (1, pynvml.NVML_ERROR_NOT_SUPPORTED)})
    assert sampler.readings["temperature_c"] == Reading(None, "NVML: Not Supported")
    assert sampler.readings["power_w"].value == pytest.approx(300.0)


def test_a_device_that_disappears_ends_the_sampling_and_nothing_else(sampled):
    sampler, fake = sampled(asked=2, lost_from=30)
    assert sampler.facts["lost"] == "NVML: GPU is lost"
    assert sampler.readings["nvml_process_bytes"].value == 3 * GIB  # from before
    assert fake.calls[:30] == fake.calls  # it was not asked again


def test_without_a_device_no_thread_starts_and_all_is_null_with_the_reason(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "pynvml", FakeNvml(fail={"nvmlInit": (1, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)})
    )
    for nvml, reason in ((None, NO_DEVICE), (Nvml(), "Driver Not Loaded")):
        before = threading.active_count()
        with Sampler(nvml) as sampler:
            assert threading.active_count() == before
        assert set(sampler.readings) == set(SUMMARY)
        assert all(r.value is None and reason in r.reason for r in sampler.readings.values())
        assert sampler.facts == {"samples": 0}


def test_an_error_of_what_is_measured_passes_through_and_the_thread_ends(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    sampler = Sampler(Nvml())
    with pytest.raises(ZeroDivisionError), sampler:
        _ = 1 / 0
    assert not sampler._thread.is_alive()
