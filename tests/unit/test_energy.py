"""Energy between two readings of NVML's counter: units, wraps, and what cannot be energy."""

import sys

import pytest
from fake_nvml import FakeNvml

from seqbench.hardware.nvml import Nvml, Reading, energy_between


@pytest.fixture
def install(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(**scenario):
        fake = FakeNvml(**scenario)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return Nvml(), fake

    return put


def test_energy_is_the_difference_of_two_readings(install):
    nvml, fake = install()
    before = nvml.energy_j()
    fake.now = 8.0
    assert energy_between(before, nvml.energy_j(), 8.0, 700.0) == Reading(2400.0)


def test_a_counter_that_wraps_at_32_bits_is_unwrapped(install):
    nvml, fake = install(energy_start_mj=2**32 - 600_000, energy_bits=32)
    before = nvml.energy_j()
    fake.now = 10.0
    after = nvml.energy_j()
    assert after.value < before.value
    assert energy_between(before, after, 10.0, 700.0).value == pytest.approx(3000.0)


@pytest.mark.parametrize("limit", [700.0, None])
def test_a_counter_that_was_set_to_zero_is_null(limit):
    """Unwrapped it would be 4.2 MJ in 10 s; without a limit a wrap cannot be told from a reload."""
    found = energy_between(Reading(9000.0), Reading(20.0), 10.0, limit)
    assert found.value is None and "went back" in found.reason


@pytest.mark.parametrize(("after", "said"), [(500.0, "stood still"), (9e6, "power limit")])
def test_a_counter_that_cannot_be_right_is_null_not_zero(after, said):
    found = energy_between(Reading(500.0), Reading(after), 10.0, 700.0)
    assert found.value is None and said in found.reason


def test_without_a_limit_a_counter_that_grows_is_believed():
    assert energy_between(Reading(500.0), Reading(2500.0), 10.0, None) == Reading(2000.0)


def test_a_window_that_is_too_short_is_null():
    found = energy_between(Reading(1.0), Reading(900.0), 4.9, 700.0)
    assert found.value is None and "too short" in found.reason


@pytest.mark.parametrize("missing", [0, 1])
def test_energy_needs_both_readings(missing):
    readings = [Reading(1.0), Reading(2.0)]
    readings[missing] = Reading(None, "NVML: GPU is lost")
    assert energy_between(*readings, 9.0, 700.0) == Reading(None, "NVML: GPU is lost")
