"""Clocks and memory: on a CPU for real, on a GPU with stand-ins for the driver's objects."""

import time
from contextlib import nullcontext

import pytest
import torch

from models import _kernels
from models._kernels import products
from seqbench.core.errors import UserError
from seqbench.hardware import device
from seqbench.hardware.arithmetic import arithmetic
from seqbench.hardware.nvml import NO_DEVICE

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_stopwatch_counts_what_ran_inside():
    now = [0.0]
    clock = device.Stopwatch(CPU, lambda: now[0])
    for seconds in (0.5, 2.0):
        now[0] += 9.0  # outside
        with clock.time():
            now[0] += seconds
    assert clock.seconds == [0.5, 2.0]


def test_events_are_seconds_and_lie_around_the_block(monkeypatch):
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("record")

        def elapsed_time(self, other):
            assert "synchronise" in log
            return 12.0  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: log.append("synchronise"))
    clock = device.EventClock(CUDA)
    with clock.time():
        log.append("work")
    assert clock.seconds() == [0.012]
    assert log == ["record", "work", "record", "synchronise"]


def test_events_on_a_cpu_time_nothing():
    clock = device.EventClock(CPU)
    with clock.time():
        pass
    assert clock.seconds() == []


def test_memory_on_a_cpu_is_resident_memory_and_null_with_a_reason():
    found = device.memory(CPU)
    assert found.pop("peak_rss_bytes").value > 50e6
    assert len(found) == 2
    assert all(r.value is None and r.reason == NO_DEVICE for r in found.values())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_only_memory_errors_are_memory_errors(error, expected):
    assert device.is_out_of_memory(error) is expected


def test_a_refused_allocation_is_recognised_with_its_size():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert device.is_out_of_memory(caught.value)
    assert device.requested_bytes(caught.value) == 2**60
    text = device.describe_out_of_memory(caught.value)
    assert "allocate memory" in text and "enforce fail" not in text and "\n" not in text


def test_the_size_that_a_gpu_was_asked_for_is_read_in_its_unit():
    error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has")
    assert device.requested_bytes(error) == 3 * 2**29
    assert device.requested_bytes(MemoryError()) is None
    assert device.describe_out_of_memory(MemoryError()) == "MemoryError"


@pytest.mark.parametrize("precision", ["fp32", "bf16", "mixed"])
def test_arithmetic_declares_what_is_computed(precision):
    """On a CPU bf16 is mixed: products with weights in half precision, and nothing else."""
    a = torch.randn(4, 4)
    exact = torch.nn.functional.linear(a, a)
    with arithmetic(precision, torch.device("cpu")):
        assert torch.equal(_kernels.linear(a, a), exact) == (precision == "fp32")
        assert (a @ a).dtype == torch.float32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.equal(_kernels.linear(a, a), exact)
    with torch.inference_mode(), arithmetic(precision, torch.device("cpu")):
        assert torch.equal(_kernels.linear(a, a), exact), "a CPU ranks in fp32"


@pytest.mark.filterwarnings("ignore:User provided device_type")
@pytest.mark.parametrize(("precision", "autocast"), [("fp32", False), ("bf16", True), ("mixed", False)])  # fmt: skip
def test_bf16_on_a_gpu_is_autocast_and_mixed_is_not(precision, autocast, monkeypatch):
    asked = []
    monkeypatch.setattr(
        torch, "autocast", lambda *_, enabled: asked.append(enabled) or nullcontext()
    )
    with arithmetic(precision, torch.device("cuda")):
        assert products.enabled() == (precision == "mixed")
    assert asked == [autocast]


def test_tf32_where_there_is_none_is_refused():
    with (
        pytest.raises(UserError, match="tf32"),
        arithmetic("tf32", torch.device("cpu")),
    ):
        pass


def test_the_age_of_this_process_grows_with_the_clock():
    first = device.process_age_s()
    time.sleep(0.05)
    assert device.process_age_s() - first > 0.04
    assert 0 < first < 24 * 3600
